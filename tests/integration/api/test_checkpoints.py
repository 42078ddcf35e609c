"""Checkpoints: what a machine was at one moment, and machines made of it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hutch.api.smol import responses

from .conftest import Machine, create


@pytest.fixture
def checkpoint(running: Machine) -> Iterator[responses.Checkpoint]:
    """Of a machine that had a file."""
    running.http.put(f"{running.path}/files/workspace/x", content=b"then")
    made = running.post("checkpoints", {"name": f"c-{running.id[-8:]}"})
    assert made.status_code == 201, made.text
    yield responses.Checkpoint.model_validate_json(made.content)
    running.http.delete(f"/v1/checkpoints/{made.json()['id']}")


def restored(http: httpx.Client, checkpoint: str, **body: Any) -> dict[str, Any]:
    answer = http.post(f"/v1/checkpoints/{checkpoint}/restore", json=body)
    assert answer.status_code == 201, answer.text
    responses.Machine.model_validate_json(answer.content)
    shown: dict[str, Any] = answer.json()
    return shown


def test_a_checkpoint_is_told_whole_and_its_machine_goes_on(running: Machine, checkpoint: responses.Checkpoint) -> None:
    assert checkpoint.id.startswith("ckpt-")
    assert (checkpoint.machine_id, checkpoint.status, checkpoint.arch) == (running.id, "ready", "x86_64")
    assert checkpoint.size_bytes >= 0
    assert checkpoint.source.reference == "debian"
    assert checkpoint.resources.model_dump() == {"cpus": 1, "memory_mb": 512, "disk_gb": 20}
    assert running.look()["ready"]
    found = running.http.get(f"/v1/checkpoints/{checkpoint.id}")
    assert responses.Checkpoint.model_validate_json(found.content) == checkpoint


def test_a_checkpoint_is_sticky_if_it_is_to_be_and_gets_another_name(running: Machine) -> None:
    made = running.post("checkpoints", {"persistence": {"type": "sticky", "priority": 2}}).json()
    assert made["persistence"] == {"type": "sticky", "priority": 2}
    path, other = f"/v1/checkpoints/{made['id']}", running.post("checkpoints").json()
    renamed = running.http.patch(path, json={"name": f"r-{running.id[-8:]}"}).json()
    assert renamed == {**made, "name": f"r-{running.id[-8:]}"}
    for body, status in (({"name": other["name"]}, 409), ({"name": "a b"}, 400), ({}, 422)):
        assert running.http.patch(path, json=body).status_code == status
    bad = {"persistence": {"type": "ephemeral"}}
    assert running.post("checkpoints", bad).status_code == 400
    for id in (made["id"], other["id"]):
        assert running.http.delete(f"/v1/checkpoints/{id}").status_code == 204


def test_a_checkpoint_needs_no_body_and_gets_a_name(running: Machine) -> None:
    made = running.http.post(f"{running.path}/checkpoints")
    assert (made.status_code, bool(made.json()["name"])) == (201, True)
    assert running.http.delete(f"/v1/checkpoints/{made.json()['id']}").status_code == 204


@pytest.mark.parametrize("still", [{"keepMemory": True}, {}])
def test_a_machine_that_stands_still_has_checkpoints_too_and_stays_as_it_is(
    running: Machine, still: dict[str, bool]
) -> None:
    before = running.post("pause", still).json()["stateDetail"]
    made = running.post("checkpoints")
    assert made.status_code == 201, made.text
    assert running.look()["stateDetail"] == before
    running.http.delete(f"/v1/checkpoints/{made.json()['id']}")


def test_checkpoints_are_listed_newest_first_of_all_and_of_one_machine(
    http: httpx.Client, running: Machine, checkpoint: responses.Checkpoint
) -> None:
    second = running.post("checkpoints").json()["id"]
    assert [it["id"] for it in http.get(f"{running.path}/checkpoints").json()] == [second, checkpoint.id]
    assert [it["id"] for it in http.get("/v1/checkpoints").json()][:2] == [second, checkpoint.id]
    other = create(http).json()["id"]
    assert http.get(f"/v1/machines/{other}/checkpoints").json() == []
    for path in (f"/v1/machines/{other}", f"/v1/checkpoints/{second}"):
        http.delete(path)


def test_a_checkpoint_is_meant_by_its_id_with_and_without_prefix_and_by_its_name(
    http: httpx.Client, checkpoint: responses.Checkpoint
) -> None:
    for ref in (checkpoint.id, checkpoint.id.removeprefix("ckpt-"), checkpoint.name):
        assert http.get(f"/v1/checkpoints/{ref}").json()["id"] == checkpoint.id
        assert http.post(f"/v1/checkpoints/{ref}/verify").json()["id"] == checkpoint.id


def test_machines_are_restored_from_a_checkpoint(http: httpx.Client, checkpoint: responses.Checkpoint) -> None:
    made = [
        restored(http, ref, name=f"r{n}-{checkpoint.id[-6:]}") for n, ref in enumerate((checkpoint.id, checkpoint.name))
    ]
    for it in made:
        assert (it["state"], it["stateDetail"], it["ready"]) == ("paused", "suspended", False)
        assert (it["checkpointId"], it["parentId"]) == (checkpoint.id, checkpoint.machine_id)
        assert it["network"] == {"mode": "blocked"}
        assert http.post(f"/v1/machines/{it['id']}/start").json()["ready"]
        assert http.get(f"/v1/machines/{it['id']}/files/workspace/x").content == b"then"
        http.delete(f"/v1/machines/{it['id']}")


def test_a_restored_machine_has_the_network_asked_for(http: httpx.Client, checkpoint: responses.Checkpoint) -> None:
    made = restored(http, checkpoint.id, network={"mode": "open"})
    assert made["network"] == {"mode": "open"}
    http.delete(f"/v1/machines/{made['id']}")


def test_a_machine_is_created_of_a_checkpoint_with_all_that_a_machine_may_have(
    http: httpx.Client, checkpoint: responses.Checkpoint
) -> None:
    source = {"type": "checkpoint", "reference": checkpoint.name}
    made = create(http, source=source, labels={"a": "b"}, resources={"diskGb": 30}, ttlSeconds=3600)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["source"]["reference"], shown["checkpointId"]) == ("debian", checkpoint.id)
    assert shown["resources"] == {"cpus": 1, "memoryMb": 512, "diskGb": 30}
    assert (shown["labels"], shown["ttlSeconds"], shown["network"]) == ({"a": "b"}, 3600, {"mode": "open"})
    assert http.post(f"/v1/machines/{shown['id']}/exec", json={"command": "echo up"}).json()["stdout"] == "up\n"
    http.delete(f"/v1/machines/{shown['id']}")


@pytest.mark.parametrize("resources", [{"cpus": 2}, {"memoryMb": 1024}, {"diskGb": 1}])
def test_a_machine_of_a_checkpoint_has_its_shape(
    http: httpx.Client, checkpoint: responses.Checkpoint, resources: dict[str, int]
) -> None:
    answer = create(http, source={"type": "checkpoint", "reference": checkpoint.id}, resources=resources)
    assert answer.status_code == 400, answer.text


def test_a_checkpoint_outlives_its_machine_and_machines_outlive_their_checkpoint(http: httpx.Client) -> None:
    source = create(http).json()["id"]
    http.post(f"/v1/machines/{source}/start")
    http.put(f"/v1/machines/{source}/files/workspace/x", content=b"kept")
    checkpoint = http.post(f"/v1/machines/{source}/checkpoints").json()["id"]
    assert http.delete(f"/v1/machines/{source}").status_code == 204
    assert http.get(f"/v1/checkpoints/{checkpoint}").json()["machineId"] == source
    made = restored(http, checkpoint)["id"]
    http.post(f"/v1/machines/{made}/start")
    assert http.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204
    assert http.get(f"/v1/machines/{made}/files/workspace/x").content == b"kept"
    assert http.get(f"/v1/checkpoints/{checkpoint}").status_code == 404
    assert http.delete(f"/v1/machines/{made}").status_code == 204


def test_a_checkpoint_that_is_whole_says_so(http: httpx.Client, checkpoint: responses.Checkpoint) -> None:
    assert checkpoint.verified_at is None
    answer = http.post(f"/v1/checkpoints/{checkpoint.id}/verify")
    found = responses.Checkpoint.model_validate_json(answer.content)
    assert (found.status, found.damage, found.verified_at is not None) == ("ready", [], True)


@pytest.mark.parametrize(("method", "what"), [("GET", ""), ("DELETE", ""), ("POST", "/verify"), ("POST", "/restore")])
@pytest.mark.parametrize("id", ["ckpt-aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaa", "no-such-name", "ckpt-"])
def test_an_unknown_checkpoint_is_404(http: httpx.Client, method: str, what: str, id: str) -> None:
    answer = http.request(method, f"/v1/checkpoints/{id}{what}")
    assert answer.status_code == 404
    assert answer.text


def test_a_machine_of_an_unknown_checkpoint_is_404_and_leaves_nothing(http: httpx.Client) -> None:
    answer = create(http, name="of-nothing", source={"type": "checkpoint", "reference": "none"})
    assert answer.status_code == 404
    assert http.get("/v1/machines/of-nothing").status_code == 404


def test_a_name_that_is_taken_is_409(http: httpx.Client, running: Machine, checkpoint: responses.Checkpoint) -> None:
    answer = running.post("checkpoints", {"name": checkpoint.name})
    assert (answer.status_code, checkpoint.name in answer.text) == (409, True)
    taken = http.post(f"/v1/checkpoints/{checkpoint.id}/restore", json={"name": running.look()["name"]})
    assert taken.status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"name": 5}, 422, "name"),
        ({"name": "sp ace"}, 400, "name"),
        ({"network": "open"}, 422, "network"),
        ({"cacheDisk": {"name": "c"}}, 501, "cacheDisk: "),
    ],
)
def test_a_restore_that_makes_no_sense_is_refused(
    http: httpx.Client, checkpoint: responses.Checkpoint, body: object, status: int, named: str
) -> None:
    answer = http.post(f"/v1/checkpoints/{checkpoint.id}/restore", json=body)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text


def test_uploads_are_not_taken_and_that_is_said(http: httpx.Client) -> None:
    answer = http.post("/v1/checkpoints", json={"sizeBytes": 5})
    assert (answer.status_code, answer.text.startswith("checkpoints: ")) == (501, True)
