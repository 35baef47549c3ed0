#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A producer and a worker for jobbie: plain HTTP, nothing but the standard library."""

import json
import os
import urllib.request

URL = os.environ.get("JOBBIE_URL", "http://127.0.0.1:8080")
HEADERS = {"Content-Type": "application/json"}
if key := os.environ.get("JOBBIE_API_KEY"):
    HEADERS["Authorization"] = f"Bearer {key}"


def call(path, body):
    """Calls the server; None if there is nothing. Whatever is refused is raised."""
    request = urllib.request.Request(f"{URL}/api/v1{path}", json.dumps(body).encode(), HEADERS)
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.load(answer) if answer.status != 204 else None


def work(payload):
    """The job itself."""
    return f"hello, {payload['name']}"


# The producer. The job is on disk when this returns.
print("enqueued", call("/enqueue", {"queue": "greetings", "payload": {"name": "Ann"}})["job_id"])

# The worker. A real one waits longer for each job, and goes on for ever.
while job := call("/fetch", {"queues": ["greetings"], "worker_id": "python-1", "timeout": "1s"}):
    lease = {"lease_token": job["lease_token"]}
    try:
        result = work(job["payload"])
    except Exception as error:  # the job is tried again later
        call(f"/fail/{job['job_id']}", {**lease, "error": repr(error)})
    else:
        call(f"/ack/{job['job_id']}", {**lease, "result": result})
        print(result)
