"""Instances: made, looked at, listed, paused, restarted, deleted; their health and logs; over plain HTTP."""

import json
import time

import httpx
import pytest

from hutch.api.starpod import present, responses
from hutch.model.states import State

from .conftest import Instance, refused, told


def test_a_new_instance_runs_and_has_every_documented_field(http: httpx.Client) -> None:
    it = told(http.post("/api/instances", json={"name": "my-bot", "region": "us-east-1"}), 201)
    assert it["id"].startswith("inst_")
    assert (it["name"], it["status"], it["region"]) == ("my-bot", "running", "us-east-1")
    assert abs(it["created_at"] - time.time()) < 600
    assert it["created_at"] <= it["updated_at"]
    path = f"/api/instances/{it['id']}"
    assert Instance(http, it["id"]).wait_healthy(path)["health"] is not None
    assert http.delete(f"/api/instances/{it['id']}").status_code == 204
    assert refused(http.get(f"/api/instances/{it['id']}"), 404) == "Instance not found"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"name":null,"region":null}', b'{"name":""}', b'{"else":1}'])
def test_name_and_region_may_be_left_out_and_null(http: httpx.Client, body: bytes) -> None:
    it = told(http.post("/api/instances", content=body), 201)
    assert it["name"]
    assert it["region"] == "us-east-1"
    http.delete(f"/api/instances/{it['id']}")


def test_a_name_is_for_people_and_may_be_had_twice(http: httpx.Client) -> None:
    made = [told(http.post("/api/instances", json={"name": name}), 201) for name in ("bot", "bot", "My Bot! ✓")]
    assert [it["name"] for it in made] == ["bot", "bot", "My Bot! ✓"]
    assert [it["name"] for it in http.get("/api/instances").json()][:3] == ["My Bot! ✓", "bot", "bot"]
    for it in made:
        http.delete(f"/api/instances/{it['id']}")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"region":"mars"}', "region: there is no 'mars' here, only 'us-east-1'"),
        (b'{"region":""}', "region: there is no ''"),
        (b'{"region":1}', "region: "),
        (b'{"name":["x"]}', "name: "),
        (b'{"name":"' + b"x" * 2000 + b'"}', "name: it is too long"),
        (b'{"name":"a\\u0000"}', "name: "),
        (b"{", "the body is not JSON"),
        (b"[]", "Input should be an object"),
    ],
)
def test_what_makes_no_sense_is_told(http: httpx.Client, body: bytes, words: str) -> None:
    assert refused(http.post("/api/instances", content=body), 400).startswith(words)


def test_the_life_of_an_instance(instance: Instance) -> None:
    def marks() -> list[str]:
        found = instance.http.get(f"{instance.native}/processes").json()
        return [it["id"] for it in (found if isinstance(found, list) else found["processes"])]

    started = instance.http.post(f"{instance.native}/exec", json={"command": "sleep 1000", "background": True}).json()
    for _ in range(2):
        assert instance.post("pause").json() == {"status": "paused"}
        assert instance.look()["status"] == "paused"
    assert instance.post("restart").json() == {"status": "restarted"}
    assert instance.look()["status"] == "running"
    assert started["processId"] in marks()  # it was resumed …
    assert instance.post("restart").json() == {"status": "restarted"}
    assert instance.look()["status"] == "running"
    assert started["processId"] not in marks()  # … and booted


def test_one_that_was_stopped_in_another_dialect_is_restarted_but_not_paused(instance: Instance) -> None:
    instance.http.post(f"{instance.native}/stop")
    assert instance.look()["status"] == "stopped"
    assert "cannot be suspended" in refused(instance.post("pause"), 409)
    assert "only one that runs" in refused(instance.http.get(f"{instance.path}/health"), 409)
    assert instance.post("restart").status_code == 200
    assert instance.look()["status"] == "running"


def test_health_is_the_guests_and_its_integers_are_integers(instance: Instance) -> None:
    answer = instance.http.get(f"{instance.path}/health")
    assert answer.status_code == 200
    it = responses.InstanceHealth.model_validate_json(answer.content, strict=True)
    assert 0 <= it.cpu_percent <= 100
    assert it.memory_mb > 0
    assert it.disk_mb > 0
    assert abs(it.last_heartbeat - time.time()) < 60
    assert 0 <= it.uptime_secs < 600


def test_looking_wakes_nothing_and_a_list_tells_what_runs(instance: Instance) -> None:
    assert instance.wait_healthy("/api/instances")["health"] is not None
    instance.post("pause")
    listed = {it["id"]: it for it in instance.http.get("/api/instances").json()}
    assert (listed[instance.id]["status"], listed[instance.id]["health"]) == ("paused", None)
    assert instance.look()["health"] is None
    assert instance.http.get(f"{instance.path}/logs").status_code == 200
    assert instance.look()["status"] == "paused"


def test_logs_are_lines_of_json(instance: Instance) -> None:
    instance.post("pause")  # so that only the console tells
    answer = instance.http.get(f"{instance.path}/logs", params={"tail": 50})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [responses.LogLine.model_validate(json.loads(it), strict=True) for it in answer.text.splitlines()]
    assert "simulated machine" in [it.message for it in lines]
    assert instance.http.get(f"{instance.path}/logs?tail=1").text.count("\n") == 1
    assert instance.http.get(f"{instance.path}/logs?tail=0").text == ""
    assert refused(instance.http.get(f"{instance.path}/logs?tail=-1"), 400).startswith("tail: ")


def test_ssh_is_not_done_and_says_what_else_there_is(instance: Instance) -> None:
    assert "no SSH server" in refused(instance.http.get(f"{instance.path}/ssh"), 501)


def test_ids_are_read_with_and_without_their_prefix(instance: Instance) -> None:
    bare = instance.id.removeprefix("inst_")
    assert told(instance.http.get(f"/api/instances/{bare}"))["id"] == instance.id


def test_at_the_root_and_below_its_name(http: httpx.Client, instance: Instance) -> None:
    assert instance.id in [it["id"] for it in http.get("/starpod/api/instances").json()]
    told_of = httpx.get(str(http.base_url.join("/api/health")), trust_env=False).json()
    assert told_of["status"] == "ok"
    assert told_of["version"]
    assert refused(http.get("/starpod/nowhere"), 404)
    assert refused(http.put("/api/instances"), 405)
    assert http.get("/starpod/docs").status_code == 200


@pytest.mark.parametrize("header", ["X-API-Key", "x-api-key", "Authorization"])
def test_a_key_comes_in_either_header(service: object, http: httpx.Client, header: str) -> None:
    key = http.headers["x-api-key"]
    sent = {header: f"Bearer {key}" if header == "Authorization" else key}
    assert httpx.get(str(http.base_url.join("/api/instances")), headers=sent, trust_env=False).status_code == 200
    wrong = {header: "Bearer wrong" if header == "Authorization" else "wrong"}
    answer = httpx.get(str(http.base_url.join("/api/instances")), headers=wrong, trust_env=False)
    assert answer.json() == {"error": "Unauthorized"}
    assert answer.status_code == 401


def test_every_state_has_its_status() -> None:
    assert set(present.STATES) == set(State)
    assert set(present.STATES.values()) == {"creating", "running", "paused", "stopped", "error"}
