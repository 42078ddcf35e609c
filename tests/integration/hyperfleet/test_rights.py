"""Every operation with every kind of key: one's own, another tenant's, without the scope, expired, revoked, none."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import office
from hutch.api.hyperfleet import dialect
from hutch.model.keys import Limits
from office import Office

_READ, _CREATE, _EXEC, _FILES = "machine:read", "machine:create", "machine:exec", "machine:files"
ID = "/machines/{id}"

SCOPES: dict[office.Operation, str] = {
    ("GET", "/machines"): _READ,
    ("POST", "/machines"): _CREATE,
    ("GET", ID): _READ,
    ("DELETE", ID): "machine:delete",
    **{("POST", f"{ID}/{verb}"): _EXEC for verb in ("start", "stop", "restart", "pause", "resume", "exec")},
    ("GET", f"{ID}/wait"): _READ,
    **{(method, f"{ID}/files"): _FILES for method in ("POST", "GET", "DELETE")},
    ("GET", f"{ID}/files/stat"): _FILES,
}

BODIES: dict[office.Operation, Any] = {
    ("POST", "/machines"): {"name": "new", "vcpu_count": 1, "mem_size_mib": 128},
    ("POST", f"{ID}/exec"): {"command": ["true"]},
    ("POST", f"{ID}/files"): {"path": "/tmp/x", "content": "eA=="},
}
QUERIES = {
    ("GET", f"{ID}/wait"): {"status": "running", "timeout": "1"},
    **{(method, f"{ID}/files"): {"path": "/tmp/x"} for method in ("GET", "DELETE")},
    ("GET", f"{ID}/files/stat"): {"path": "/tmp/x"},
}
LATER = [("POST", f"{ID}/pause"), ("POST", f"{ID}/resume"), ("POST", f"{ID}/restart"), ("POST", f"{ID}/stop"),
         ("POST", f"{ID}/start"), ("POST", f"{ID}/stop"), ("DELETE", ID)]  # fmt: skip


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office.opened(tmp_path, dialect.build, BODIES, QUERIES) as it:
        yield it


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["message"]


async def test_the_table_here_names_every_operation(desk: Office) -> None:
    paths = (await desk.http.get("/openapi.json")).json()["paths"]
    every = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert every == set(SCOPES) | {("GET", "/health")}


async def test_ones_own_key_may_do_everything(desk: Office) -> None:
    machine = (await desk.machine()).id
    for operation in [it for it in SCOPES if it not in LATER] + LATER:
        if operation == ("DELETE", f"{ID}/files"):
            await desk.ask(("POST", f"{ID}/files"), machine, desk.key)
        answer = await desk.ask(operation, machine, desk.key)
        assert answer.status_code < 300, (operation, answer.text)
        if operation == ("DELETE", f"{ID}/files"):
            await desk.ask(("POST", f"{ID}/files"), machine, desk.key)


async def test_dead_keys_and_none_are_401_in_the_documents_words(desk: Office) -> None:
    keys = await desk.dead_keys()
    words = ("Authorization header is required", "Invalid API key", "Invalid API key", "API key has expired")
    for operation in SCOPES:
        for key, expected in zip(keys, words, strict=True):
            answer = await desk.ask(operation, "x", key)
            assert told(answer) == (401, expected), (operation, key)
            assert answer.json()["error"]["code"] == "UNAUTHORIZED"


async def test_a_key_without_the_scope_is_403_in_the_documents_words(desk: Office) -> None:
    machine, key = (await desk.machine()).id, await desk.with_scopes("usage:read")
    for operation in SCOPES:
        answer = await desk.ask(operation, machine, key)
        assert told(answer) == (403, "Insufficient permissions for this action"), operation
        assert answer.json()["error"]["code"] == "FORBIDDEN"


async def test_a_key_with_the_one_scope_may_do_what_it_is_for(desk: Office) -> None:
    machine = (await desk.machine()).id
    for operation, scope in SCOPES.items():
        answer = await desk.ask(operation, machine, await desk.with_scopes(scope))
        assert answer.status_code not in (401, 403), (operation, answer.text)


async def test_another_tenants_machine_is_not_there(desk: Office) -> None:
    machine = (await desk.machine()).id
    for operation in SCOPES:
        if "{id}" in operation[1]:
            answer = await desk.ask(operation, machine, desk.theirs)
            assert told(answer) == (404, f"Machine with id '{machine}' not found"), operation
    assert (await desk.ask(("GET", "/machines"), "", desk.theirs)).json() == {"machines": [], "total": 0}
    assert (await desk.ask(("GET", ID), machine, desk.key)).json()["status"] == "running"


@pytest.mark.parametrize(
    ("scope", "may"),
    [
        ("machines:read", {("GET", "/machines"), ("GET", ID), ("GET", f"{ID}/wait")}),
        ("machines:exec", {("POST", f"{ID}/exec"), ("POST", f"{ID}/files")}),
        ("*", set(SCOPES)),
    ],
)
async def test_hyperfleets_scopes_allow_what_they_say(desk: Office, scope: str, may: set[office.Operation]) -> None:
    machine, key = (await desk.machine()).id, await desk.with_scopes(scope)
    for operation in sorted(may):
        assert (await desk.ask(operation, machine, key)).status_code != 403, operation
    if scope == "machines:read":
        for operation in set(SCOPES) - may:
            assert (await desk.ask(operation, machine, key)).status_code == 403, operation


async def test_who_asks_too_often_is_told_when_to_come_back_but_may_run_commands(desk: Office) -> None:
    control, machine = desk.control, (await desk.machine()).id
    me = control.keys.authenticate(desk.key)
    await control.tenants.update(me, me.tenant, Limits(requests_per_second=1))
    answers = [await desk.ask(("GET", "/machines"), "", desk.key) for _ in range(4)]
    assert [it.status_code for it in answers] == [200, 200, 429, 429]
    assert answers[2].json()["error"]["code"] == "RATE_LIMITED"
    assert int(answers[2].headers["retry-after"]) >= 1
    assert (await desk.ask(("POST", f"{ID}/exec"), machine, desk.key)).status_code == 200


async def test_a_limit_that_is_reached_is_told(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    await desk.control.tenants.update(me, me.tenant, Limits(machines=0))
    answer = await desk.ask(("POST", "/machines"), "", desk.key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "QUOTA_EXCEEDED")


async def test_a_suspended_tenant_may_only_look_and_delete(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    await desk.control.tenants.suspend(me, desk.control.keys.authenticate(desk.theirs).tenant)
    assert (await desk.ask(("GET", "/machines"), "", desk.theirs)).status_code == 200
    answer = await desk.ask(("POST", "/machines"), "", desk.theirs)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
