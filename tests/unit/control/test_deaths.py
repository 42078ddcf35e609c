"""Machines that end without having been asked to."""

import asyncio

import pytest

from hutch.host.interface import Died
from hutch.model import errors
from hutch.model.machine import Persistence
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn


async def test_a_machine_that_died_has_failed_with_the_reason(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.world.die(machine, "Kernel panic")
    failed = await rig.come(machine, State.FAILED)
    assert failed.reason == "Kernel panic"
    assert (await rig.messages(machine))[-1] == "died: Kernel panic"


async def test_a_guest_that_shut_itself_down_is_stopped(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.world.die(machine, "powered off", clean=True)
    stopped = await rig.come(machine, State.STOPPED)
    assert stopped.reason is None
    assert (await rig.messages(machine))[-2:] == ["it shut itself down: powered off", "stopped"]


async def test_an_ephemeral_guest_that_shut_itself_down_is_deleted(rig: Rig) -> None:
    machine = await rig.launch(persistence=Persistence.EPHEMERAL)
    await rig.world.die(machine, clean=True)
    await rig.come(machine, State.DESTROYED)
    assert rig.world.machines == {}


async def test_an_ephemeral_machine_that_died_is_kept_to_tell_why(rig: Rig) -> None:
    machine = await rig.launch(persistence=Persistence.EPHEMERAL)
    await rig.world.die(machine, "Kernel panic")
    assert (await rig.come(machine, State.FAILED)).reason == "Kernel panic"


async def test_a_dead_machine_can_be_started_again(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.world.die(machine)
    await rig.come(machine, State.FAILED)
    assert (await rig.plane.machines.start(rig.me, machine)).state is State.RUNNING


async def test_a_dead_machine_is_not_started_by_using_it(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.world.die(machine, "Kernel panic")
    await rig.come(machine, State.FAILED)
    with pytest.raises(errors.MachineFailed, match="Kernel panic; start it again or delete it"):
        await rig.run(machine, "true")


async def test_a_death_told_late_does_not_harm_a_machine_that_runs_again(rig: Rig) -> None:
    machine = await rig.launch()
    assert rig.world.listener is not None
    rig.world.listener.put_nowait(Died(machine, "long ago", clean=False))
    await turn()
    await rig.settle()
    assert rig.state(machine) is State.RUNNING


async def test_a_death_in_the_middle_of_a_stop_is_a_stop(rig: Rig) -> None:
    machine = await rig.launch()
    stopping = soon(rig.plane.machines.stop(rig.me, machine))
    await rig.world.die(machine)
    assert (await stopping).state is State.STOPPED
    await turn()
    await rig.settle()
    assert rig.state(machine) is State.STOPPED


async def test_a_death_of_an_unknown_machine_is_passed_over(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.machines.delete(rig.me, machine)
    assert rig.world.listener is not None
    rig.world.listener.put_nowait(Died(machine, "long ago", clean=False))
    other = await rig.launch()
    await rig.world.die(other)
    await rig.come(other, State.FAILED)


async def test_a_command_under_way_ends_with_an_error_when_its_machine_dies(rig: Rig) -> None:
    machine = await rig.launch()
    running = soon(rig.run(machine, "sleep 1000"))
    while not rig.world.machines[machine].processes:
        await asyncio.sleep(0)
    await rig.world.die(machine)
    (result,) = await asyncio.wait_for(asyncio.gather(running, return_exceptions=True), 10)
    assert isinstance(result, errors.HutchError) or result.exit.code != 0
