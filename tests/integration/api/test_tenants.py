"""What belongs to one tenant is, for another, not there."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from hutch import bootstrap, settings
from hutch.api import app

SOURCE = {"type": "image", "reference": "debian"}


@dataclass(frozen=True)
class Two:
    """The same service, seen by two tenants' admins; the first has a machine, a checkpoint and a pool."""

    owner: httpx.AsyncClient
    other: httpx.AsyncClient
    machine: str
    checkpoint: str
    pool: str


async def made(http: httpx.AsyncClient, path: str, **body: Any) -> str:
    answer = await http.post(path, json=body)
    assert answer.is_success, answer.text
    id: str = answer.json()["id"]
    return id


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    its = settings.load({"HUTCH_HOME": str(tmp_path)})
    control = bootstrap.build_simulated(its)
    await control.open()
    ours = await control.keys.bootstrap(force=True)
    assert ours is not None
    owner = control.keys.authenticate(ours)
    other = await control.tenants.create(owner, "other")
    _, theirs = await control.keys.create(owner, scopes=["admin"], tenant=other.id)
    transport = httpx.ASGITransport(app.build(control, its))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://x", headers={"authorization": f"Bearer {ours}"}) as me,
        httpx.AsyncClient(
            transport=transport, base_url="http://x", headers={"authorization": f"Bearer {theirs}"}
        ) as it,
    ):
        machine = await made(me, "/v1/machines", source=SOURCE, name="web")
        assert (await me.post(f"/v1/machines/{machine}/start")).json()["ready"]
        checkpoint = await made(me, f"/v1/machines/{machine}/checkpoints", name="before")
        pool = await made(me, "/v1/pools", image="debian", name="warm", min=0, max=1)
        yield Two(me, it, machine, checkpoint, pool)
    await control.close()


MACHINE = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("GET", "/wait", None),
    ("POST", "/start", None),
    ("POST", "/stop", None),
    ("POST", "/pause", None),
    ("POST", "/pause", {"keepMemory": True}),
    ("POST", "/suspend", None),
    ("POST", "/resume", None),
    ("POST", "/branches", None),
    ("POST", "/branches/batch", {"count": 2}),
    ("POST", "/checkpoints", None),
    ("POST", "/resize", {"diskGb": 30}),
    ("POST", "/resize", {"cpus": 1}),
    ("POST", "/rollback", {"checkpoint": "ckpt-aaaaaaaaaaaaaaaaaaaa"}),
    ("POST", "/exec", {"command": "true"}),
]
CHECKPOINT = [("GET", "", None), ("DELETE", "", None), ("POST", "/verify", None), ("POST", "/restore", {})]
POOL = [("GET", "", None), ("DELETE", "", None), ("POST", "/claim", {})]


async def test_another_tenants_things_are_404_by_id_and_by_name(two: Two) -> None:
    for calls, noun, refs in (
        (MACHINE, "machines", (two.machine, "web")),
        (CHECKPOINT, "checkpoints", (two.checkpoint, "before")),
        (POOL, "pools", (two.pool, "warm")),
    ):
        for method, what, body in calls:
            for ref in refs:
                answer = await two.other.request(method, f"/v1/{noun}/{ref}{what}", json=body)
                assert answer.status_code == 404, (method, noun, what, answer.text)
    found = (await two.owner.get(f"/v1/machines/{two.machine}")).json()
    assert (found["ready"], found["resources"]["diskGb"]) == (True, 20)
    assert (await two.owner.get(f"/v1/checkpoints/{two.checkpoint}")).status_code == 200
    assert (await two.owner.get(f"/v1/pools/{two.pool}")).status_code == 200


async def test_another_tenant_sees_none_of_it(two: Two) -> None:
    for path in ("/v1/machines", "/v1/checkpoints", "/v1/pools"):
        assert len((await two.owner.get(path)).json()) == 1
        assert (await two.other.get(path)).json() == []
    assert (await two.other.get(f"/v1/machines/{two.machine}/checkpoints")).status_code == 404
    assert (await two.other.get("/v1/machines/web/checkpoints")).status_code == 404


async def test_another_tenants_checkpoint_makes_no_machine_and_puts_none_back(two: Two) -> None:
    for ref in (two.checkpoint, "before"):
        body = {"source": {"type": "checkpoint", "reference": ref}}
        assert (await two.other.post("/v1/machines", json=body)).status_code == 404
    mine = await made(two.other, "/v1/machines", source=SOURCE)
    for ref in (two.checkpoint, "before"):
        answer = await two.other.post(f"/v1/machines/{mine}/rollback", json={"checkpoint": ref})
        assert answer.status_code == 404, answer.text


async def test_two_tenants_may_use_the_same_names(two: Two) -> None:
    machine = await made(two.other, "/v1/machines", source=SOURCE, name="web")
    await two.other.post(f"/v1/machines/{machine}/start")
    checkpoint = await made(two.other, f"/v1/machines/{machine}/checkpoints", name="before")
    pool = await made(two.other, "/v1/pools", image="debian", name="warm", min=0, max=1)
    assert (await two.other.get("/v1/checkpoints/before")).json()["id"] == checkpoint != two.checkpoint
    assert (await two.other.get("/v1/pools/warm")).json()["id"] == pool != two.pool


async def test_another_tenants_pool_serves_only_its_own(two: Two) -> None:
    pool = await made(two.owner, "/v1/pools", image="debian", memoryMb=96, min=1)
    for _ in range(200):
        if (await two.owner.get(f"/v1/pools/{pool}")).json()["idleCount"] == 1:
            break
        await asyncio.sleep(0.02)
    machine = await made(two.other, "/v1/machines", source=SOURCE, resources={"memoryMb": 96})
    assert (await two.other.post(f"/v1/machines/{machine}/start")).json()["ready"]
    assert (await two.owner.get(f"/v1/pools/{pool}")).json()["busyCount"] == 0
