"""Every operation with every kind of key: one's own, another tenant's, without the scope, expired, revoked, none."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from hutch import settings
from hutch.api import app
from hutch.control import plane
from hutch.control.clock import ManualClock
from hutch.control.plane import ControlPlane
from hutch.host.simulated.host import SimulatedHost
from hutch.host.simulated.world import World
from hutch.model.keys import Limits
from hutch.notify.memory import MemoryProofs, MemorySender
from hutch.store.memory import MemoryStore

_READ, _CREATE, _EXEC, _FILES = "machine:read", "machine:create", "machine:exec", "machine:files"
_DELETE, _ADMIN = "machine:delete", "admin"
ID = "/v1/machines/{id}"
PORT = f"{ID}/ports/{{port}}"
HOOK = "/v1/lifecycle/webhooks"
POOLS = "/v1/template-warm-pools"

SCOPES: dict[tuple[str, str], str] = {
    ("GET", "/v1/machines"): _READ,
    ("POST", "/v1/machines"): _CREATE,
    ("GET", ID): _READ,
    ("DELETE", ID): _DELETE,
    ("POST", f"{ID}/timeout"): _READ,
    ("POST", f"{ID}/hibernate"): _EXEC,
    ("POST", f"{ID}/resume"): _EXEC,
    ("POST", f"{ID}/fork"): _CREATE,
    ("POST", f"{ID}/snapshots"): _CREATE,
    ("POST", f"{ID}/exec"): _EXEC,
    ("GET", f"{ID}/processes"): _EXEC,
    ("GET", f"{ID}/processes/{{pid}}/logs"): _EXEC,
    ("POST", f"{ID}/processes/{{pid}}/kill"): _EXEC,
    ("POST", f"{ID}/processes/{{pid}}/stdin"): _EXEC,
    ("GET", f"{ID}/pty"): _EXEC,
    ("GET", f"{ID}/pty/{{sid}}"): _READ,
    ("DELETE", f"{ID}/pty/{{sid}}"): _READ,
    ("POST", f"{ID}/pty/{{sid}}/resize"): _READ,
    ("GET", f"{ID}/files"): _FILES,
    **{
        ("POST", f"{ID}/files/{verb}"): _FILES
        for verb in ("read", "write", "exists", "info", "mkdir", "remove", "rename", "permissions")
    },
    **{("POST", f"{ID}/files/{verb}"): _FILES for verb in ("find", "search", "replace", "batch-write")},
    **{(verb, f"{ID}/file"): _FILES for verb in ("GET", "PUT", "POST")},
    ("GET", f"{ID}/metrics"): _READ,
    ("GET", f"{ID}/lifecycle"): _READ,
    ("GET", f"{ID}/volumes"): _READ,
    ("GET", "/v1/lifecycle/events"): _READ,
    ("PATCH", f"{ID}/egress"): _EXEC,
    ("POST", f"{ID}/host"): _EXEC,
    ("GET", f"{PORT}/preview-url"): _EXEC,
    **{("POST", f"{PORT}/{what}"): _EXEC for what in ("signed-preview-url", "preview-proxy-target", "readiness")},
    ("GET", f"{ID}/preview-urls"): _READ,
    ("DELETE", f"{ID}/preview-urls/{{grant}}"): _EXEC,
    ("GET", "/v1/snapshots"): _READ,
    ("GET", "/v1/snapshots/{id}"): _READ,
    ("DELETE", "/v1/snapshots/{id}"): _DELETE,
    ("GET", "/v1/snapshots/{id}/lifecycle"): _READ,
    **{(verb, HOOK): _ADMIN for verb in ("GET", "POST")},
    **{(verb, f"{HOOK}/{{id}}"): _ADMIN for verb in ("GET", "PATCH", "DELETE")},
    ("GET", f"{HOOK}/{{id}}/deliveries"): _ADMIN,
    ("GET", "/v1/templates"): _READ,
    ("GET", "/v1/templates/{id}"): _READ,
    ("GET", "/v1/templates/refs/{id}"): _READ,
    ("GET", POOLS): _READ,
    ("POST", POOLS): _CREATE,
    ("GET", f"{POOLS}/{{id}}"): _READ,
    ("DELETE", f"{POOLS}/{{id}}"): _READ,
    ("GET", f"{POOLS}/{{id}}/status"): _READ,
    ("PATCH", f"{POOLS}/{{id}}"): _READ,
    **{("POST", f"{POOLS}/{{id}}/{verb}"): _READ for verb in ("enable", "disable", "drain", "reconcile")},
    ("GET", "/v1/volumes"): "volume:read",
    ("POST", "/v1/volumes"): "volume:create",
    ("GET", "/v1/volumes/by-name/{name}"): "volume:read",
    ("GET", "/v1/volumes/{id}"): "volume:read",
    ("DELETE", "/v1/volumes/{id}"): "volume:delete",
    ("GET", "/v1/volumes/{id}/attachments"): "volume:read",
    **{(verb, "/v1/keys"): _ADMIN for verb in ("GET", "POST")},
    ("DELETE", "/v1/keys/{id}"): _ADMIN,
}
"""The scope each operation asks for first."""

BODIES: dict[str, Any] = {
    f"{ID}/timeout": {"timeout_ms": 600_000},
    f"{ID}/egress": {"egress": {"mode": "deny_all"}},
    f"{ID}/host": {"port": 8080},
    f"{PORT}/readiness": {"timeout_secs": 0},
    f"{ID}/exec": {"command": "true"},
    f"{ID}/processes/{{pid}}/stdin": {"data": ""},
    f"{ID}/pty/{{sid}}/resize": {"cols": 80, "rows": 24},
    **{f"{ID}/files/{verb}": {"path": "/tmp"} for verb in ("read", "exists", "info", "mkdir", "remove")},
    f"{ID}/files/write": {"path": "/tmp/x", "content": ""},
    f"{ID}/files/rename": {"old_path": "/tmp/a", "new_path": "/tmp/b"},
    f"{ID}/files/permissions": {"path": "/tmp", "permissions": "755"},
    **{f"{ID}/files/{verb}": {"path": "/tmp", "pattern": "x"} for verb in ("find", "search")},
    f"{ID}/files/replace": {"files": ["/tmp/a"], "pattern": "a", "replacement": "b"},
    HOOK: {"url": "https://example.org/x", "operations": ["create"], "signing_secret": "s" * 16},
    POOLS: {"name": "p", "template": "base", "min_ready": 0, "max_ready": 1}
    | {"resources": {"vcpus": 1, "memory_mb": 256}},
    "/v1/volumes": {"name": "v"},
}
FORMS: dict[str, Any] = {
    f"{ID}/file": {"file": ("x", b"x")},
    f"{ID}/files/batch-write": {
        "manifest": ("m", b'{"files":[{"path":"/tmp/x","field":"f"}]}'),
        "f": ("f", b""),
    },
}


@dataclasses.dataclass(frozen=True)
class Office:
    """A service, and keys to it; `things` are the first tenant's, by the beginning of the path that reaches them."""

    http: httpx.AsyncClient
    control: ControlPlane
    clock: ManualClock
    key: str
    theirs: str
    things: dict[str, str]

    async def ask(self, method: str, path: str, key: str | None) -> httpx.Response:
        return await self.http.request(method, self.fill(path), **self.sent(method, path, key))

    def fill(self, path: str) -> str:
        meant = next((id for start, id in self.things.items() if path.startswith(start)), "x")
        filled = path.replace("{id}", meant)
        for name, value in (("pid", "1"), ("sid", "x"), ("name", "mine"), ("port", "8080"), ("grant", "x")):
            filled = filled.replace(f"{{{name}}}", value)
        return filled + ("?path=/tmp/x" if path == f"{ID}/file" else "")

    def sent(self, method: str, path: str, key: str | None) -> dict[str, Any]:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        if method == "POST" and path in FORMS:
            return {"headers": headers, "files": FORMS[path]}
        if path.startswith("/v1/lifecycle/events"):
            return {"headers": headers, "params": {"machine_id": self.things["/v1/machines"]}}
        return (
            {"headers": headers, "json": BODIES.get(path, {})} if method in ("POST", "PATCH") else {"headers": headers}
        )


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    world, store, clock = World(tmp_path), MemoryStore(), ManualClock()
    its = settings.load({"HUTCH_TENANTS_REQUESTS_PER_SECOND": "0"})
    parts = plane.Parts(
        store, SimulatedHost(world), clock, contextlib.nullcontext(), "test", MemorySender(), MemoryProofs()
    )
    control = plane.assemble(parts, its)
    await control.open()
    key = await control.keys.bootstrap(force=True)
    assert key is not None
    me = control.keys.authenticate(key)
    other = await control.tenants.create(me, "other", Limits())
    _, theirs = await control.keys.create(me, scopes=["admin"], tenant=other.id, prefix="ns_live")
    transport = httpx.ASGITransport(app.build(control, its))
    async with httpx.AsyncClient(transport=transport, base_url="http://x/nullspace") as http:
        office = Office(http, control, clock, key, theirs, {})
        made = {path: (await office.ask("POST", path, key)).json() for path in (HOOK, POOLS, "/v1/machines")}
        volume = (
            await http.post("/v1/volumes", json={"name": "mine"}, headers=office.sent("GET", "", key)["headers"])
        ).json()
        kept = (
            await http.post(f"/v1/machines/{made['/v1/machines']['id']}/snapshots", **office.sent("GET", "", key))
        ).json()
        listed = (await office.ask("GET", "/v1/keys", key)).json()
        things = {path: it["id"] for path, it in made.items()}
        things |= {"/v1/volumes": volume["id"], "/v1/snapshots": kept["id"], "/v1/keys": listed[0]["id"]}
        yield dataclasses.replace(office, things=things)
    await control.close()
    await world.close()


