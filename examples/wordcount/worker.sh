#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A worker in bash: reads jobs from the event stream with `curl -N`, acks them with curl.
#
#   worker.sh QUEUE COUNT     works COUNT jobs of QUEUE, then ends
#
# An event is some lines and an empty one: `event: NAME`, `data: …` (one or more), `id: …`. A job's payload may have line
# ends in it, so the data lines are put together again.
set -euo pipefail
queue=$1 left=$2
url=${JOBBIE_URL:-http://127.0.0.1:8080}
json='Content-Type: application/json'

work() { # work JOB : counts the words of the file in the payload and acks
  local id token path words
  IFS=$'\t' read -r id token path < <(jq -r '[.job_id, .lease_token, .payload.path] | @tsv' <<<"$1")
  if words=$(wc -w <"$path"); then
    curl -sSf --max-time 30 --retry 3 -o /dev/null "$url/api/v1/ack/$id" -H "$json" \
      -d '{"lease_token": "'"$token"'", "result": '"$words"'}'
  else
    curl -sSf --max-time 30 --retry 3 -o /dev/null "$url/api/v1/fail/$id" -H "$json" \
      -d '{"lease_token": "'"$token"'", "error": "the file cannot be read"}'
  fi
  left=$((left - 1))
}

while ((left > 0)); do
  # The same worker_id again adopts what the last connection left.
  exec {stream}< <(exec curl -sSN --max-time 300 "$url/api/v1/stream?queues=$queue&worker_id=bash-$$&prefetch=8")
  curl=$!
  event='' data=''
  while ((left > 0)) && IFS= read -r -u "$stream" line; do
    case $line in
      'event: '*) event=${line#event: } ;;
      'data: '*) data+=${data:+$'\n'}${line#data: } ;;
      '')
        if [[ $event == job ]]; then
          work "$data"
        elif [[ $event == drain ]]; then
          break
        fi
        event='' data=''
        ;;
    esac
  done
  kill "$curl" 2>/dev/null || true
  exec {stream}<&-
  ((left == 0)) || sleep 2 # the server goes away or restarts; it says `retry: 2000`
done
echo "$queue: done"
