"""Starting, stopping and deleting: alone, at once, and against each other."""

import asyncio

import pytest

from hutch.host.interface import Life
from hutch.model import errors
from hutch.model.machine import Persistence
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn


async def test_a_started_machine_runs_and_is_ready(rig: Rig) -> None:
    machine = await rig.create()
    rig.clock.advance(5)
    started = await rig.plane.machines.start(rig.me, machine)
    assert (started.state, started.ready_at, started.updated_at) == (State.RUNNING, rig.clock.now(), rig.clock.now())
    assert rig.life(machine) is Life.RUNNING


async def test_starting_a_running_machine_changes_nothing(rig: Rig) -> None:
    machine = await rig.launch()
    before = await rig.messages(machine)
    await rig.plane.machines.start(rig.me, machine)
    assert await rig.messages(machine) == before


async def test_stopping_a_stopped_machine_changes_nothing(rig: Rig) -> None:
    machine = await rig.create()
    before = await rig.messages(machine)
    assert (await rig.plane.machines.stop(rig.me, machine)).state is State.STOPPED
    assert await rig.messages(machine) == before


async def test_many_starts_at_once_start_it_once(rig: Rig) -> None:
    machine = await rig.create()
    machines = await asyncio.gather(*(rig.plane.machines.start(rig.me, machine) for _ in range(20)))
    assert {it.state for it in machines} == {State.RUNNING}
    assert len([message for message in await rig.messages(machine) if message.startswith("starting")]) == 1


