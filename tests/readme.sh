#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the shell blocks of the documents against the binary, so that what they say stays true.
#
#   tests/readme.sh [DOCUMENT…]        default: README.md docs/protocol.md
#
# The ```bash blocks of a document run in one shell, in order, each with `set -euo pipefail`. If the next block is ```json
# or ```text, it is what the one before must print; `…` stands for anything. A comment above a block says otherwise:
#
#   <!-- check: server -->              starts the server: done once for all, on a free port and a directory of its own
#   <!-- check: until QUEUE is done --> runs until every job of the queue is completed
#   <!-- check: no, REASON -->          is not run
#
# JOBBIE_BIN is the binary (default target/debug/jobbie). Needs bash, curl, jq.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobbie=$(realpath "${JOBBIE_BIN:-target/debug/jobbie}")
documents=("${@:-README.md}")
(($#)) || documents+=(docs/protocol.md)
work=$(mktemp -d "${TMPDIR:-/tmp}/readme.XXXXXX")
server='' passed=0 failed=0

cleanup() {
  if [[ -n $server ]]; then
    kill -KILL "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mkdir "$work/bin"
ln -s "$jobbie" "$work/bin/jobbie"
exec {out}< <(cd "$work" && exec "$jobbie" server --bind 127.0.0.1:0 2>"$work/server.log")
server=$!
address=''
while IFS= read -r -t 60 -u "$out" line; do
  if [[ $line =~ listening\ on\ http://([^[:space:]/]+) ]]; then
    address=${BASH_REMATCH[1]}
    break
  fi
done
if [[ -z $address ]]; then
  cat "$work/server.log"
  echo "FAIL the server does not start"
  exit 1
fi

# Cuts a document into blocks: N.sh with the commands, N.how with the comment, N.line, and N.out with what is expected.
cut_blocks() { # cut_blocks DOCUMENT DIRECTORY
  awk -v dir="$2" '
    /^<!-- check: .* -->$/ { how = $0; sub(/^<!-- check: /, "", how); sub(/ -->$/, "", how); next }
    /^```/ && !inside {
      inside = 1; kind = substr($0, 4); file = "/dev/null"
      if (kind == "bash") {
        n++; file = sprintf("%s/%03d.sh", dir, n)
        printf "%s\n", how > sprintf("%s/%03d.how", dir, n)
        printf "%d\n", NR > sprintf("%s/%03d.line", dir, n)
      } else if ((kind == "json" || kind == "text") && after == "bash") {
        file = sprintf("%s/%03d.out", dir, n)
      }
      how = ""; next
    }
    /^```/ { inside = 0; after = kind; next }
    inside { print > file; next }
    /[^ ]/ { after = "" }
  ' "$1"
}

# The script that runs the blocks of a directory in one shell.
driver() { # driver DIRECTORY
  echo 'set -euo pipefail'
  local block how name
  for block in "$1"/*.sh; do
    name=${block%.sh}
    how=$(<"$name.how")
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
      '') printf 'source %q >%q 2>&1\necho ok >%q\n' "$name.run" "$name.printed" "$name.done" ;;
      *) echo "echo 'what is \"check: $how\"?' >'$name.printed'; exit 1" ;;
    esac
    sed "s/127\.0\.0\.1:8080/$address/g" "$block" >"$name.run"
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
export address JOBBIE_URL="http://$address" PATH="$work/bin:$PATH"

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
  driver "$blocks" >"$blocks/driver"
  (cd "$work" && timeout 300 bash "$blocks/driver") || true
  for block in "$blocks"/*.sh; do
    name=${block%.sh}
    place="$document:$(<"$name.line")"
    if [[ ! -f $name.done ]]; then
      failed=$((failed + 1))
      echo "FAIL $place"
      sed 's/^/  /' "$block"
      [[ ! -f $name.printed ]] || sed 's/^/  | /' "$name.printed"
      break # the blocks behind it were not run
    elif [[ $(<"$name.done") == skipped ]]; then
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
done
if ((failed)); then
  tail -n 20 "$work/server.log"
fi
echo "$passed passed, $failed failed"
((failed == 0))
