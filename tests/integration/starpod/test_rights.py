"""Every operation with every kind of key: one's own, another tenant's, without the scope, expired, revoked, none."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import office
from hutch.api.starpod import dialect, instances
from hutch.control.fleet import Fleet
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.keys import Limits
from hutch.model.states import State
from office import Office

ID = "/api/instances/{id}"
_READ, _CREATE, _EXEC = "machine:read", "machine:create", "machine:exec"

SCOPES: dict[office.Operation, str] = {
    ("GET", "/api/instances"): _READ,
    ("POST", "/api/instances"): _CREATE,
    ("GET", ID): _READ,
    **{("GET", f"{ID}/{what}"): _READ for what in ("health", "logs", "ssh")},
    **{("POST", f"{ID}/{verb}"): _EXEC for verb in ("pause", "restart")},
    ("DELETE", ID): "machine:delete",
}
BODIES: dict[office.Operation, Any] = {("POST", "/api/instances"): {}}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office.opened(tmp_path, dialect.build, BODIES) as it:
        yield it


async def test_the_table_here_names_every_operation(desk: Office) -> None:
    paper = (await desk.http.get("/openapi.json")).json()
    every = {(method.upper(), path) for path, methods in paper["paths"].items() for method in methods}
    assert every == set(SCOPES) | {("GET", "/api/health")}
    assert paper["security"] == [{"key": []}, {"bearer": []}]


async def test_ones_own_key_may_do_everything(desk: Office) -> None:
    machine = (await desk.machine()).id
    for operation in SCOPES:
        answer = await desk.ask(operation, machine, desk.key)
        expected = 501 if operation[1].endswith("/ssh") else 200 if operation[0] == "GET" else None
        assert answer.status_code < 300 or answer.status_code == expected, (operation, answer.text)
        if operation[1].endswith("/pause"):
            await desk.ask(("POST", f"{ID}/restart"), machine, desk.key)


async def test_dead_keys_and_none_are_401(desk: Office) -> None:
    keys = await desk.dead_keys()
    for operation in SCOPES:
        for key in keys:
            answer = await desk.ask(operation, "x", key)
            assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"}), (operation, key)


async def test_a_key_without_the_scope_is_told_which(desk: Office) -> None:
    machine, key = (await desk.machine()).id, await desk.with_scopes("usage:read")
    for operation, scope in SCOPES.items():
        answer = await desk.ask(operation, machine, key)
        assert (answer.status_code, answer.json()) == (403, {"error": f"missing scope: {scope}"}), operation


async def test_a_key_with_the_one_scope_may_do_what_it_is_for(desk: Office) -> None:
    machine = (await desk.machine()).id
    for operation, scope in SCOPES.items():
        answer = await desk.ask(operation, machine, await desk.with_scopes(scope))
        assert answer.status_code not in (401, 403), (operation, answer.text)


async def test_another_tenants_instance_is_not_there(desk: Office) -> None:
    machine = (await desk.machine()).id
    for operation in SCOPES:
        if "{id}" in operation[1]:
            answer = await desk.ask(operation, machine, desk.theirs)
            assert (answer.status_code, answer.json()) == (404, {"error": "Instance not found"}), operation
    assert (await desk.ask(("GET", "/api/instances"), "", desk.theirs)).json() == []
    assert (await desk.ask(("GET", ID), machine, desk.key)).json()["status"] == "running"


async def test_who_asks_too_often_and_who_has_too_much_is_told(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    await desk.control.tenants.update(me, me.tenant, Limits(machines=0))
    assert (await desk.ask(("POST", "/api/instances"), "", desk.key)).status_code == 422
    await desk.control.tenants.update(me, me.tenant, Limits(requests_per_second=1))
    answers = [await desk.ask(("GET", "/api/instances"), "", desk.key) for _ in range(4)]
    assert [it.status_code for it in answers][-1] == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_one_that_takes_long_is_creating_and_one_that_fails_then_is_an_error(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "PATIENCE", 0.05)
    fleet: Fleet = desk.control.core.fleet
    gate, start = asyncio.Event(), fleet.host.start

    async def slow(machine: MachineId, *rest: Any) -> None:
        await gate.wait()
        await start(machine, *rest)
        raise errors.MachineFailed("no kernel")

    monkeypatch.setattr(fleet.host, "start", slow)
    made = (await desk.ask(("POST", "/api/instances"), "", desk.key)).json()
    assert made["status"] == "creating"
    gate.set()
    me, id = desk.control.keys.authenticate(desk.key), MachineId(made["id"].removeprefix("inst_"))
    await desk.control.machines.wait(me, id, {State.FAILED}, 30)
    assert (await desk.ask(("GET", ID), made["id"], desk.key)).json()["status"] == "error"


async def test_one_that_cannot_be_started_at_once_is_none(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    await desk.control.tenants.update(me, me.tenant, Limits(running=0))
    answer = await desk.ask(("POST", "/api/instances"), "", desk.key)
    assert answer.status_code == 422
    assert (await desk.ask(("GET", "/api/instances"), "", desk.key)).json() == []
