#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the commands of the documents against the binary, so that what they say stays true.
#
#   tests/readme.sh [DOCUMENT…]        default: README.md and every page below docs/ and examples/
#
# Each document with commands has a server of its own, on a free port and a fresh directory, with the examples linked
# into its working directory. Its ```bash blocks run in one shell, in order, each with `set -euo pipefail`. If the next
# block is ```json or ```text, it is what the one before must print; `…` stands for anything. A comment above a block
# says otherwise:
#
#   <!-- check: server -->              is the server that runs already
#   <!-- check: until QUEUE is done --> runs until every job of the queue is completed
#   <!-- check: settings -->            starts servers: only their settings are checked, with `jobbie config`
#   <!-- check: needs PROGRAM -->       is skipped where the program is missing, unless JOBBIE_SKIP_NOTHING=1
#   <!-- check: no, REASON -->          is not run
#   <!-- file: PATH -->                 shows that file (compared by tests/tidy.rs)
#
# ```toml is a configuration file and is checked with `jobbie config`; ```json, ```text, ```yaml and ```mermaid are not run.
# Commands may not stand in any other kind of block.
#
# JOBBIE_BIN is the binary (default target/debug/jobbie). Needs bash, curl, jq.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
repository=$PWD
jobbie=$(realpath "${JOBBIE_BIN:-target/debug/jobbie}")
# Of this script alone: jobbie warns of variables that look like its own.
export -n JOBBIE_BIN JOBBIE_SKIP_NOTHING
documents=("$@")
if (($# == 0)); then
  mapfile -t documents < <(printf '%s\n' README.md; find docs examples -name '*.md' | sort)
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/readme.XXXXXX")
server='' passed=0 failed=0 skipped=0

stop_server() {
  if [[ -n $server ]]; then
    kill -KILL "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=''
  fi
}

cleanup() {
  stop_server
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The programs of the documents: this binary, and the examples as the test run has built them.
mkdir "$work/bin"
ln -s "$jobbie" "$work/bin/jobbie"
cat >"$work/bin/cargo" <<SCRIPT
#!/usr/bin/env bash
if [[ \$1 == run && \$2 == --example ]]; then exec "$(dirname "$jobbie")/examples/\$3"; fi
echo "tests/readme.sh does not run cargo \$*" >&2
exit 1
SCRIPT
chmod +x "$work/bin/cargo"

# Starts a server in a directory; `address` is where it listens.
start_server() { # start_server DIRECTORY
  local line out
  exec {out}< <(cd "$1" && exec "$jobbie" server --bind 127.0.0.1:0 2>"$1/server.log")
  server=$!
  address=''
  while IFS= read -r -t 60 -u "$out" line; do
    if [[ $line =~ listening\ on\ http://([^[:space:]/]+) ]]; then
      address=${BASH_REMATCH[1]}
      export address JOBBIE_URL="http://$address"
      return
    fi
  done
  cat "$1/server.log"
  echo "FAIL the server does not start"
  exit 1
}

# Cuts a document into blocks: N.sh with the commands, N.how with the comment, N.line, and N.out with what is expected.
# A configuration file becomes a block that checks it.
cut_blocks() { # cut_blocks DOCUMENT DIRECTORY
  awk -v dir="$2" '
    function block() {
      n++; file = sprintf("%s/%03d.sh", dir, n)
      printf "%s\n", how > sprintf("%s/%03d.how", dir, n)
      printf "%d\n", NR > sprintf("%s/%03d.line", dir, n)
    }
    /^<!-- check: .* -->$/ { how = $0; sub(/^<!-- check: /, "", how); sub(/ -->$/, "", how); next }
    /^<!-- file: .* -->$/ { shown = 1; next }
    /^ *```/ && !inside {
      inside = 1; kind = $0; sub(/^ *```/, "", kind); file = "/dev/null"
      if (shown) {
      } else if (kind == "bash") {
        block()
      } else if (kind == "toml") {
        block()
        print "jobbie config --config <(cat <<\047END\047" > file
      } else if ((kind == "json" || kind == "text") && after == "bash") {
        file = sprintf("%s/%03d.out", dir, n)
      } else if (kind !~ /^(json|text|mermaid|yaml)$/) {
        how = "?" kind; block()
      }
      how = ""; shown = 0; next
    }
    /^ *```/ {
      if (kind == "toml" && file != "/dev/null") print "END\n) >/dev/null" > file
      inside = 0; after = kind; next
    }
    inside { print > file; next }
    /[^ ]/ { after = "" }
  ' "$1"
}

# The script that runs the blocks of a directory in one shell.
driver() { # driver DIRECTORY
  echo 'set -euo pipefail'
  local block how name program
  for block in "$1"/*.sh; do
    name=${block%.sh}
    how=$(<"$name.how")
    sed "s/127\.0\.0\.1:8080/$address/g" "$block" >"$name.run"
    program=${how#needs }
    if [[ $how == "needs $program" ]]; then
      if command -v "$program" >/dev/null || [[ -n ${JOBBIE_SKIP_NOTHING:-} ]]; then
        how=''
      else
        how="no, $program is missing"
        echo "$how" >"$name.how"
      fi
    fi
    case $how in
      'no, '*) echo "echo skipped >'$name.done'" ;;
      server)
        [[ $(<"$block") == 'cargo run --release -- server' ]] && echo "echo ok >'$name.done'"
        ;;
      'until '*' is done')
        # In a process group of its own, so that all of the pipeline can be ended.
        printf 'set -m; bash -euo pipefail %q >%q 2>&1 & group=$!; set +m\n' "$name.run" "$name.printed"
        how=${how#until }
        # shellcheck disable=SC2016 # the driver expands it
        printf 'queue_is_done %q; kill -- "-$group"; wait "$group" || true\n' "${how% is done}"
        echo "echo ok >'$name.done'"
        ;;
      settings)
        sed -i 's/^\([A-Z_]*=[^ ]* \)*jobbie server/\1jobbie config/' "$name.run"
        printf 'source %q >%q 2>&1\necho ok >%q\n' "$name.run" "$name.printed" "$name.done"
        ;;
      '') printf 'source %q >%q 2>&1\necho ok >%q\n' "$name.run" "$name.printed" "$name.done" ;;
      '?'*) echo "echo 'a block of kind \"${how#?}\" is neither run nor compared' >'$name.printed'; exit 1" ;;
      *) echo "echo 'what is \"check: $how\"?' >'$name.printed'; exit 1" ;;
    esac
  done
}

# Waits for every job of a queue, and checks that it is completed.
queue_is_done() { # queue_is_done QUEUE
  local ids id
  ids=$(curl -sSf "http://$address/api/v1/jobs?queue=$1" | jq -r '.jobs[].id')
  [[ -n $ids ]] || return 1
  for id in $ids; do
    curl -sSf "http://$address/api/v1/jobs/$id/wait?timeout=30" | jq -e '.state == "completed"' >/dev/null || return 1
  done
}
export -f queue_is_done
export PATH="$work/bin:$PATH"

# Whether what was printed is what is expected: `…` stands for anything.
is_expected() { # is_expected EXPECTED PRINTED
  local pattern
  pattern=$(sed -e 's/[][\\*?]/\\&/g' -e 's/…/*/g' "$1")
  # shellcheck disable=SC2053 # it is a pattern
  [[ $(<"$2") == $pattern ]]
}

for document in "${documents[@]}"; do
  blocks=$work/$(tr / - <<<"$document")
  mkdir "$blocks"
  cut_blocks "$document" "$blocks"
  [[ -f $blocks/001.sh ]] || continue # no commands
  place=$(mktemp -d "$work/run.XXXXXX")
  ln -s "$repository/examples" "$place/examples"
  start_server "$place"
  driver "$blocks" >"$blocks/driver"
  (cd "$place" && timeout 300 bash "$blocks/driver") || true
  stop_server
  for block in "$blocks"/*.sh; do
    name=${block%.sh}
    place="$document:$(<"$name.line")"
    if [[ ! -f $name.done ]]; then
      failed=$((failed + 1))
      echo "FAIL $place"
      sed 's/^/  /' "$block"
      [[ ! -f $name.printed ]] || sed 's/^/  | /' "$name.printed"
      tail -n 20 "$work"/run.*/server.log
      break # the blocks behind it were not run
    elif [[ $(<"$name.done") == skipped ]]; then
      skipped=$((skipped + 1))
      echo "SKIP $place: $(sed 's/^no, //' "$name.how")"
    elif [[ -f $name.out ]] && ! is_expected "$name.out" "$name.printed"; then
      failed=$((failed + 1))
      echo "FAIL $place prints something else"
      sed 's/^/  | /' "$name.printed"
    else
      passed=$((passed + 1))
      echo "PASS $place"
    fi
  done
  rm -rf "$work"/run.*
done
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
