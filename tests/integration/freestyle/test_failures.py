"""What goes wrong, as this dialect tells it: always with a code its clients know, for they ask for ever otherwise."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import office
from hutch.api.freestyle import codes, dialect, errors, responses
from hutch.control.machines import MachineRequest
from hutch.host.simulated.world import World
from hutch.model import errors as model_errors
from hutch.model.ids import BuildId
from hutch.model.keys import Limits
from hutch.model.machine import Timers
from hutch.model.states import State
from office import Office

ID = "/v1/vms/{id}"
CREATE, SNAPSHOTS = ("POST", "/v1/vms"), ("POST", "/v1/vms/snapshots")
BODIES: dict[office.Operation, Any] = {
    CREATE: {},
    SNAPSHOTS: {"spec": {"workdir": "/x"}},
    ("POST", f"{ID}/resize"): {"vcpuCount": 1, "memSizeGb": 1},
}
EVERY = [
    kind for kind in vars(model_errors).values() if isinstance(kind, type) and issubclass(kind, model_errors.HutchError)
]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office.opened(tmp_path, dialect.build, BODIES) as it:
        yield it


def world(desk: Office) -> World:
    found: World = desk.control.core.fleet.host.world  # type: ignore[attr-defined]
    return found


def told(answer: httpx.Response) -> str:
    it = responses.Error.model_validate_json(answer.content)
    assert it.code == it.error
    assert it.code in codes.STATUSES, it
    assert it.message
    assert answer.status_code == (429 if it.code == "LIMIT_EXCEEDED" else codes.STATUSES[it.code])
    return it.code


@pytest.mark.parametrize("kind", EVERY, ids=lambda it: it.__name__)
async def test_whatever_ends_a_creation_has_a_known_code(
    desk: Office, monkeypatch: pytest.MonkeyPatch, kind: type[model_errors.HutchError]
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise kind("because")

    monkeypatch.setattr(desk.control.machines, "launch", fail)
    monkeypatch.setattr(desk.control.builds, "ensure", fail)
    for operation in (CREATE, SNAPSHOTS):
        assert told(await desk.ask(operation, "", desk.key))


async def test_what_nobody_has_thought_of_has_one_too(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(desk.control.machines, "launch", fail)
    transport = desk.http._transport
    monkeypatch.setattr(transport, "raise_app_exceptions", False)
    assert told(await desk.ask(CREATE, "", desk.key)) == "INTERNAL_ERROR"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (model_errors.Flawed("x", "service_name_empty"), "SERVICE_NAME_EMPTY"),
        (model_errors.Flawed("x", "a_word_of_tomorrow"), "CREATE_VM_BAD_REQUEST"),
        (model_errors.Flawed("x"), "CREATE_VM_BAD_REQUEST"),
        (model_errors.QuotaExceeded("x", limit="machines"), "TOTAL_VM_LIMIT_EXCEEDED"),
        (model_errors.QuotaExceeded("x", limit="running"), "VM_LIMIT_EXCEEDED"),
        (model_errors.QuotaExceeded("x"), "VM_LIMIT_EXCEEDED"),
        (model_errors.BuildFailed("x", BuildId("b"), 1), "BUILD_FAILED"),
        (model_errors.BuildTooLong("x"), "BUILD_BUDGET_EXCEEDED"),
        (model_errors.TimedOut("x"), "VM_START_TIMEOUT"),
        (model_errors.NoCapacity("x"), "NO_LOCAL_STORAGE_CAPACITY"),
        (model_errors.NotFound("x"), "SNAPSHOT_NOT_FOUND"),
        (model_errors.GuestError("service web has failed"), "VM_SETUP_FAILED"),
    ],
)
async def test_a_kind_of_error_has_its_code(
    desk: Office, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(desk.control.machines, "launch", fail)
    assert told(await desk.ask(CREATE, "", desk.key)) == code


async def test_a_vm_that_is_not_ready_in_time_is_none(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(*_: Any) -> None:
        raise model_errors.TimedOut("web.service is not ready")

    monkeypatch.setattr(desk.control.services, "wait_ready", late)
    assert told(await desk.ask(CREATE, "", desk.key)) == "VM_START_TIMEOUT"
    assert desk.control.machines.list(desk.control.keys.authenticate(desk.key)) == []


async def test_limits_are_told_as_what_they_limit(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    await desk.control.tenants.update(me, me.tenant, Limits(machines=0))
    assert told(await desk.ask(CREATE, "", desk.key)) == "TOTAL_VM_LIMIT_EXCEEDED"
    await desk.control.tenants.update(me, me.tenant, Limits(running=0))
    assert told(await desk.ask(CREATE, "", desk.key)) == "VM_LIMIT_EXCEEDED"
    await desk.control.tenants.update(me, me.tenant, Limits(requests_per_second=1))
    answers = [await desk.ask(("GET", "/v1/vms"), "", desk.key) for _ in range(4)]
    assert told(answers[-1]) == "LIMIT_EXCEEDED"
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_one_that_fails_is_awaited_and_started_again(desk: Office) -> None:
    machine = (await desk.machine()).id
    me = desk.control.keys.authenticate(desk.key)
    await world(desk).die(machine, "the kernel panicked")
    await desk.control.machines.wait(me, machine, {State.FAILED}, 30)
    it = (await desk.ask(("POST", f"{ID}/await"), machine, desk.key)).json()
    assert it == {"id": machine, "exitStatus": "failed: the kernel panicked"}
    assert (await desk.ask(("GET", ID), machine, desk.key)).json()["state"] == "stopped"
    world(desk).faults.starts.append(model_errors.MachineFailed("no kernel"))
    assert told(await desk.ask(("POST", f"{ID}/start"), machine, desk.key)) == "VM_SETUP_FAILED"
    assert (await desk.ask(("POST", f"{ID}/start"), machine, desk.key)).status_code == 200


async def test_a_guest_that_is_silent_does_not_hold_up_a_look(desk: Office) -> None:
    machine = (await desk.machine()).id
    world(desk).faults.silent.add(machine)
    assert (await desk.ask(("GET", ID), machine, desk.key)).json()["cpuTimeSeconds"] is None


async def test_one_that_is_deleted_ends_the_wait_for_its_end(desk: Office) -> None:
    machine = (await desk.machine()).id
    me = desk.control.keys.authenticate(desk.key)
    entry = desk.control.core.fleet.records.get(machine)
    assert entry is not None

    task = asyncio.create_task(desk.ask(("POST", f"{ID}/await"), machine, desk.key))
    async with asyncio.timeout(30):
        while not entry.watchers:
            await asyncio.sleep(0.01)
    await desk.control.machines.delete(me, machine)
    assert (await task).json() == {"id": machine, "exitStatus": "deleted"}


async def test_a_creation_whose_client_goes_away_goes_on(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    gate, start = asyncio.Event(), desk.control.core.fleet.host.start

    async def slow(*rest: Any) -> None:
        await gate.wait()
        await start(*rest)

    desk.control.core.fleet.host.start = slow  # type: ignore[method-assign]
    task = asyncio.create_task(desk.ask(CREATE, "", desk.key))
    async with asyncio.timeout(30):
        while not desk.control.machines.list(me):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.set()
    (machine,) = desk.control.machines.list(me)
    await desk.control.machines.wait(me, machine.id, {State.RUNNING}, 30)


async def test_a_creation_that_ends_with_the_service_has_a_known_code(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def never(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(desk.control.launches, "launch", never)
    monkeypatch.setattr(desk.control.builds, "ensure", never)
    for operation in (CREATE, SNAPSHOTS):
        begun.clear()
        task = asyncio.create_task(desk.ask(operation, "", desk.key))
        async with asyncio.timeout(30):
            await begun.wait()
        task.cancel()  # as the server does with what has not ended in time
        answer = await task
        it = responses.Error.model_validate_json(answer.content)
        assert (answer.status_code, it.code) == (503, "INTERNAL_ERROR")
        assert "ending" in it.message


async def test_a_build_that_is_not_recorded_any_more_is_none_of_a_vms(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    machine = await desk.control.machines.launch(me, MachineRequest("debian", build=BuildId("b" * 20)))
    assert told(await desk.ask(("GET", f"{ID}/build"), machine.id, desk.key)) == "BUILD_NOT_FOUND_FOR_VM"


async def test_one_that_another_dialect_paused_is_suspended_also_to_who_awaits_it(desk: Office) -> None:
    machine = (await desk.machine()).id
    await desk.control.machines.pause(desk.control.keys.authenticate(desk.key), machine)
    async with asyncio.timeout(30):
        it = (await desk.ask(("POST", f"{ID}/await"), machine, desk.key)).json()
    assert it == {"id": machine, "exitStatus": "suspended"}


async def test_a_domain_is_told_when_it_leads_to_the_vm(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    me, name = desk.control.keys.authenticate(desk.key), "shop.example"
    monkeypatch.setitem(desk.bodies, CREATE, {"domains": [{"domain": name}]})  # type: ignore[arg-type]
    made = (await desk.ask(CREATE, "", desk.key)).json()
    (domain,) = desk.control.domains.list(me)
    assert (domain.machine, name in made["domains"]) == (made["id"], False)
    await desk.control.domains._set_verified(domain)
    assert name in (await desk.ask(("POST", f"{ID}/start"), made["id"], desk.key)).json()["domains"]


async def test_what_is_built_in_is_building(desk: Office) -> None:
    me = desk.control.keys.authenticate(desk.key)
    it = await desk.control.machines.launch(
        me, MachineRequest("debian", labels={"hutch.build": "x"}, timers=Timers(lifetime=60))
    )
    assert (await desk.ask(("GET", ID), it.id, desk.key)).json()["state"] == "building"
    assert (await desk.ask(("GET", "/v1/vms"), "", desk.key)).json()["buildingCount"] == 1


def test_every_code_that_is_answered_is_known() -> None:
    answered = {
        *errors.KINDS.values(),
        *errors._OF_LIMIT.values(),
        *errors._OF_THING.values(),
        *(code for its in errors._OF_OPERATION.values() for code in its.values()),
    }
    assert answered <= codes.STATUSES.keys()
