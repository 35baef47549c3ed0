#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares the API with its OpenAPI document: thousands of generated calls, right and wrong ones. Every answer must be
# one that is documented, have the documented form, and be no failure of the server.
#
#   tests/schemathesis/run.sh install     puts the tool into target/schemathesis (Python 3.10, PyPI)
#   tests/schemathesis/run.sh             runs it against a server of its own
#
# The two job and event streams have no end and are left out; tests/http reads those. The seed is fixed, so a run can be
# repeated; `SEED=2 tests/schemathesis/run.sh` looks elsewhere. JOBBIE_BIN is the binary (default target/debug/jobbie).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=tests/schemathesis venv=target/schemathesis

if [[ ${1:-} == install ]]; then
  if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv"
  fi
  exit
fi

if [[ ! -x $venv/bin/schemathesis ]]; then
  echo "SKIP schemathesis is not installed: $here/run.sh install"
  [[ -z ${JOBBIE_SKIP_NOTHING:-} ]]
  exit
fi
jobbie=$(realpath "${JOBBIE_BIN:-target/debug/jobbie}")
work=$(mktemp -d "${TMPDIR:-/tmp}/schemathesis.XXXXXX")
server=''
cleanup() {
  [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The calls may make keys, and with the first one an open server would close: so there is one from the beginning.
key=key-of-schemathesis-0123456789
exec {out}< <(cd "$work" && JOBBIE_ADMIN_KEY=$key exec "$jobbie" server --bind 127.0.0.1:0 2>"$work/server.log")
server=$!
url=''
while IFS= read -r -t 60 -u "$out" line; do
  if [[ $line =~ listening\ on\ (http://[^[:space:]/]+) ]]; then
    url=${BASH_REMATCH[1]}
    break
  fi
done
if [[ -z $url ]]; then
  cat "$work/server.log"
  echo "FAIL the server does not start"
  exit 1
fi

code=0
HYPOTHESIS_STORAGE_DIRECTORY=$work/hypothesis SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 \
  "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$url/api/v1/openapi.json" \
  --header "Authorization: Bearer $key" \
  --exclude-path /api/v1/stream --exclude-path /api/v1/events --exclude-path '/api/v1/jobs/{job_id}/stream' \
  ${SEED:+--seed "$SEED"} >"$work/report" 2>&1 || code=$?
cat "$work/report"
# What failed inside has been logged, even if the answer was a documented one.
if grep -E 'panicked|ERROR jobbie' "$work/server.log"; then
  echo "FAIL the server logged errors"
  code=1
fi
exit "$code"