async def test_the_table_here_names_every_operation(office: Office) -> None:
    paths = (await office.http.get("/openapi.json")).json()["paths"]
    undone = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method, it in methods.items()
        if "not here" in it["tags"]
    }
    every = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert every - undone == set(SCOPES) | {("GET", "/healthz")}


async def test_no_key_a_wrong_one_a_revoked_one_and_an_expired_one_are_401(office: Office) -> None:
    me = office.control.keys.authenticate(office.key)
    revoked, was = await office.control.keys.create(me)
    await office.control.keys.revoke(me, revoked.id)
    _, expired = await office.control.keys.create(me, expires_in=timedelta(seconds=10))
    office.clock.advance(11)
    for method, path in SCOPES:
        for key in (None, "ns_live_wrong", was, expired):
            answer = await office.ask(method, path, key)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (method, path, key)
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_without_the_scope_is_told_which(office: Office) -> None:
    me = office.control.keys.authenticate(office.key)
    _, key = await office.control.keys.create(me, scopes=["usage:read"])
    for (method, path), scope in SCOPES.items():
        answer = await office.ask(method, path, key)
        assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (
            *(403, "permission_denied"),
            f"missing scope: {scope}",
        ), (method, path, answer.text)


async def test_another_tenants_things_are_not_there(office: Office) -> None:
    for method, path in SCOPES:
        if "{id}" not in path or path.startswith("/v1/templates/"):
            continue
        answer = await office.ask(method, path, office.theirs)
        assert answer.status_code == 404, (method, path, answer.text)
        assert answer.json()["code"].endswith("not_found")
    events = await office.ask("GET", "/v1/lifecycle/events", office.theirs)
    assert events.status_code == 404
    for path in ("/v1/machines", "/v1/snapshots", "/v1/volumes", HOOK):
        assert (await office.ask("GET", path, office.theirs)).json() == []
    assert (await office.ask("GET", POOLS, office.theirs)).json() == {"items": []}
    found = await office.http.get("/v1/machines?limit=10", headers=office.sent("GET", "", office.theirs)["headers"])
    assert found.json() == {"items": [], "has_next": False}


