"""Warm pools."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from hutch.api.smol import responses

from .conftest import create

LIMIT = 20.0


@pytest.fixture
def made(http: httpx.Client) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes pools, and removes them."""
    ids = []

    def make(**fields: Any) -> dict[str, Any]:
        answer = http.post("/v1/pools", json={"image": "debian", "memoryMb": 128, **fields})
        assert answer.status_code == 200, answer.text
        responses.Pool.model_validate_json(answer.content)
        ids.append(answer.json()["id"])
        shown: dict[str, Any] = answer.json()
        return shown

    yield make
    for id in ids:
        http.delete(f"/v1/pools/{id}")


def when_ready(http: httpx.Client, id: str) -> responses.Pool:
    """The pool, once it is full."""
    end = time.monotonic() + LIMIT
    while True:
        pool = responses.Pool.model_validate_json(http.get(f"/v1/pools/{id}").content)
        if pool.status == "ready":
            return pool
        assert time.monotonic() < end, pool
        time.sleep(0.05)


def test_a_pool_fills_and_is_told_whole(http: httpx.Client, made: Callable[..., dict[str, Any]]) -> None:
    shown = made(name="web", cpus=2, diskGb=9, network=False, targetSize=2, max=4, warmUp=["true"])
    assert shown["id"].startswith("pool-")
    assert (shown["name"], shown["image"], shown["targetSize"], shown["min"], shown["max"]) == (
        "web",
        "debian",
        2,
        2,
        4,
    )
    assert shown["resources"] == {"cpus": 2, "memoryMb": 128, "diskGb": 9}
    assert (shown["network"], shown["warmUp"], shown["busyCount"]) == ({"mode": "blocked"}, ["true"], 0)
    pool = when_ready(http, shown["id"])
    assert (pool.idle_count, pool.reason) == (2, None)


def test_what_is_left_out_is_the_services_default(http: httpx.Client, made: Callable[..., dict[str, Any]]) -> None:
    shown = made(name=None, cpus=None, targetSize=None, maxIdleSecs=None, tenantId=None)
    assert (shown["min"], shown["max"], shown["network"]) == (1, 1, {"mode": "open"})
    assert shown["name"]


def test_members_are_not_listed_and_go_with_their_pool(http: httpx.Client, made: Callable[..., dict[str, Any]]) -> None:
    before = {it["id"] for it in http.get("/v1/machines").json()}
    id = made()["id"]
    when_ready(http, id)
    assert {it["id"] for it in http.get("/v1/machines").json()} == before
    assert http.delete(f"/v1/pools/{id}").status_code == 204
    assert http.get(f"/v1/pools/{id}").status_code == 404
    assert id not in {it["id"] for it in http.get("/v1/pools").json()}


def test_a_machine_is_claimed_with_what_it_is_to_be(http: httpx.Client, made: Callable[..., dict[str, Any]]) -> None:
    id = made()["id"]
    when_ready(http, id)
    answer = http.post(f"/v1/pools/{id}/claim", json={"name": "claimed", "env": {"A": "b"}, "labels": {"x": "y"}})
    assert answer.status_code == 200, answer.text
    machine = responses.Machine.model_validate_json(answer.content)
    assert (machine.name, machine.ready, machine.env, machine.labels) == ("claimed", True, {"A": "b"}, {"x": "y"})
    assert http.get("/v1/machines/claimed").json()["checkout"] == {"source": "member", "mode": "prefer", "poolId": id}
    assert machine.resources.memory_mb == 128
    done = http.post("/v1/machines/claimed/exec", json={"command": "echo $A"}).json()
    assert (done["exitCode"], done["stdout"]) == (0, "b\n")
    assert http.get(f"/v1/pools/{id}").json()["busyCount"] == 1
    assert when_ready(http, id).idle_count == 1
    http.delete("/v1/machines/claimed")


def test_a_pool_is_changed_drained_and_enabled(http: httpx.Client, made: Callable[..., dict[str, Any]]) -> None:
    path = f"/v1/pools/{made(mode='require', labels={'a': 'b'})['id']}"
    when_ready(http, path.rsplit("/", 1)[1])

    def change(**fields: Any) -> responses.Pool:
        answer = http.patch(path, json=fields)
        assert answer.status_code == 200, answer.text
        return responses.Pool.model_validate_json(answer.content)

    pool = change(min=0, max=2, name="changed", warmUp=["true"], metadata={"n": 1})
    assert (pool.min, pool.max, pool.name, pool.warm_up) == (0, 2, "changed", ["true"])
    assert (pool.mode, pool.labels, pool.metadata) == ("require", {"a": "b"}, {"n": 1})
    assert change(targetSize=1).min == 1
    assert change(targetSize=0).min == 0
    pool = change(state="draining")
    assert (pool.status, pool.state, pool.idle_count) == ("draining", "draining", 0)
    answer = http.post(f"{path}/claim", json={"waitMs": 30_000})
    assert (answer.status_code, "it is draining" in answer.text) == (422, True)
    assert change(state="enabled", mode="prefer").state == "enabled"
    machine = http.post(f"{path}/claim", json={"waitMs": 30_000, "mode": "require"}).json()
    assert http.get(path).json()["busyCount"] == 1
    http.delete(f"/v1/machines/{machine['id']}")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"min": 3}, 400),
        ({"min": 0, "targetSize": 0}, 400),
        ({"max": 65}, 400),
        ({"min": -1}, 422),
        ({"name": "sp ace"}, 400),
        ({"warmUp": []}, 400),
        ({"state": "gone"}, 422),
        ({"mode": 1}, 422),
        ({"labels": {"": "x"}}, 400),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(
    http: httpx.Client, made: Callable[..., dict[str, Any]], body: object, status: int
) -> None:
    path = f"/v1/pools/{made(min=0, max=1)['id']}"
    before = http.get(path).json()
    assert http.patch(path, json=body).status_code == status
    assert http.get(path).json() == before
    assert http.patch("/v1/pools/pool-aaaaaaaaaaaaaaaaaaaa", json={}).status_code == 404


