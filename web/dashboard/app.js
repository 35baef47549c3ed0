// SPDX-License-Identifier: Apache-2.0
// The page of queues. It shows what /events?topics=stats says, once a second; if that stream does not work it
// asks /queues instead. Rows are changed, never rebuilt, so that a button stays where it was. Everything
// that comes from the server is written as text.
"use strict";

const API = new URL("../api/v1/", document.baseURI);
const POLL_MS = 5000;
/** Failures of the stream after which the page asks by itself. */
const PATIENCE = 3;
/** Silence after which it does too: a proxy may hold the stream back. */
const SILENCE_MS = 4000;

const byId = (id) => document.getElementById(id);
const rows = new Map();
const view = { sort: "name", descending: false, filter: "", queues: [], skew: 0 };

// ── numbers ────────────────────────────────────────────────────────────────────────────────────────────

const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

const count = (n) => (n < 100000 ? whole.format(n) : compact.format(n));
const rate = (n) => (n === 0 ? "0" : n < 0.05 ? "<0.1" : n < 10 ? n.toFixed(1) : count(Math.round(n)));

function span(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

const now = () => Date.now() + view.skew;
const age = (time) => (time ? Math.max(0, now() - Date.parse(time)) : null);

// ── what is shown ──────────────────────────────────────────────────────────────────────────────────────

const KEYS = {
  name: (q) => q.name,
  pending: (q) => q.counts.pending,
  active: (q) => q.counts.active,
  oldest: (q) => age(q.oldest_pending_at) ?? -1,
  scheduled: (q) => q.counts.scheduled,
  retrying: (q) => q.counts.retrying,
  dead: (q) => q.counts.dead,
  completed: (q) => q.totals.completed,
  in: (q) => q.rates.enqueued_per_s,
  out: (q) => q.rates.completed_per_s,
  wait: (q) => q.latency.wait_p95_ms ?? -1,
};

function compare(a, b) {
  const [x, y] = [KEYS[view.sort](a), KEYS[view.sort](b)];
  const order = x < y ? -1 : x > y ? 1 : 0;
  return (view.descending ? -order : order) || (a.name < b.name ? -1 : 1);
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function cell(row, kind) {
  const td = document.createElement("td");
  td.className = kind;
  row.append(td);
  return td;
}

function makeRow(name) {
  const tr = document.createElement("tr");
  const th = document.createElement("th");
  th.scope = "row";
  const label = document.createElement("span");
  label.className = "name";
  label.textContent = name;
  label.title = name;
  const flag = document.createElement("span");
  flag.className = "flag";
  flag.hidden = true;
  th.append(label, flag);
  tr.append(th);
  const cells = {};
  for (const key of ["pending", "active"]) cells[key] = cell(tr, "number");
  for (const key of ["oldest", "scheduled", "retrying"]) cells[key] = cell(tr, "number wide");
  cells.dead = cell(tr, "number");
  for (const key of ["completed", "in", "out", "wait"]) cells[key] = cell(tr, "number wide");
  const act = document.createElement("button");
  act.type = "button";
  act.className = "act";
  act.addEventListener("click", () => toggle(name));
  cell(tr, "number").append(act);
  return { tr, cells, flag, act, paused: false, busy: false };
}

function mark(td, text, kind, on) {
  write(td, text);
  td.classList.toggle(kind, on);
}

function fill(row, q) {
  const { cells } = row;
  for (const key of ["pending", "scheduled", "retrying"]) mark(cells[key], count(q.counts[key]), "zero", q.counts[key] === 0);
  const limit = q.concurrency === null ? "" : ` / ${count(q.concurrency)}`;
  mark(cells.active, count(q.counts.active) + limit, "zero", q.counts.active === 0);
  const oldest = age(q.oldest_pending_at);
  mark(cells.oldest, span(oldest), "late", oldest !== null && oldest > 60000);
  mark(cells.dead, count(q.counts.dead), "dead", q.counts.dead > 0);
  cells.dead.classList.toggle("zero", q.counts.dead === 0);
  mark(cells.completed, count(q.totals.completed), "zero", q.totals.completed === 0);
  mark(cells.in, rate(q.rates.enqueued_per_s), "zero", q.rates.enqueued_per_s === 0);
  mark(cells.out, rate(q.rates.completed_per_s), "zero", q.rates.completed_per_s === 0);
  mark(cells.wait, span(q.latency.wait_p95_ms), "zero", q.latency.wait_p95_ms === null);
  const flag = q.deleting ? "deleting" : q.paused ? "paused" : q.draining ? "draining" : "";
  row.flag.hidden = flag === "";
  row.flag.classList.toggle("deleting", q.deleting);
  write(row.flag, flag);
  row.paused = q.paused || q.draining;
  const verb = row.paused ? "Resume" : "Pause";
  write(row.act, verb);
  row.act.setAttribute("aria-label", `${verb} ${q.name}`);
  row.act.disabled = row.busy || q.deleting;
}

function arrange() {
  const body = byId("rows");
  const shown = view.queues.filter((q) => q.name.toLowerCase().includes(view.filter)).sort(compare);
  const present = new Set(view.queues.map((q) => q.name));
  for (const [name, row] of rows) {
    if (!present.has(name)) {
      row.tr.remove();
      rows.delete(name);
    }
  }
  const visible = new Set();
  let place = body.firstElementChild;
  for (const q of shown) {
    let row = rows.get(q.name);
    if (!row) rows.set(q.name, (row = makeRow(q.name)));
    fill(row, q);
    visible.add(row.tr);
    if (row.tr === place) {
      place = place.nextElementSibling;
    } else {
      // Moving a row takes the focus off its button.
      const focused = document.activeElement === row.act;
      body.insertBefore(row.tr, place);
      if (focused) row.act.focus();
    }
  }
  for (const tr of [...body.children]) if (!visible.has(tr)) tr.remove();
  const all = view.queues.length;
  write(byId("shown"), shown.length === all ? `${all} ${all === 1 ? "queue" : "queues"}` : `${shown.length} of ${all} queues`);
  byId("empty").hidden = all > 0;
}

function sum(pick) {
  return view.queues.reduce((total, q) => total + pick(q), 0);
}

function totals() {
  const ages = view.queues.map((q) => age(q.oldest_pending_at)).filter((ms) => ms !== null);
  const dead = sum((q) => q.counts.dead);
  const values = {
    pending: count(sum((q) => q.counts.pending)),
    active: count(sum((q) => q.counts.active)),
    oldest: ages.length === 0 ? "–" : span(Math.max(...ages)),
    completed_per_s: rate(sum((q) => q.rates.completed_per_s)),
    failed_per_s: rate(sum((q) => q.rates.failed_per_s)),
    retrying: count(sum((q) => q.counts.retrying)),
    dead: count(dead),
  };
  for (const [key, text] of Object.entries(values)) write(document.querySelector(`[data-total="${key}"]`), text);
  document.querySelector('[data-total="dead"]').classList.toggle("bad", dead > 0);
}

function render() {
  totals();
  arrange();
}

function take(state) {
  view.queues = state.queues;
  document.body.classList.remove("stale");
  render();
}

// ── what is done ───────────────────────────────────────────────────────────────────────────────────────

async function ask(path, options) {
  const response = await fetch(new URL(path, API), options);
  if (response.status === 204) return null;
  const body = await response.json();
  if (response.ok) return body;
  if (response.status === 401) needKey();
  const error = new Error(`${body.error} (${body.code}, ${response.status}, request ${body.request_id})`);
  error.refused = response.status === 401 || response.status === 403;
  throw error;
}

function trouble(sentence) {
  const box = byId("trouble");
  box.hidden = !sentence;
  write(box, sentence ?? "");
}

async function toggle(name) {
  const row = rows.get(name);
  const verb = row.paused ? "resume" : "pause";
  row.busy = true;
  row.act.disabled = true;
  try {
    const changed = await ask(`queues/${encodeURIComponent(name)}/${verb}`, { method: "POST" });
    view.queues = view.queues.map((q) => (q.name === name ? changed : q));
    write(byId("said"), `${name} is ${verb === "pause" ? "paused" : "running"}`);
    trouble(null);
  } catch (error) {
    trouble(`${name} was not ${verb}d: ${error.message}`);
  } finally {
    row.busy = false;
    render();
  }
}

function sortBy(header) {
  const key = header.dataset.sort;
  view.descending = view.sort === key ? !view.descending : key !== "name";
  view.sort = key;
  for (const other of document.querySelectorAll("th[data-sort]")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", view.descending ? "descending" : "ascending");
  render();
}

// ── where it comes from ────────────────────────────────────────────────────────────────────────────────

const live = { source: null, failures: 0, timer: null, silence: null };

function say(state, text) {
  const chip = byId("live");
  chip.dataset.state = state;
  write(chip, text);
}

async function poll() {
  try {
    take(await ask("queues"));
    if (live.timer) say("polling", "Polling");
  } catch (error) {
    document.body.classList.add("stale");
    if (!error.refused) say("lost", "No connection");
    else if (byId("login").hidden) {
      say("lost", "Not allowed");
      trouble(error.message);
    }
  }
}

function stopPolling() {
  clearInterval(live.timer);
  live.timer = null;
}

function startPolling() {
  if (live.timer) return;
  live.timer = setInterval(poll, POLL_MS);
  poll();
}

function connect() {
  live.source?.close();
  clearTimeout(live.silence);
  live.silence = setTimeout(startPolling, SILENCE_MS);
  live.source = new EventSource(new URL("events?topics=stats", API));
  live.source.addEventListener("open", () => {
    live.failures = 0;
    clearTimeout(live.silence);
    stopPolling();
    say("live", "Live");
  });
  live.source.addEventListener("stats", (event) => take(JSON.parse(event.data)));
  live.source.addEventListener("error", () => {
    live.failures += 1;
    document.body.classList.add("stale");
    say("connecting", "Reconnecting");
    // A stream that was refused is closed for good. A question tells why, and asks for a key if that is it;
    // else try again later as after a lost connection.
    if (live.source.readyState === EventSource.CLOSED) {
      poll().then(() => byId("login").hidden && setTimeout(connect, 2000));
    }
    if (live.failures >= PATIENCE) startPolling();
  });
}

// ── who is looking ─────────────────────────────────────────────────────────────────────────────────────

function needKey() {
  if (!byId("login").hidden) return;
  live.source?.close();
  clearTimeout(live.silence);
  stopPolling();
  take({ queues: [] });
  byId("empty").hidden = true;
  byId("logout").hidden = true;
  byId("login").hidden = false;
  byId("key").focus();
  say("lost", "Needs a key");
}

async function logIn(event) {
  event.preventDefault();
  const field = byId("key");
  const key = field.value.trim();
  field.value = "";
  try {
    await ask("session", { method: "POST", headers: { "X-API-Key": key } });
    byId("login").hidden = true;
    trouble(null);
    who();
    describe();
    connect();
  } catch (error) {
    trouble(`The key was not taken: ${error.message}`);
  }
}

async function logOut() {
  try {
    await ask("session", { method: "DELETE" });
    needKey();
  } catch (error) {
    trouble(`You are still logged in: ${error.message}`);
  }
}

async function who() {
  try {
    const status = await ask("auth/status");
    byId("logout").hidden = status.mode !== "session";
    byId("logout").title = status.key ? `${status.key.name} (${status.key.role})` : "";
  } catch {
    // The form asks for a key, or the chip says that there is no connection.
  }
}

function examples() {
  const api = API.href;
  write(byId("example"), `curl -H 'content-type: application/json' ${api}enqueue -d '{"queue":"hello","payload":{"name":"world"}}'`);
  write(byId("work"), `curl -H 'content-type: application/json' ${api}fetch -d '{"queues":["hello"]}'`);
}

async function describe() {
  try {
    const info = await ask("info");
    view.skew = Date.parse(info.now) - Date.now();
    write(byId("node"), `jobbie ${info.version} · node ${info.node_id} · durability ${info.durability} · up ${span(info.uptime_s * 1000)}`);
  } catch {
    // The chip says that there is no connection.
  }
}

for (const header of document.querySelectorAll("th[data-sort]")) {
  header.querySelector("button").addEventListener("click", () => sortBy(header));
}
byId("filter").addEventListener("input", (event) => {
  view.filter = event.target.value.toLowerCase();
  render();
});
// A page in the background holds no connection: browsers allow six per server.
document.addEventListener("visibilitychange", () => {
  if (!byId("login").hidden) return;
  if (document.hidden) {
    live.source?.close();
    clearTimeout(live.silence);
    stopPolling();
  } else {
    connect();
  }
});

byId("login").addEventListener("submit", logIn);
byId("logout").addEventListener("click", logOut);

examples();
who();
describe();
setInterval(() => byId("login").hidden && describe(), 60000);
// Ages grow also when nothing else changes.
setInterval(() => view.queues.some((q) => q.oldest_pending_at) && render(), 1000);
connect();
