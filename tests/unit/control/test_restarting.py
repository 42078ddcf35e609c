"""A machine is restarted as one request; changes may be allowed in some states only; a start need not be waited for."""

import asyncio

import pytest

from hutch.control.machines import MachineRequest
from hutch.control.processes import Command
from hutch.host.interface import Life
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Persistence
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn


async def test_a_restarted_machine_has_booted_again_from_its_disk(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.run(machine, "echo kept > kept; sleep 1000 &")
    assert (await rig.plane.machines.restart(rig.me, machine)).state is State.RUNNING
    assert (await rig.run(machine, "cat kept")).stdout == b"kept\n"
    assert rig.life(machine) is Life.RUNNING
    told = await rig.messages(machine)
    assert [it.split(":")[0].split(" after")[0] for it in told[-4:]] == ["stopping", "stopped", "starting", "running"]


@pytest.mark.parametrize("verb", ["pause", "suspend"])
@pytest.mark.parametrize("resumes", [True, False])
async def test_one_that_sleeps_goes_on_or_boots_as_is_asked(rig: Rig, verb: str, resumes: bool) -> None:
    machine = await rig.launch()
    process = await rig.plane.processes.start(rig.me, machine, rig.line("sleep 1000"))
    await getattr(rig.plane.machines, verb)(rig.me, machine)
    await rig.plane.machines.restart(rig.me, machine, resumes=resumes)
    known = [it.id for it in await rig.plane.processes.list(rig.me, machine)]
    assert rig.state(machine) is State.RUNNING
    assert (process.id in known) == resumes


async def test_one_at_rest_and_one_that_failed_are_started(rig: Rig) -> None:
    for machine in (await rig.create(), await rig.launch()):
        if rig.state(machine) is State.RUNNING:
            await rig.world.die(machine)
            await rig.come(machine, State.FAILED)
        assert (await rig.plane.machines.restart(rig.me, machine)).state is State.RUNNING


async def test_an_ephemeral_one_is_kept(rig: Rig) -> None:
    machine = await rig.launch(persistence=Persistence.EPHEMERAL)
    assert (await rig.plane.machines.restart(rig.me, machine)).state is State.RUNNING


async def test_restarts_at_once_are_one(rig: Rig) -> None:
    machine = await rig.launch()
    await asyncio.gather(*(rig.plane.machines.restart(rig.me, machine) for _ in range(3)))
    assert (await rig.messages(machine)).count("stopped") == 1


async def test_one_that_cannot_be_started_again_says_why_and_is_what_start_would_leave(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.starts.append(errors.MachineFailed("no kernel"))
    with pytest.raises(errors.MachineFailed, match="no kernel"):
        await rig.plane.machines.restart(rig.me, machine)
    assert rig.state(machine) is State.FAILED


async def test_one_whose_stop_fails_is_not_started(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.stops.append(errors.MachineFailed("it hangs"))
    with pytest.raises(errors.MachineFailed, match="it hangs"):
        await rig.plane.machines.restart(rig.me, machine)
    assert rig.state(machine) is State.FAILED


async def test_a_deletion_ends_a_restart(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.gate = asyncio.Event()
    restarting = soon(rig.plane.machines.restart(rig.me, machine))
    await rig.come(machine, State.STARTING)
    await rig.plane.machines.delete(rig.me, machine)
    with pytest.raises(errors.Conflict, match="ended by a delete"):
        await restarting
    assert machine not in rig.world.machines


async def test_a_service_that_dies_in_between_leaves_it_stopped(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.gate = asyncio.Event()
    soon(rig.plane.machines.restart(rig.me, machine))
    await rig.come(machine, State.STARTING)
    await rig.crash()
    rig.world.faults.gate = None
    await rig.crash_and_restart()
    await rig.settle()
    assert rig.state(machine) is State.STOPPED


async def test_a_change_may_be_allowed_in_some_states_only(rig: Rig) -> None:
    machines, running, stopped = rig.plane.machines, await rig.launch(), await rig.create()
    for refused in (
        machines.start(rig.me, running, only_in={State.STOPPED}),
        machines.stop(rig.me, stopped, only_in={State.RUNNING}),
        machines.pause(rig.me, stopped, only_in={State.RUNNING}),
        machines.resume(rig.me, running, only_in={State.PAUSED}),
        machines.restart(rig.me, stopped, only_in={State.RUNNING}),
        machines.delete(rig.me, running, only_in={State.STOPPED}),
    ):
        with pytest.raises(errors.IllegalTransition):
            await refused
    assert (rig.state(running), rig.state(stopped)) == (State.RUNNING, State.STOPPED)
    assert (await machines.start(rig.me, stopped, only_in={State.STOPPED})).state is State.RUNNING


async def test_a_command_that_must_not_wake_is_refused_unless_its_machine_runs(rig: Rig) -> None:
    machine, command = await rig.launch(), Command(argv=("true",))
    assert (await rig.plane.processes.run(rig.me, machine, command, wakes=False)).exit.code == 0
    await rig.plane.machines.suspend(rig.me, machine)
    with pytest.raises(errors.NotRunning):
        await rig.plane.processes.run(rig.me, machine, command, wakes=False)
    assert rig.state(machine) is State.SUSPENDED


async def test_who_has_no_patience_is_told_of_a_machine_on_its_way(rig: Rig) -> None:
    rig.world.faults.gate = asyncio.Event()
    made = await rig.plane.machines.launch(rig.me, MachineRequest("alpine"), patience=0.01)
    assert made.state in (State.STOPPED, State.STARTING)
    rig.world.faults.gate.set()
    assert (await rig.come(made.id, State.RUNNING)).state is State.RUNNING


async def test_one_that_fails_when_nobody_waits_stays_failed_and_one_that_fails_before_is_none(rig: Rig) -> None:
    launch = rig.plane.machines.launch
    rig.world.faults.starts.append(errors.MachineFailed("no kernel"))
    with pytest.raises(errors.MachineFailed):
        await launch(rig.me, MachineRequest("alpine"), patience=LIMIT)
    assert rig.plane.machines.list(rig.me) == []
    rig.world.faults.gate = asyncio.Event()
    rig.world.faults.starts.append(errors.MachineFailed("no kernel"))
    made = await launch(rig.me, MachineRequest("alpine"), patience=0.01)
    rig.world.faults.gate.set()
    assert (await rig.come(made.id, State.FAILED)).reason == "no kernel"


async def test_anything_a_record_tells_can_be_waited_for(rig: Rig) -> None:
    machine = await rig.create()
    waiting = soon(rig.plane.machines.wait_until(rig.me, machine, lambda it: it.ready_at is not None, "used", LIMIT))
    await turn()
    assert not waiting.done()
    await rig.plane.machines.start(rig.me, machine)
    assert (await waiting).state is State.RUNNING
    with pytest.raises(errors.TimedOut, match="was not never within"):
        await rig.plane.machines.wait_until(rig.me, machine, lambda _: False, "never", 0.01)


async def test_facts_are_for_the_machines_own_tenant(rig: Rig) -> None:
    machine = await rig.create()
    process, network = rig.plane.machines.facts(rig.me, machine)
    assert (process.pid, process.control_socket, network) == (None, None, None)
    await rig.plane.machines.start(rig.me, machine)
    process, network = rig.plane.machines.facts(rig.me, machine)
    assert process.pid is not None
    assert network is not None
    with pytest.raises(errors.NotFound):
        rig.plane.machines.facts(await rig.someone(tenant="other"), machine)
    with pytest.raises(errors.NotFound):
        rig.plane.machines.facts(rig.me, MachineId("x"))


async def test_who_wants_it_booted_is_not_told_that_it_went_on(rig: Rig) -> None:
    machine = await rig.launch()
    process = await rig.plane.processes.start(rig.me, machine, rig.line("sleep 1000"))
    await rig.plane.machines.pause(rig.me, machine)
    restart = rig.plane.machines.restart
    await asyncio.gather(restart(rig.me, machine, resumes=True), restart(rig.me, machine))
    assert process.id not in [it.id for it in await rig.plane.processes.list(rig.me, machine)]
