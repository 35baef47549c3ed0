#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Counts the words of this repository with jobbie: one job per source file, worked twice.
#
#   queue "words"     worked by `jobbie work`: a shell command per job
#   queue "words-sse" worked by worker.sh: bash and curl on the event stream
#
# Then every result is compared with `wc -w`. The server is its own, on a free port and a directory that goes away.
#
# Needs bash, curl, jq and coreutils. JOBBIE_BIN is the binary (default target/debug/jobbie).
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
jobbie=$(realpath "${JOBBIE_BIN:-$repository/target/debug/jobbie}")
work=$(mktemp -d "${TMPDIR:-/tmp}/wordcount.XXXXXX")
server='' passed=0 failed=0

cleanup() {
  if [[ -n $server ]]; then
    kill -KILL "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

pass() { passed=$((passed + 1)); echo "PASS $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
to() { # to FILE COMMAND… : with its output in a file
  local file=$1
  shift
  "$@" >"$file" 2>&1
}
check() { # check NAME COMMAND… : the command's exit code decides
  local name=$1
  shift
  if "$@"; then pass "$name"; else fail "$name"; fi
}

# The files, as a copy: what is counted must not change in between.
mkdir "$work/files"
cd "$repository"
sources() {
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -- '*.rs' '*.md' '*.toml' '*.sh'
  else
    find . \( -name target -o -name '.?*' \) -prune -o -type f \( -name '*.rs' -o -name '*.md' -o -name '*.toml' -o -name '*.sh' \) -print
  fi
}
while IFS= read -r path; do
  [[ ! -f $path ]] || cp --parents -- "$path" "$work/files"
done < <(sources)
cd "$work/files"
find . -type f -printf '%P\n' | sort >"$work/paths"
files=$(wc -l <"$work/paths")
# The last line of wc is the sum.
tr '\n' '\0' <"$work/paths" | wc -w --files0-from=- | sed '$d; s/^ *//' >"$work/counted"
sed -E 's/^([0-9]+) (.*)$/\2\t\1/' "$work/counted" | sort >"$work/expected"
total=$(awk -F '\t' '{ sum += $2 } END { print sum }' "$work/expected")
echo "$files files, $total words by wc"

# The server: it prints its address on stdout when it is ready.
exec {out}< <(exec "$jobbie" server --bind 127.0.0.1:0 --data-dir "$work/data" 2>"$work/server.log")
server=$!
url=''
while IFS= read -r -t 60 -u "$out" line; do
  if [[ $line =~ listening\ on\ (http://[^[:space:]]+) ]]; then
    url=${BASH_REMATCH[1]%/}
    break
  fi
done
if [[ -z $url ]]; then
  cat "$work/server.log"
  fail "the server starts"
  echo "$passed passed, $failed failed"
  exit 1
fi
pass "the server starts"
export JOBBIE_URL=$url

# One job per file: by the command line for the first queue, by one HTTP call for the second.
jq -R -c '{path: .}' "$work/paths" >"$work/payloads"
check "jobbie enqueue --lines" to "$work/enqueue.log" "$jobbie" enqueue words --lines "$work/payloads"
jq -c -s '{jobs: [.[] | {queue: "words-sse", payload: .}]}' "$work/payloads" >"$work/batch.json"
check "POST /enqueue/batch" curl -sSf --max-time 60 -o "$work/enqueued.json" "$url/api/v1/enqueue/batch" \
  -H 'Content-Type: application/json' -d "@$work/batch.json"

# Worker 1: a whole worker in one line. The payload comes on stdin, and what is printed becomes the result.
# shellcheck disable=SC2016 # the shell of the job expands it
check "jobbie work" to "$work/work.log" timeout 300 "$jobbie" work words --drain --concurrency 4 -- 'wc -w <"$(jq -r .path)"'

# Worker 2: bash and curl.
check "worker.sh" to "$work/worker.log" timeout 300 "$here/worker.sh" words-sse "$files"

# All completed jobs of a queue, page by page: "path<TAB>words".
completed() {
  local cursor='' page
  while :; do
    page=$(curl -sSf --max-time 60 -G "$url/api/v1/jobs" -d "queue=$1" -d state=completed -d limit=100 ${cursor:+-d "cursor=$cursor"})
    jq -r '.jobs[] | [.payload.path, .result] | @tsv' <<<"$page"
    cursor=$(jq -r '.cursor // empty' <<<"$page")
    [[ -n $cursor ]] || return 0
  done
}

only_completed() {
  curl -sSf --max-time 60 "$url/api/v1/queues/$1" |
    jq -e --argjson files "$files" '.counts.completed == $files and .total == $files' >/dev/null
}

for queue in words words-sse; do
  completed "$queue" | sort >"$work/found"
  sum=$(awk -F '\t' '{ sum += $2 } END { print sum + 0 }' "$work/found")
  echo "$queue: $(wc -l <"$work/found") jobs, $sum words"
  check "$queue: every file has the count that wc gives" diff -u "$work/expected" "$work/found"
  check "$queue: the sum is that of wc" test "$sum" = "$total"
  check "$queue: every job is completed" only_completed "$queue"
done

# The server stops when it is told to, without an error.
stops() {
  kill -TERM "$server" || return 1
  local code=0
  timeout 30 tail --pid="$server" -f /dev/null || return 1
  wait "$server" || code=$?
  server=''
  return "$code"
}
check "the server stops" stops

if ((failed)); then
  tail -n 20 "$work"/*.log
fi
echo "$passed passed, $failed failed"
((failed == 0))