async def test_a_start_under_way_is_seen_with_its_progress(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    await turn()
    progress = rig.plane.machines.progress(rig.me, machine)
    assert progress is not None
    assert progress.phase == "starting"
    rig.world.faults.gate.set()
    await starting
    assert rig.plane.machines.progress(rig.me, machine) is None


async def test_a_caller_that_goes_away_does_not_end_a_start_others_wait_for(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.gate = asyncio.Event()
    first, second = (soon(rig.plane.machines.start(rig.me, machine)) for _ in range(2))
    await rig.come(machine, State.STARTING)
    first.cancel()
    await turn()
    rig.world.faults.gate.set()
    assert (await second).state is State.RUNNING
    assert first.cancelled()


async def test_a_stop_ends_a_start_promptly(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    assert (await rig.plane.machines.stop(rig.me, machine)).state is State.STOPPED
    with pytest.raises(errors.Conflict, match="the start was ended by a stop"):
        await starting
    assert rig.life(machine) is Life.STOPPED
    assert rig.plane.core.fleet.admission.promised_mib == 0


async def test_a_start_behind_a_stop_is_done_after_it(rig: Rig) -> None:
    machine = await rig.launch()
    stopping, starting = (
        soon(rig.plane.machines.stop(rig.me, machine)),
        soon(rig.plane.machines.start(rig.me, machine)),
    )
    assert (await stopping).id == machine
    assert (await starting).state is State.RUNNING
    assert (await rig.messages(machine))[-3:] == ["stopped", "starting: asked for", "running after 0.00 s"]


async def test_a_stop_drops_a_start_that_waits_behind_another_stop(rig: Rig) -> None:
    machine = await rig.launch()
    calls = [
        soon(call(rig.me, machine))
        for call in (rig.plane.machines.stop, rig.plane.machines.start, rig.plane.machines.stop)
    ]
    first, start, last = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(start, errors.Conflict)
    assert {first.state, last.state} == {State.STOPPED}
    assert rig.state(machine) is State.STOPPED


@pytest.mark.parametrize("state", ["stopped", "running", "failed", "starting"])
async def test_a_machine_can_be_deleted_in_any_state(rig: Rig, state: str) -> None:
    machine = await (rig.launch if state == "running" else rig.create)()
    if state == "failed":
        rig.world.faults.starts = [errors.MachineFailed("no kernel")]
    if state == "starting":
        rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State(state))
    await rig.plane.machines.delete(rig.me, machine)
    await asyncio.gather(starting, return_exceptions=True)
    with pytest.raises(errors.NotFound):
        rig.get(machine)
    assert rig.world.machines == {}
    assert rig.plane.core.fleet.admission.promised_mib == 0


async def test_many_deletions_at_once_are_one(rig: Rig) -> None:
    machine = await rig.launch()
    await asyncio.gather(*(rig.plane.machines.delete(rig.me, machine) for _ in range(5)))
    assert rig.world.machines == {}


async def test_nothing_is_accepted_behind_a_deletion(rig: Rig) -> None:
    machine = await rig.launch()
    deleting = soon(rig.plane.machines.delete(rig.me, machine))
    await turn(1)
    for call in (rig.plane.machines.start, rig.plane.machines.stop):
        with pytest.raises((errors.Conflict, errors.NotFound)):
            await call(rig.me, machine)
    await deleting


async def test_all_at_once_ends_in_a_legal_state_with_typed_errors(rig: Rig) -> None:
    machine = await rig.create()
    machines = rig.plane.machines
    calls = [machines.start, machines.stop, machines.start, machines.delete, machines.start, machines.stop] * 3
    results = await asyncio.gather(*(call(rig.me, machine) for call in calls), return_exceptions=True)
    assert {type(result) for result in results if isinstance(result, BaseException)} <= {
        errors.Conflict,
        errors.IllegalTransition,
        errors.NotFound,
    }
    assert rig.world.machines == {}


async def test_an_ephemeral_machine_is_deleted_when_it_stops(rig: Rig) -> None:
    machine = await rig.launch(persistence=Persistence.EPHEMERAL)
    assert (await rig.plane.machines.stop(rig.me, machine)).state is State.DESTROYED
    with pytest.raises(errors.NotFound):
        rig.get(machine)
    assert rig.world.machines == {}


async def test_an_ephemeral_machine_whose_start_was_ended_is_deleted_too(rig: Rig) -> None:
    machine = await rig.create(persistence=Persistence.EPHEMERAL)
    rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    assert (await rig.plane.machines.stop(rig.me, machine)).state is State.DESTROYED
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_failed_start_tells_everybody_the_reason_and_can_be_tried_again(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.starts = [errors.ImageUnavailable("registry says no")]
    results = await asyncio.gather(
        *(rig.plane.machines.start(rig.me, machine) for _ in range(3)), return_exceptions=True
    )
    assert {str(result) for result in results} == {"registry says no"}
    assert (rig.get(machine).state, rig.get(machine).reason) == (State.FAILED, "registry says no")
    assert (await rig.messages(machine))[-1] == "could not be started: registry says no"
    started = await rig.plane.machines.start(rig.me, machine)
    assert (started.state, started.reason) == (State.RUNNING, None)


async def test_an_unexpected_error_of_the_host_is_told_without_its_details(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.starts = [RuntimeError("/secret/path")]
    with pytest.raises(errors.HutchError) as told:
        await rig.plane.machines.start(rig.me, machine)
    assert "/secret" not in told.value.message
    assert rig.state(machine) is State.FAILED
    assert "/secret" not in str(rig.get(machine).reason)


async def test_a_host_without_room_leaves_the_machine_stopped(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.starts = [errors.NoCapacity("no user id is free")]
    with pytest.raises(errors.NoCapacity):
        await rig.plane.machines.start(rig.me, machine)
    assert rig.state(machine) is State.STOPPED


async def test_a_full_disk_fails_the_start_with_a_reason(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.disk_full = True
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.start(rig.me, machine)
    assert rig.state(machine) is State.FAILED
    assert "no space left" in str(rig.get(machine).reason)


async def test_a_stop_that_fails_is_told_and_the_machine_can_still_be_deleted(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.stops = [errors.AgentUnavailable("no answer")]
    with pytest.raises(errors.AgentUnavailable):
        await rig.plane.machines.stop(rig.me, machine)
    assert (rig.state(machine), rig.get(machine).reason) == (State.FAILED, "no answer")
    await rig.plane.machines.delete(rig.me, machine)


async def test_a_failed_machine_can_be_stopped(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.stops = [errors.AgentUnavailable("no answer")]
    with pytest.raises(errors.AgentUnavailable):
        await rig.plane.machines.stop(rig.me, machine)
    stopped = await rig.plane.machines.stop(rig.me, machine)
    assert (stopped.state, stopped.reason, rig.life(machine)) == (State.STOPPED, None, Life.STOPPED)


async def test_a_deletion_that_fails_is_told_and_can_be_tried_again(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.destroys = [OSError(5, "Input/output error")]
    with pytest.raises(errors.HutchError):
        await rig.plane.machines.delete(rig.me, machine)
    assert rig.state(machine) is State.FAILED
    await rig.plane.machines.delete(rig.me, machine)
    assert rig.world.machines == {}


async def test_ten_thousand_machines_at_rest_cost_no_task(rig: Rig) -> None:
    await rig.launch()
    await rig.settle()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in names if name.startswith("owner")]
    assert rig.plane.core.fleet._owners == {}
