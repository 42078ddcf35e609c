"""A service that is opened again: what it finds, it puts in order."""

import asyncio

import pytest

from hutch.host.interface import Life
from hutch.host.simulated.host import SimulatedHost
from hutch.host.simulated.world import World
from hutch.model import errors, ids
from hutch.model.machine import Persistence
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn


@pytest.mark.parametrize("how", ["in order", "by force"])
async def test_running_machines_run_on(rig: Rig, how: str) -> None:
    running, stopped = await rig.launch(), await rig.create()
    process = await rig.plane.processes.start(rig.me, running, rig.line("echo before; read line; echo $line"))
    await (rig.restart() if how == "in order" else rig.crash_and_restart())
    assert (rig.state(running), rig.state(stopped)) == (State.RUNNING, State.STOPPED)
    assert (await rig.messages(running))[-1] == "adopted: it went on running while the service was away"
    await rig.plane.processes.write(rig.me, running, process.id, b"after\n", end=True)
    assert await rig.output(running, process.id) == b"before\nafter\n"


async def test_a_machine_that_died_meanwhile_has_failed_with_the_reason(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.crash()
    await rig.world.die(machine, "Kernel panic")
    await rig.crash_and_restart()
    assert (rig.state(machine), rig.get(machine).reason) == (State.FAILED, "Kernel panic")


async def test_a_machine_that_shut_down_meanwhile_is_stopped(rig: Rig) -> None:
    machine, ephemeral = await rig.launch(), await rig.launch(persistence=Persistence.EPHEMERAL)
    await rig.crash()
    for it in (machine, ephemeral):
        await rig.world.die(it, clean=True)
    await rig.crash_and_restart()
    await rig.settle()
    assert [it.id for it in rig.plane.machines.list(rig.me)] == [machine]
    assert rig.state(machine) is State.STOPPED


async def test_a_start_in_the_middle_of_a_crash_is_undone(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    await rig.crash_and_restart()
    assert rig.state(machine) is State.STOPPED
    rig.world.faults.gate.set()
    await rig.plane.machines.start(rig.me, machine)
    assert starting.done()


async def test_a_start_that_was_done_but_not_yet_recorded_is_a_start(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    await rig.crash()
    rig.world.run(rig.world.machines[machine])
    rig.clock.advance(5)
    await rig.crash_and_restart()
    assert (rig.state(machine), rig.get(machine).ready_at) == (State.RUNNING, rig.clock.now())
    assert starting.done()


async def test_a_start_in_the_middle_of_a_close_is_undone_at_once(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    await asyncio.wait_for(rig.plane.close(), 5)
    with pytest.raises(errors.Conflict, match="the start was ended by the service's end"):
        await starting
    assert (await rig.store.load()).machines[0].state is State.STOPPED


async def test_a_stop_in_the_middle_of_a_close_is_finished(rig: Rig) -> None:
    machine = await rig.launch()
    stopping = soon(rig.plane.machines.stop(rig.me, machine))
    await turn(1)
    await rig.plane.close()
    assert (await stopping).state is State.STOPPED
    with pytest.raises(errors.HutchError, match="shutting down"):
        await rig.plane.machines.start(rig.me, machine)


async def test_a_machine_the_host_has_lost_has_failed(rig: Rig) -> None:
    machine = await rig.create()
    await rig.crash()
    await SimulatedHost(rig.world).destroy(machine)
    await rig.crash_and_restart()
    assert rig.state(machine) is State.FAILED
    assert "its disk is gone" in str(rig.get(machine).reason)
    await rig.plane.machines.delete(rig.me, machine)


async def test_a_machine_no_record_tells_of_is_destroyed(rig: Rig) -> None:
    known, stranger = await rig.launch(), ids.new_machine_id()
    await SimulatedHost(rig.world).create(stranger, rig.get(known).spec)
    await rig.crash_and_restart()
    assert set(rig.world.machines) == {known}


async def test_a_new_database_does_not_destroy_what_a_home_holds(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.close()
    store = type(rig.store)()
    plane = rig.assemble(store, SimulatedHost(rig.world))
    with pytest.raises(errors.Conflict, match="this home holds 1 machines: check HUTCH_DATABASE"):
        await plane.open()
    assert rig.life(machine) is Life.RUNNING


async def test_what_cannot_be_opened_is_let_go_of(rig: Rig, tmp_path: object) -> None:
    class Broken(SimulatedHost):
        async def open(self) -> list[object]:  # type: ignore[override]
            raise errors.Unsupported("no QEMU")

    await rig.plane.close()
    plane = rig.assemble(rig.store, Broken(World(rig.world.root)))
    with pytest.raises(errors.Unsupported):
        await plane.open()
    assert not await plane.health.is_ready()
    await plane.close()


async def test_ten_thousand_machines_are_taken_up_in_a_moment(rig: Rig) -> None:
    await asyncio.gather(*(rig.create(labels={"n": str(number % 100)}) for number in range(10_000)))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await rig.restart()
    opened = loop.time()
    assert len(rig.plane.machines.list(rig.me, {"n": "7"})) == 100
    listed = loop.time()
    rig.plane.core.keeper.sweep()
    swept = loop.time()
    assert opened - began < 2.0
    assert listed - opened < 0.2
    assert swept - listed < 0.2
    assert not list(rig.world.root.glob("*"))
