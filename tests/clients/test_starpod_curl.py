"""The curl lines of Starpod's document, against a live service; and its client's bearer key."""

import time

from pydantic import TypeAdapter

import curl
from curl import Service
from hutch.api.starpod import responses

LIST = """
curl http://localhost:3000/api/instances \\
  -H "X-API-Key: your-key"
"""
CREATE = """
curl -X POST http://localhost:3000/api/instances \\
  -H "X-API-Key: your-key" \\
  -H "Content-Type: application/json" \\
  -d '{"name": "my-bot", "region": "us-east-1"}'
"""
GET = """
curl http://localhost:3000/api/instances/inst_abc123 \\
  -H "X-API-Key: your-key"
"""
DELETE = GET.replace("curl", "curl -X DELETE", 1)
HEALTH = GET.replace("inst_abc123", "inst_abc123/health")
LOGS = GET.replace("inst_abc123", "inst_abc123/logs?tail=20")


def post(verb: str) -> str:
    return GET.replace("curl", "curl -X POST", 1).replace("inst_abc123", f"inst_abc123/{verb}")


def test_the_document_from_one_end_to_the_other(service: Service) -> None:
    changes = {"http://localhost:3000": service.url, "your-key": service.key}
    assert curl.run(CREATE, changes).status == 400  # there is no such region here
    changes["us-east-1"] = "local"

    def told(line: str, status: int = 200) -> responses.Instance:
        answer = curl.run(line, changes)
        assert answer.status == status, answer
        return responses.Instance.model_validate_json(answer.text, strict=True)

    def health() -> responses.InstanceHealth:
        answer = curl.run(HEALTH, changes)
        assert answer.status == 200, answer
        return responses.InstanceHealth.model_validate_json(answer.text, strict=True)

    made = told(CREATE, 201)
    changes["inst_abc123"] = made.id
    try:
        end = time.monotonic() + 300
        while told(GET).status == "creating" and time.monotonic() < end:
            time.sleep(0.2)
        it = told(GET)
        assert (it.name, it.status, it.region) == ("my-bot", "running", "local")
        first = health()
        assert first.memory_mb > 0
        assert first.disk_mb > 0
        assert abs(first.last_heartbeat - time.time()) < 60
        assert 0 <= health().cpu_percent <= 100
        listed = TypeAdapter(list[responses.Instance]).validate_json(curl.run(LIST, changes).text, strict=True)
        assert made.id in [instance.id for instance in listed]
        for line in curl.run(LOGS, changes).text.splitlines():
            responses.LogLine.model_validate_json(line, strict=True)
        assert curl.run(post("pause"), changes).json == {"status": "paused"}
        assert told(GET).status == "paused"
        assert curl.run(HEALTH, changes).status == 409
        for _ in range(2):  # resumed, then booted
            assert curl.run(post("restart"), changes).json == {"status": "restarted"}
            assert told(GET).status == "running"
        assert health().uptime_secs < 300
    finally:
        assert curl.run(DELETE, changes).status == 204
    assert curl.run(GET, changes).json == {"error": "Instance not found"}


def test_the_clients_bearer_key_is_as_good_and_a_wrong_one_is_not(service: Service) -> None:
    bearer = LIST.replace("X-API-Key: your-key", "Authorization: Bearer your-key")
    assert curl.run(bearer, {"http://localhost:3000": service.url, "your-key": service.key}).status == 200
    answer = curl.run(LIST, {"http://localhost:3000": service.url})
    assert (answer.status, answer.json) == (401, {"error": "Unauthorized"})
