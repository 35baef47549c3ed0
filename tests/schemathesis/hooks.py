# SPDX-License-Identifier: Apache-2.0
"""Long polls answer at once, or a run would take hours. What the server has to refuse stays as it is."""

import re

import schemathesis

FETCH = ("/api/v1/fetch", "/api/v1/fetch/batch")
WAIT = "/api/v1/jobs/{job_id}/wait"


def waits(timeout):
    """Whether it is a time to wait that the server would take."""
    if isinstance(timeout, bool):
        return False
    return timeout is None or re.fullmatch(r"[0-9]+(\.[0-9]+)?(ms|s)?", str(timeout)) is not None


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.path in FETCH and isinstance(case.body, dict) and waits(case.body.get("timeout")):
        case.body["timeout"] = 0
    if case.path == WAIT and waits((case.query or {}).get("timeout")):
        case.query = {**(case.query or {}), "timeout": "0"}
