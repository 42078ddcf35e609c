"""The curl lines of Hyperfleet's document, against a live service."""

import json

import pytest

import curl
from curl import Answer, Service
from hutch.api.hyperfleet import responses

CREATE = """
curl -X POST http://localhost:3000/machines \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer hf_your_api_key" \\
  -d '{
    "name": "web-server",
    "vcpu_count": 2,
    "mem_size_mib": 512
  }'
"""
LIST = """
curl -H "Authorization: Bearer hf_your_api_key" \\
  http://localhost:3000/machines
"""
LIST_RUNNING = """
curl -H "Authorization: Bearer hf_your_api_key" \\
  "http://localhost:3000/machines?status=running"
"""
PAGE = """
curl -H "Authorization: Bearer hf_your_api_key" \\
  "http://localhost:3000/machines?limit=10&offset=20"
"""
GET = """
curl -H "Authorization: Bearer hf_your_api_key" \\
  http://localhost:3000/machines/abc123xyz
"""
WAIT = """
curl -H "Authorization: Bearer hf_your_api_key" \\
  "http://localhost:3000/machines/abc123xyz/wait?status=running&timeout=30"
"""
DELETE = """
curl -X DELETE \\
  -H "Authorization: Bearer hf_your_api_key" \\
  http://localhost:3000/machines/abc123xyz
"""


def post(verb: str) -> str:
    return DELETE.replace("DELETE", "POST").replace("abc123xyz", f"abc123xyz/{verb}")


def test_the_document_from_one_end_to_the_other(service: Service) -> None:
    changes = {"http://localhost:3000": service.url, "hf_your_api_key": service.key}

    def told(line: str, status: int = 200) -> responses.Machine:
        answer = curl.run(line, changes)
        assert answer.status == status, answer
        return responses.Machine.model_validate_json(answer.text)

    def refused(answer: Answer, status: int, code: str, message: str) -> None:
        assert (answer.status, answer.json) == (status, {"error": {"code": code, "message": message}})

    refused(curl.run(GET, changes), 404, "NOT_FOUND", "Machine with id 'abc123xyz' not found")
    zero = CREATE.replace('"vcpu_count": 2', '"vcpu_count": 0')
    refused(curl.run(zero, changes), 400, "VALIDATION_ERROR", "vcpu_count must be at least 1")
    made = told(CREATE, 201)
    assert (made.name, made.status, made.vcpu_count, made.mem_size_mib) == ("web-server", "pending", 2, 512)
    changes["abc123xyz"] = made.id
    try:
        waited = f"Timed out waiting for machine {made.id} to reach status running"
        refused(curl.run(WAIT.replace("timeout=30", "timeout=0"), changes), 504, "TIMEOUT", waited)
        assert told(post("start")).status == "running"
        assert told(WAIT).status == "running"
        refused(curl.run(post("start"), changes), 400, "BAD_REQUEST", "Cannot start machine in 'running' state")
        refused(curl.run(DELETE, changes), 400, "BAD_REQUEST", "Cannot delete machine in 'running' state")
        it = told(GET)
        assert it.pid
        assert it.guest_ip
        done = curl.run(f"""{post("exec").rstrip()} -d '{{"command": ["echo", "hello"]}}'""", changes)
        assert (done.status, done.json) == (200, {"exit_code": 0, "stdout": "hello\n", "stderr": ""})
        listed = responses.Machines.model_validate_json(curl.run(LIST, changes).text)
        assert made.id in [machine.id for machine in listed.machines]
        running = responses.Machines.model_validate_json(curl.run(LIST_RUNNING, changes).text)
        assert made.id in [machine.id for machine in running.machines]
        assert json.loads(curl.run(PAGE, changes).text)["total"] == listed.total
        restarted = told(post("restart"))
        assert (restarted.status, restarted.pid is not None) == ("running", True)
        stopped = told(post("stop"))
        assert (stopped.status, stopped.pid) == ("stopped", None)
    finally:
        curl.run(post("stop"), changes)
        assert curl.run(DELETE, changes).status == 204
    assert curl.run(GET, changes).status == 404


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("curl http://localhost:3000/machines", "Authorization header is required"),
        (LIST.replace("hf_your_api_key", "hf_wrong"), "Invalid API key"),
    ],
)
def test_without_a_key_that_is_known(service: Service, line: str, words: str) -> None:
    answer = curl.run(line, {"http://localhost:3000": service.url})
    assert (answer.status, answer.json) == (401, {"error": {"code": "UNAUTHORIZED", "message": words}})