async def test_one_may_do_it_oneself(office: Office) -> None:
    for (method, path), _ in SCOPES.items():
        if method == "GET":
            answer = await office.ask(method, path, office.key)
            gone = "{sid}" in path or "{pid}" in path or path.endswith("/file") or path.startswith("/v1/templates/")
            assert answer.status_code == (404 if gone else 200), (method, path, answer.text)


async def test_another_tenants_snapshot_pool_and_volume_make_no_machine(office: Office) -> None:
    headers = office.sent("GET", "", office.theirs)["headers"]
    for body in (
        {"snapshot_id": office.things["/v1/snapshots"]},
        {"warm_pool": {"id": office.things[POOLS]}},
        {"volumes": [{"ref": office.things["/v1/volumes"], "mount_path": "/data"}]},
    ):
        assert (await office.http.post("/v1/machines", json=body, headers=headers)).status_code == 404


async def test_a_limit_that_is_reached_is_a_quota(office: Office) -> None:
    me = office.control.keys.authenticate(office.key)
    other = office.control.keys.authenticate(office.theirs).tenant
    await office.control.tenants.update(me, other, Limits(machines=1))
    headers = office.sent("GET", "", office.theirs)["headers"]
    assert (await office.http.post("/v1/machines", json={}, headers=headers)).status_code == 201
    answer = await office.http.post("/v1/machines", json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "QUOTA_EXCEEDED")
    assert "machines" in answer.json()["error"]


async def test_who_asks_too_often_is_told_when_to_come_back(office: Office) -> None:
    me = office.control.keys.authenticate(office.key)
    other = office.control.keys.authenticate(office.theirs).tenant
    machine = (await office.ask("POST", "/v1/machines", office.theirs)).json()["id"]
    await office.control.tenants.update(me, other, Limits(requests_per_second=1))
    headers = office.sent("GET", "", office.theirs)["headers"]
    answers = [await office.http.get("/v1/machines", headers=headers) for _ in range(4)]
    assert [it.status_code for it in answers] == [200, 200, 429, 429]
    assert answers[0].headers["x-ratelimit-remaining"] == "1"
    assert answers[2].json()["code"] == "rate_limit_exceeded"
    assert int(answers[2].headers["retry-after"]) >= 1
    done = await office.http.post(f"/v1/machines/{machine}/exec", json={"command": "true"}, headers=headers)
    assert done.status_code == 200


async def test_a_suspended_tenant_may_only_look_and_delete(office: Office) -> None:
    me = office.control.keys.authenticate(office.key)
    other = office.control.keys.authenticate(office.theirs).tenant
    machine = (await office.ask("POST", "/v1/machines", office.theirs)).json()["id"]
    await office.control.tenants.suspend(me, other)
    headers = office.sent("GET", "", office.theirs)["headers"]
    assert (await office.http.get("/v1/machines", headers=headers)).status_code == 200
    answer = await office.http.post("/v1/machines", json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert (await office.http.delete(f"/v1/machines/{machine}", headers=headers)).status_code == 200
