"""Pausing, suspending, waking, putting back and growing: alone, at once, and against each other."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hutch.host.interface import Life
from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.machine import Persistence
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn


def promised(rig: Rig) -> int:
    return rig.plane.core.fleet.admission.promised_mib


async def starts(rig: Rig, machine: MachineId) -> int:
    return len([message for message in await rig.messages(machine) if message.startswith("starting")])


async def test_a_paused_machine_keeps_its_memory_and_goes_on(rig: Rig) -> None:
    machine = await rig.launch()
    assert (await rig.plane.machines.pause(rig.me, machine)).state is State.PAUSED
    assert (rig.life(machine), promised(rig)) == (Life.PAUSED, 512)
    assert (await rig.plane.machines.resume(rig.me, machine)).state is State.RUNNING
    assert (await rig.messages(machine))[-3:] == ["pausing: asked for", "paused", "goes on: asked for"]


async def test_a_suspended_machine_is_promised_no_memory_until_it_is_woken(rig: Rig) -> None:
    machine = await rig.launch()
    rig.clock.advance(5)
    suspended = await rig.plane.machines.suspend(rig.me, machine)
    assert (suspended.state, suspended.suspended_at) == (State.SUSPENDED, rig.clock.now())
    assert (rig.life(machine), promised(rig)) == (Life.SUSPENDED, 0)
    woken = await rig.plane.machines.resume(rig.me, machine)
    assert (woken.state, woken.suspended_at, promised(rig)) == (State.RUNNING, None, 512)


async def test_a_wake_that_does_not_fit_leaves_it_suspended_since_when_it_was(rig: Rig) -> None:
    machine = await rig.launch()
    suspended = await rig.plane.machines.suspend(rig.me, machine)
    rig.clock.advance(5)
    rig.world.memory_mib = 100
    with pytest.raises(errors.NoCapacity):
        await rig.run(machine, "true")
    assert (rig.state(machine), rig.get(machine).suspended_at) == (State.SUSPENDED, suspended.suspended_at)


async def test_what_ran_goes_on_after_a_suspend(rig: Rig) -> None:
    machine = await rig.launch()
    process = await rig.plane.processes.start(rig.me, machine, rig.line("echo before; read line; echo $line"))
    await rig.plane.machines.suspend(rig.me, machine)
    await rig.plane.processes.write(rig.me, machine, process.id, b"after\n", end=True)
    assert await rig.output(machine, process.id) == b"before\nafter\n"


@pytest.mark.parametrize("verb", ["pause", "suspend"])
@pytest.mark.parametrize("use", ["run", "file", "output", "signal", "resize"])
async def test_any_use_wakes_it_and_is_answered(rig: Rig, verb: str, use: str) -> None:
    machine = await rig.launch()
    process = await rig.plane.processes.start(rig.me, machine, rig.line("read line"))
    await getattr(rig.plane.machines, verb)(rig.me, machine)
    processes, files = rig.plane.processes, rig.plane.files
    uses: dict[str, Callable[[], Any]] = {
        "run": lambda: rig.run(machine, "true"),
        "file": lambda: files.list(rig.me, machine, "/"),
        "output": lambda: processes.output(rig.me, machine, process.id),
        "signal": lambda: processes.signal(rig.me, machine, process.id, 15),
        "resize": lambda: processes.forget(rig.me, machine, process.id),
    }
    await uses[use]()
    assert rig.state(machine) is State.RUNNING


async def test_many_uses_at_once_wake_it_once(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.machines.suspend(rig.me, machine)
    results = await asyncio.gather(*(rig.run(machine, "echo up") for _ in range(20)))
    assert {result.stdout for result in results} == {b"up\n"}
    assert await starts(rig, machine) == 2  # the launch and one wake


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_looking_wakes_nothing(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    frozen = await getattr(rig.plane.machines, verb)(rig.me, machine)
    rig.plane.machines.list(rig.me)
    rig.plane.machines.remaining(rig.me, machine)
    await rig.messages(machine)
    await rig.plane.machines.console(rig.me, machine)
    assert await rig.plane.processes.list(rig.me, machine) == []
    with pytest.raises(errors.NotRunning):
        await rig.plane.machines.stats(rig.me, machine)
    await turn()
    assert rig.state(machine) is frozen.state


async def test_reading_from_a_stopped_machine_does_not_start_it(rig: Rig) -> None:
    machine = await rig.create()
    with pytest.raises(errors.NotRunning, match="is stopped: start it first"):
        await rig.plane.processes.output(rig.me, machine, "p")
    assert rig.state(machine) is State.STOPPED


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_a_stop_drops_the_memory_and_keeps_the_disk(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    await rig.run(machine, "echo kept >workspace/file")
    process = await rig.plane.processes.start(rig.me, machine, rig.line("read line"))
    await getattr(rig.plane.machines, verb)(rig.me, machine)
    stopped = await rig.plane.machines.stop(rig.me, machine)
    assert (stopped.state, stopped.suspended_at, promised(rig)) == (State.STOPPED, None, 0)
    assert (await rig.run(machine, "cat workspace/file")).stdout == b"kept\n"
    with pytest.raises(errors.GuestNotFound):
        await rig.plane.processes.output(rig.me, machine, process.id)


async def test_a_paused_machine_can_be_suspended(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.machines.pause(rig.me, machine)
    assert (await rig.plane.machines.suspend(rig.me, machine)).state is State.SUSPENDED
    assert promised(rig) == 0


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_doing_it_again_changes_nothing(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    for _ in range(2):
        await asyncio.gather(*(getattr(rig.plane.machines, verb)(rig.me, machine) for _ in range(5)))
    assert len([message for message in await rig.messages(machine) if message in ("paused", "suspended")]) == 1


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_what_does_not_run_cannot_be_frozen(rig: Rig, verb: str) -> None:
    machine = await rig.create()
    with pytest.raises(errors.IllegalTransition, match=f"is stopped and cannot be {verb}"):
        await getattr(rig.plane.machines, verb)(rig.me, machine)


async def test_a_suspended_machine_cannot_be_paused(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.machines.suspend(rig.me, machine)
    with pytest.raises(errors.IllegalTransition, match="is suspended and cannot be paused"):
        await rig.plane.machines.pause(rig.me, machine)


async def test_an_ephemeral_machine_is_deleted_when_it_is_suspended(rig: Rig) -> None:
    machine = await rig.launch(persistence=Persistence.EPHEMERAL)
    assert (await rig.plane.machines.suspend(rig.me, machine)).state is State.DESTROYED
    assert rig.world.machines == {}
    assert promised(rig) == 0


@pytest.mark.parametrize("from_pause", [False, True])
async def test_a_full_disk_leaves_it_as_it_was_and_says_why(rig: Rig, from_pause: bool) -> None:
    machine = await rig.launch()
    if from_pause:
        await rig.plane.machines.pause(rig.me, machine)
    rig.world.faults.disk_full = True
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.suspend(rig.me, machine)
    assert rig.state(machine) is (State.PAUSED if from_pause else State.RUNNING)
    assert (await rig.messages(machine))[-1].startswith("not suspended: the host has no space left")
    rig.world.faults.disk_full = False
    assert (await rig.run(machine, "echo up")).stdout == b"up\n"
    assert promised(rig) == 512


@pytest.mark.parametrize("verb", ["pause", "resume", "suspend", "rollback"])
async def test_a_host_that_fails_leaves_it_as_it_was(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    if verb == "resume":
        await rig.plane.machines.pause(rig.me, machine)
    before = rig.state(machine)
    rig.world.faults.fails[verb] = [OSError("/secret/path")]
    call = getattr(rig.plane.machines, verb)
    with pytest.raises(errors.HutchError) as told:
        await (call(rig.me, machine, snapshot.id) if verb == "rollback" else call(rig.me, machine))
    assert "/secret" not in told.value.message
    assert rig.state(machine) is before
    assert promised(rig) == 512


async def test_a_machine_that_died_in_its_suspend_has_failed(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.gates["suspend"] = asyncio.Event()
    suspending = soon(rig.plane.machines.suspend(rig.me, machine))
    await rig.come(machine, State.SUSPENDING)
    await rig.world.die(machine, "killed")
    rig.world.faults.gates["suspend"].set()
    with pytest.raises(errors.NotRunning):
        await suspending
    assert rig.state(machine) is State.FAILED


async def test_a_wake_that_fails_leaves_it_suspended(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.machines.suspend(rig.me, machine)
    rig.world.faults.starts = [errors.Incompatible("made by another QEMU")]
    with pytest.raises(errors.Incompatible):
        await rig.plane.machines.start(rig.me, machine)
    assert (rig.state(machine), promised(rig)) == (State.SUSPENDED, 0)
    assert (await rig.messages(machine))[-1] == "suspended: not started: made by another QEMU"
    assert (await rig.run(machine, "echo up")).stdout == b"up\n"


async def test_a_stop_ends_a_wake(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.machines.suspend(rig.me, machine)
    rig.world.faults.gate = asyncio.Event()
    waking = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    assert (await rig.plane.machines.stop(rig.me, machine)).state is State.STOPPED
    with pytest.raises(errors.Conflict, match="the start was ended by a stop"):
        await waking
    assert rig.life(machine) is Life.STOPPED


async def test_a_wake_behind_a_suspend_is_done_after_it(rig: Rig) -> None:
    machine = await rig.launch()
    suspending, running = soon(rig.plane.machines.suspend(rig.me, machine)), soon(rig.run(machine, "echo up"))
    assert (await suspending).id == machine
    assert (await running).stdout == b"up\n"


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_a_deletion_ends_what_is_under_way(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    rig.world.faults.gates[verb] = asyncio.Event()
    freezing = soon(getattr(rig.plane.machines, verb)(rig.me, machine))
    await rig.come(machine, State.PAUSING if verb == "pause" else State.SUSPENDING)
    await rig.plane.machines.delete(rig.me, machine)
    with pytest.raises(errors.Conflict, match=f"the {verb} was ended by a delete"):
        await freezing
    assert rig.world.machines == {}
    assert promised(rig) == 0


async def test_all_verbs_at_once_end_in_a_legal_state_with_typed_errors(rig: Rig) -> None:
    machine = await rig.launch()
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    machines = rig.plane.machines
    calls = [machines.start, machines.pause, machines.suspend, machines.stop, machines.resume, machines.suspend] * 3
    work = [call(rig.me, machine) for call in calls]
    work += [machines.rollback(rig.me, machine, snapshot.id), rig.run(machine, "true")]
    work += [machines.delete(rig.me, machine)]
    async with asyncio.timeout(20):
        results = await asyncio.gather(*work, return_exceptions=True)
    wrong = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(error, errors.Conflict | errors.NotFound) for error in wrong)
    assert rig.world.machines == {}
    assert promised(rig) == 0


async def test_a_machine_is_put_back_to_its_snapshot_and_runs(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.run(machine, "echo old >workspace/file")
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    await rig.run(machine, "echo new >workspace/file")
    back = await rig.plane.machines.rollback(rig.me, machine, snapshot.id)
    assert back.state is State.RUNNING
    assert (await rig.run(machine, "cat workspace/file")).stdout == b"old\n"
    assert f"put back to snapshot {snapshot.name}" in await rig.messages(machine)
    assert promised(rig) == 512


@pytest.mark.parametrize("state", ["stopped", "paused", "suspended", "failed"])
async def test_what_did_not_run_is_suspended_in_the_snapshot(rig: Rig, state: str) -> None:
    machine = await rig.launch()
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    match state:
        case "stopped":
            await rig.plane.machines.stop(rig.me, machine)
        case "failed":
            await rig.world.die(machine)
            await rig.come(machine, State.FAILED)
        case _:
            await getattr(rig.plane.machines, state[: -1 if state == "paused" else -2])(rig.me, machine)
    back = await rig.plane.machines.rollback(rig.me, machine, snapshot.id)
    assert (back.state, back.suspended_at, back.reason) == (State.SUSPENDED, rig.clock.now(), None)
    assert (rig.life(machine), promised(rig)) == (Life.SUSPENDED, 0)


async def test_only_its_own_snapshots_take_it_back(rig: Rig) -> None:
    machine, other = await rig.launch(), await rig.launch()
    snapshot = await rig.plane.snapshots.create(rig.me, other)
    with pytest.raises(errors.InvalidRequest, match="is not of machine"):
        await rig.plane.machines.rollback(rig.me, machine, snapshot.id)
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.rollback(rig.me, machine, SnapshotId("none"))


async def test_a_disk_grows_and_the_record_says_so(rig: Rig) -> None:
    machine = await rig.launch()
    assert (await rig.plane.machines.resize(rig.me, machine, 30)).spec.resources.disk_gib == 30
    assert rig.world.machines[machine].spec.resources.disk_gib == 30
    assert (await rig.store.load()).machines[0].spec.resources.disk_gib == 30
    for asked in (29, 10**6):
        with pytest.raises(errors.InvalidRequest, match="at least the 30 GiB it has"):
            await rig.plane.machines.resize(rig.me, machine, asked)


async def test_a_resize_that_fails_changes_nothing(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.fails["resize"] = [errors.DiskFull("no")]
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.resize(rig.me, machine, 30)
    assert rig.get(machine).spec.resources.disk_gib == 20
    assert (await rig.messages(machine))[-1] == "not resized: no"


async def test_freezing_needs_the_right_to_use_the_machine(rig: Rig) -> None:
    machine = await rig.launch()
    reader, stranger = await rig.someone("machine:read"), await rig.someone(tenant="other")
    for verb in ("pause", "resume", "suspend"):
        with pytest.raises(errors.Forbidden):
            await getattr(rig.plane.machines, verb)(reader, machine)
        with pytest.raises(errors.NotFound):
            await getattr(rig.plane.machines, verb)(stranger, machine)
