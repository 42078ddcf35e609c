"""What the box can run at once."""

import asyncio

import pytest

from hutch.host.interface import Life
from hutch.model import errors
from hutch.model.states import State
from unit.control.rig import Rig


async def test_of_fifty_at_once_exactly_those_that_fit_are_started(rig: Rig) -> None:
    rig.world.memory_mib = 30 * 256 + 100
    made = [await rig.create(memory_mib=256) for _ in range(50)]
    results = await asyncio.gather(
        *(rig.plane.machines.start(rig.me, machine) for machine in made), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, errors.NoCapacity)]
    assert len(refused) == 20
    assert "256 MiB asked for, 100 MiB free of this box's 7780 MiB" in refused[0].message
    assert [machine.life for machine in rig.world.machines.values()].count(Life.RUNNING) == 30
    assert [rig.state(machine) for machine in made].count(State.STOPPED) == 20


async def test_what_a_machine_was_promised_is_free_again_when_it_ends(rig: Rig) -> None:
    rig.world.memory_mib = 600
    first, second = await rig.launch(), await rig.create()
    with pytest.raises(errors.NoCapacity):
        await rig.plane.machines.start(rig.me, second)
    assert "not started: not enough memory is free now" in (await rig.messages(second))[-1]
    await rig.plane.machines.stop(rig.me, first)
    await rig.plane.machines.start(rig.me, second)
    await rig.plane.machines.delete(rig.me, second)
    assert rig.plane.core.fleet.admission.promised_mib == 0


@pytest.mark.parametrize("error", [errors.MachineFailed("x"), errors.NoCapacity("x"), RuntimeError("x")])
async def test_a_start_that_fails_gives_back_what_it_was_promised(rig: Rig, error: Exception) -> None:
    machine = await rig.create()
    rig.world.faults.starts = [error]
    with pytest.raises(errors.HutchError):
        await rig.plane.machines.start(rig.me, machine)
    assert rig.plane.core.fleet.admission.promised_mib == 0


async def test_a_machine_that_died_gives_back_what_it_was_promised(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.world.die(machine)
    await rig.come(machine, State.FAILED)
    assert rig.plane.core.fleet.admission.promised_mib == 0


async def test_a_suspended_machine_gives_back_what_it_was_promised_and_asks_again(rig: Rig) -> None:
    rig.world.memory_mib = 600
    first, second = await rig.launch(), await rig.create()
    await rig.plane.machines.suspend(rig.me, first)
    await rig.plane.machines.start(rig.me, second)
    with pytest.raises(errors.NoCapacity):
        await rig.run(first, "true")
    await rig.plane.machines.pause(rig.me, second)
    with pytest.raises(errors.NoCapacity):  # a paused one keeps its memory
        await rig.run(first, "true")
    await rig.plane.machines.suspend(rig.me, second)
    assert (await rig.run(first, "echo up")).stdout == b"up\n"


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_frozen_machines_are_counted_after_a_restart_as_before(rig: Rig, verb: str) -> None:
    machine = await rig.launch(memory_mib=300)
    await getattr(rig.plane.machines, verb)(rig.me, machine)
    await rig.crash_and_restart()
    assert rig.plane.core.fleet.admission.promised_mib == (300 if verb == "pause" else 0)
    assert (await rig.run(machine, "echo up")).stdout == b"up\n"


async def test_adopted_machines_count(rig: Rig) -> None:
    await rig.launch(memory_mib=300)
    await rig.crash_and_restart()
    assert rig.plane.core.fleet.admission.promised_mib == 300


async def test_what_others_use_of_the_box_is_not_promised(rig: Rig) -> None:
    real = rig.world.capacity()
    rig.world.capacity = lambda: type(real)(8, 16384, 400, 200, 200)  # type: ignore[method-assign]
    machine = await rig.create(memory_mib=512)
    with pytest.raises(errors.NoCapacity, match="400 MiB free"):
        await rig.plane.machines.start(rig.me, machine)
