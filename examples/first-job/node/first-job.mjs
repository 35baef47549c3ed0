// SPDX-License-Identifier: Apache-2.0
// A producer and a worker for jobbie: plain HTTP, nothing but Node. `tsc --checkJs` takes it as TypeScript.
// @ts-check

const url = process.env.JOBBIE_URL ?? "http://127.0.0.1:8080";
const key = process.env.JOBBIE_API_KEY;
const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };

/**
 * Calls the server; null if there is nothing. Whatever is refused is thrown.
 * @param {string} path
 * @param {object} body
 */
async function call(path, body) {
  const answer = await fetch(`${url}/api/v1${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  if (answer.status === 204) return null;
  const value = await answer.json();
  if (!answer.ok) throw new Error(`${value.code}: ${value.error}`);
  return value;
}

/**
 * The job itself.
 * @param {{ name: string }} payload
 */
async function work(payload) {
  return `hello, ${payload.name}`;
}

// The producer. The job is on disk when this returns.
const { job_id } = await call("/enqueue", { queue: "greetings", payload: { name: "Bob" } });
console.log("enqueued", job_id);

// The worker. A real one waits longer for each job, and goes on for ever.
let job;
while ((job = await call("/fetch", { queues: ["greetings"], worker_id: "node-1", timeout: "1s" }))) {
  const { job_id, lease_token, payload } = job;
  let result;
  try {
    result = await work(payload);
  } catch (error) {
    await call(`/fail/${job_id}`, { lease_token, error: String(error) }); // the job is tried again later
    continue;
  }
  await call(`/ack/${job_id}`, { lease_token, result });
  console.log(result);
}
