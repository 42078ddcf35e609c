"""Every operation with every kind of key: one's own, another tenant's, without the scope, expired, revoked, none."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import office
from hutch.api.freestyle import dialect
from hutch.model.keys import Limits
from office import Office

_READ, _CREATE, _EXEC, _FILES = "machine:read", "machine:create", "machine:exec", "machine:files"
ID, SNAPSHOTS, BUILDS = "/v1/vms/{vm_id}", "/v1/vms/snapshots", "/v1/vms/builds"
SERVICES = f"{ID}/systemd/services"

SCOPES: dict[office.Operation, str] = {
    ("GET", "/v1/vms"): _READ,
    ("POST", "/v1/vms"): _CREATE,
    ("GET", ID): _READ,
    ("DELETE", ID): "machine:delete",
    **{("POST", f"{ID}/{verb}"): _EXEC for verb in ("kill", "optimize")},
    **{("POST", f"{ID}/{verb}"): f"{_READ} {_EXEC}" for verb in ("start", "stop", "suspend", "exec-await")},
    ("POST", f"{ID}/await"): _READ,
    ("POST", f"{ID}/fork"): _CREATE,
    ("POST", f"{ID}/snapshot"): f"{_READ} {_CREATE}",
    ("POST", "/v1/vms/{id}/resize"): f"{_READ} {_CREATE}",
    ("GET", f"{ID}/build"): _READ,
    ("GET", f"{BUILDS}/{{build_id}}"): _READ,
    ("GET", f"{BUILDS}/{{build_id}}/phases"): _READ,
    ("GET", SNAPSHOTS): _READ,
    ("POST", SNAPSHOTS): _CREATE,
    ("GET", f"{SNAPSHOTS}/{{snapshot_id}}"): _READ,
    ("PATCH", f"{SNAPSHOTS}/{{snapshot_id}}"): _CREATE,
    ("DELETE", f"{SNAPSHOTS}/{{snapshot_id}}"): "machine:delete",
    **{(method, f"{ID}/files/{{filepath}}"): f"{_READ} {_FILES}" for method in ("GET", "PUT")},
    ("POST", f"{ID}/watch-files"): f"{_READ} {_FILES}",
    ("GET", f"{ID}/stats/stream"): _READ,
    **{("GET", f"{ID}/{looked}"): f"{_READ} {_EXEC}" for looked in ("terminals", "pty/sessions")},
    **{
        ("GET", f"{ID}/terminals/{{terminal_id}}/{looked}"): f"{_READ} {_EXEC}" for looked in ("logs", "xterm-256color")
    },
    ("DELETE", f"{ID}/pty/sessions/{{session_id}}"): f"{_READ} {_EXEC}",
    ("GET", SERVICES): _READ,
    **{("GET", f"{SERVICES}/{{service_id}}/{looked}"): _READ for looked in ("status", "logs")},
    ("POST", SERVICES): f"{_READ} {_EXEC}",
    ("DELETE", f"{SERVICES}/{{service_id}}"): f"{_READ} {_EXEC}",
    **{("POST", f"{ID}/systemd/{verb}"): f"{_READ} {_EXEC}" for verb in ("start", "stop", "restart")},
}
"""What each needs; where it is two, one is to look at the VM first."""

BODIES: dict[office.Operation, Any] = {
    ("POST", "/v1/vms"): {},
    ("POST", SNAPSHOTS): {"spec": {}},
    ("PATCH", f"{SNAPSHOTS}/{{snapshot_id}}"): {"name": "x"},
    ("POST", "/v1/vms/{id}/resize"): {"rootfsSizeGb": 20},
    ("POST", f"{ID}/exec-await"): {"command": "true"},
    ("PUT", f"{ID}/files/{{filepath}}"): {"content": ""},
    ("POST", SERVICES): {"name": "web", "mode": "oneshot", "exec": ["true"]},
    **{("POST", f"{ID}/systemd/{verb}"): {"services": [{"id": "web"}]} for verb in ("start", "stop", "restart")},
}
ENDLESS = {("POST", f"{ID}/watch-files"), ("GET", f"{ID}/stats/stream"), ("POST", f"{ID}/await")}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office.opened(tmp_path, dialect.build, BODIES) as it:
        yield it


async def ask(desk: Office, operation: office.Operation, id: str, key: str | None) -> httpx.Response:
    """On this VM, and on what is not there of anything else."""
    method, path = operation
    named = path.replace("{vm_id}", id).replace("{id}", id).replace("{filepath}", "%2Ftmp%2Fx")
    for name in ("snapshot_id", "build_id", "service_id", "terminal_id", "session_id"):
        named = named.replace(f"{{{name}}}", "nothere")
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = {"json": BODIES[operation]} if operation in BODIES else {}
    return await desk.http.request(method, named, headers=headers, **body)


async def test_the_table_here_names_every_operation(desk: Office) -> None:
    paths = (await desk.http.get("/openapi.json")).json()["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == set(SCOPES)


async def test_dead_keys_and_none_are_401(desk: Office) -> None:
    keys = await desk.dead_keys()
    for operation in SCOPES:
        for key in keys:
            answer = await ask(desk, operation, "x", key)
            assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED_ERROR"), (operation, key)


async def test_a_key_without_the_scope_is_told_which(desk: Office) -> None:
    machine, key = (await desk.machine()).id, await desk.with_scopes("usage:read")
    for operation, scopes in SCOPES.items():
        answer = await ask(desk, operation, machine, key)
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), (operation, answer.text)
        assert answer.json()["message"].removeprefix("missing scope: ") in scopes.split(), (operation, answer.text)


async def test_a_key_with_the_scopes_may_do_what_they_are_for(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    for operation, scopes in SCOPES.items():
        if operation not in ENDLESS:
            machine = (await desk.machine()).id
            answer = await ask(desk, operation, machine, await desk.with_scopes(*scopes.split()))
            assert answer.status_code not in (401, 403), (operation, answer.text)
            for it in desk.control.machines.list(me):
                await desk.control.machines.delete(me, it.id)


async def test_another_tenants_vm_is_not_there(desk: Office) -> None:
    machine = (await desk.machine()).id
    for operation in SCOPES:
        if "{vm_id}" in operation[1] or "{id}" in operation[1]:
            answer = await ask(desk, operation, machine, desk.theirs)
            assert answer.json()["code"] in ("VM_NOT_FOUND", "INTERNAL_RESIZE_VM_NOT_FOUND"), (operation, answer.text)
            assert answer.json()["message"] == f"VM not found: {machine}"
    assert (await desk.ask(("GET", "/v1/vms"), "", desk.theirs)).json()["vms"] == []
    assert (await ask(desk, ("GET", ID), machine, desk.key)).json()["state"] == "running"


async def test_a_suspended_tenant_may_only_look_and_delete(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    await desk.control.tenants.suspend(me, desk.control.keys.authenticate(desk.theirs).tenant)
    assert (await desk.ask(("GET", "/v1/vms"), "", desk.theirs)).status_code == 200
    answer = await desk.ask(("POST", "/v1/vms"), "", desk.theirs)
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")


async def test_commands_are_not_counted_among_requests(desk: Office) -> None:
    me, machine = desk.control.keys.authenticate(desk.key), (await desk.machine()).id
    await desk.control.tenants.update(me, me.tenant, Limits(requests_per_second=1))
    for _ in range(4):
        answer = await ask(desk, ("POST", f"{ID}/exec-await"), machine, desk.key)
        assert answer.status_code == 200, answer.text
