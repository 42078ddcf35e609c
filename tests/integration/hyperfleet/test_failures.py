"""What goes wrong with machines, as this dialect tells it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import office
from hutch.api.hyperfleet import dialect, responses
from hutch.host.simulated.world import World
from hutch.model import errors
from hutch.model.states import State
from office import Office

ID = "/machines/{id}"
EXEC, WAIT = ("POST", f"{ID}/exec"), ("GET", f"{ID}/wait")
BODIES: dict[office.Operation, Any] = {
    EXEC: {"command": ["true"]},
    ("POST", "/machines"): {"name": "new", "vcpu_count": 1, "mem_size_mib": 10**6},
}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    queries = {WAIT: {"status": "running", "timeout": "30"}}
    async with office.opened(tmp_path, dialect.build, BODIES, queries) as it:
        yield it


def world(desk: Office) -> World:
    found: World = desk.control.core.fleet.host.world  # type: ignore[attr-defined]
    return found


def told(answer: Any) -> tuple[int, str, str]:
    it = responses.Error.model_validate_json(answer.content).error
    return answer.status_code, it.code, it.message


async def test_one_that_died_says_why_and_can_only_be_deleted(desk: Office) -> None:
    machine = (await desk.machine()).id
    await world(desk).die(machine, "the kernel panicked")
    await desk.control.machines.wait(desk.control.keys.authenticate(desk.key), machine, {State.FAILED}, 30)
    it = (await desk.ask(("GET", ID), machine, desk.key)).json()
    assert (it["status"], it["error_message"]) == ("failed", "the kernel panicked")
    status, code, words = told(await desk.ask(WAIT, machine, desk.key))
    assert (status, code, "the kernel panicked" in words) == (500, "RUNTIME_ERROR", True)
    for verb in ("start", "stop", "restart", "pause", "resume"):
        answer = await desk.ask(("POST", f"{ID}/{verb}"), machine, desk.key)
        assert told(answer) == (400, "BAD_REQUEST", f"Cannot {verb} machine in 'failed' state")
    assert (await desk.ask(("DELETE", ID), machine, desk.key)).status_code == 204


async def test_one_that_is_deleted_ends_a_wait(desk: Office) -> None:
    machine = (await desk.machine()).id
    me = desk.control.keys.authenticate(desk.key)
    await desk.control.machines.stop(me, machine)
    await desk.control.machines.delete(me, machine)
    assert told(await desk.ask(WAIT, machine, desk.key))[:2] == (404, "NOT_FOUND")


async def test_a_guest_that_does_not_answer_is_a_502(desk: Office) -> None:
    machine = (await desk.machine()).id
    world(desk).faults.silent.add(machine)
    assert told(await desk.ask(EXEC, machine, desk.key)) == (502, "VSOCK_ERROR", "Failed to communicate with VM")


async def test_one_that_cannot_be_started_says_why(desk: Office) -> None:
    machine = (await desk.machine()).id
    me = desk.control.keys.authenticate(desk.key)
    await desk.control.machines.stop(me, machine)
    world(desk).faults.starts.append(errors.MachineFailed("no kernel"))
    answer = await desk.ask(("POST", f"{ID}/start"), machine, desk.key)
    assert told(answer) == (500, "RUNTIME_ERROR", "no kernel")


async def test_what_the_box_can_never_run_is_a_503(desk: Office) -> None:
    assert told(await desk.ask(("POST", "/machines"), "", desk.key))[:2] == (503, "NO_CAPACITY")