def test_a_claim_may_say_what_the_pool_has_and_mount_a_volume(
    http: httpx.Client, made: Callable[..., dict[str, Any]]
) -> None:
    id = made(min=0, max=1, network=False)["id"]
    same = {"source": {"type": "image", "reference": "debian"}, "network": {"mode": "blocked"}}
    volume = http.post("/v1/volumes", json={"name": "claimed", "sizeGb": 1}).json()["id"]
    answer = http.post(f"/v1/pools/{id}/claim", json=same | {"mounts": [{"volume": volume, "mountPath": "/data"}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["network"] == {"mode": "blocked"}
    assert http.delete(f"/v1/volumes/{volume}").status_code == 409, "it is mounted"
    http.delete(f"/v1/machines/{answer.json()['id']}")
    http.delete(f"/v1/volumes/{volume}")


def test_a_claim_needs_no_body_and_no_member_that_is_ready(
    http: httpx.Client, made: Callable[..., dict[str, Any]]
) -> None:
    id = made(min=0, max=1)["id"]
    for ref in (id, id.removeprefix("pool-"), http.get(f"/v1/pools/{id}").json()["name"]):
        answer = http.post(f"/v1/pools/{ref}/claim")
        assert (answer.status_code, answer.json()["ready"]) == (200, True), answer.text
        http.delete(f"/v1/machines/{answer.json()['id']}")


def test_a_first_start_that_fits_takes_a_member(http: httpx.Client, made: Callable[..., dict[str, Any]]) -> None:
    id = made(memoryMb=96)["id"]
    when_ready(http, id)
    machine = create(http, resources={"memoryMb": 96}).json()["id"]
    assert http.post(f"/v1/machines/{machine}/start").json()["ready"]
    assert http.get(f"/v1/pools/{id}").json()["busyCount"] == 1
    http.delete(f"/v1/machines/{machine}")


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 422, "image"),
        ({"image": 5}, 422, "image"),
        ({"image": ""}, 400, "image"),
        ({"image": "no/such:image"}, 422, "manifest unknown"),
        ({"image": "debian", "cpus": 0}, 400, "cpus"),
        ({"image": "debian", "memoryMb": 1}, 400, "memory"),
        ({"image": "debian", "memoryMb": 10**6}, 422, "memory"),
        ({"image": "debian", "network": "open"}, 422, "network"),
        ({"image": "debian", "network": {"mode": "open"}}, 422, "network"),
        ({"image": "debian", "targetSize": -1}, 422, "targetSize"),
        ({"image": "debian", "targetSize": 1, "min": 1}, 400, "targetSize"),
        ({"image": "debian", "min": 3, "max": 2}, 400, "max"),
        ({"image": "debian", "min": 65}, 400, "min"),
        ({"image": "debian", "name": "sp ace"}, 400, "name"),
        ({"image": "debian", "warmUp": "true"}, 422, "warmUp"),
        ({"image": "debian", "warmUp": []}, 400, "warm"),
        ({"image": "debian", "maxIdleSecs": 60}, 501, "maxIdleSecs: "),
        ({"image": "debian", "tenantId": "tenant-other"}, 501, "tenantId: "),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused(http: httpx.Client, body: object, status: int, named: str) -> None:
    before = http.get("/v1/pools").json()
    answer = http.post("/v1/pools", json=body)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text
    assert http.get("/v1/pools").json() == before


def test_a_name_that_is_taken_is_409(made: Callable[..., dict[str, Any]], http: httpx.Client) -> None:
    made(name="taken-pool", min=0, max=1)
    answer = http.post("/v1/pools", json={"image": "debian", "name": "taken-pool", "min": 0, "max": 1})
    assert (answer.status_code, "taken-pool" in answer.text) == (409, True)


@pytest.mark.parametrize(("method", "what"), [("GET", ""), ("DELETE", ""), ("POST", "/claim")])
@pytest.mark.parametrize("id", ["pool-aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaa", "no-such-name", "pool-"])
def test_an_unknown_pool_is_404(http: httpx.Client, method: str, what: str, id: str) -> None:
    answer = http.request(method, f"/v1/pools/{id}{what}")
    assert answer.status_code == 404
    assert answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *(({"name": "sp ace"}, 400), ({"name": 5}, 422), ({"env": {"": "x"}}, 400), ({"ttlSeconds": 0}, 400)),
        *(({"mode": "often"}, 422), ({"waitMs": 30_001}, 422), ({"waitMs": "1"}, 422)),
        *(({"network": {"mode": "blocked"}}, 400), ({"resources": {"cpus": 2}}, 400), ({"network": "open"}, 422)),
        ({"source": {"type": "image", "reference": "alpine"}}, 400),
        ({"source": {"type": "checkpoint", "reference": "x"}}, 400),
        ({"mounts": [{"volume": "nope", "mountPath": "/x"}]}, 400),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(
    http: httpx.Client, made: Callable[..., dict[str, Any]], body: object, status: int
) -> None:
    answer = http.post(f"/v1/pools/{made(min=0, max=1)['id']}/claim", json=body)
    assert answer.status_code == status, answer.text
