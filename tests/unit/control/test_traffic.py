"""How much machines send, over the lives of processes and services."""

import asyncio

import pytest

from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Persistence
from hutch.model.states import State
from unit.control.rig import Rig


async def sent(rig: Rig, machine: MachineId) -> int:
    return (await rig.plane.usage.of_machine(rig.me, machine)).usage.sent_bytes


async def test_what_is_sent_is_counted_once_however_often_it_is_looked_at(rig: Rig) -> None:
    machine = await rig.launch()
    assert await sent(rig, machine) == 0
    rig.world.sent[machine] = 1000
    assert [await sent(rig, machine) for _ in range(3)] == [1000] * 3
    rig.world.sent[machine] = 1500
    assert await asyncio.gather(*(sent(rig, machine) for _ in range(5))) == [1500] * 5
    assert (await rig.plane.usage.report(rig.me)).usage.sent_bytes == 1500


@pytest.mark.parametrize("verb", ["stop", "suspend"])
async def test_a_new_process_begins_to_count_anew(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    rig.world.sent[machine] = 1000
    await getattr(rig.plane.machines, verb)(rig.me, machine)
    rig.world.sent[machine] = 0
    assert await sent(rig, machine) == 1000
    await rig.plane.machines.start(rig.me, machine)
    rig.world.sent[machine] = 1200
    assert await sent(rig, machine) == 2200


async def test_a_pause_is_no_end_of_a_process(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.sent[machine] = 1000
    await rig.plane.machines.pause(rig.me, machine)
    assert await sent(rig, machine) == 1000
    await rig.plane.machines.resume(rig.me, machine)
    rig.world.sent[machine] = 1001
    assert await sent(rig, machine) == 1001


async def test_what_a_deleted_machine_sent_is_still_told(rig: Rig) -> None:
    machine = await rig.launch(persistence=Persistence.EPHEMERAL)
    rig.world.sent[machine] = 7
    await rig.plane.machines.stop(rig.me, machine)
    assert await sent(rig, machine) == 7


async def test_a_service_that_ends_in_order_has_counted_all(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.sent[machine] = 1000
    await rig.restart()
    rig.world.sent[machine] = 1100
    assert await sent(rig, machine) == 1100


async def test_a_killed_service_loses_what_it_had_not_written_and_the_next_counts_nothing_twice(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.sent[machine] = 1000
    assert await sent(rig, machine) == 1000
    rig.world.sent[machine] = 1400
    await rig.crash_and_restart()
    assert await sent(rig, machine) == 1000
    rig.world.sent[machine] = 1500
    assert await sent(rig, machine) == 1100


async def test_the_heartbeat_counts_too(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.sent[machine] = 1000
    for _ in range(40):
        rig.clock.advance(1)
        await asyncio.sleep(0)
    await rig.crash()
    (count,) = await rig.store.list_execs(rig.get(machine).created_at.replace(second=0), rig.clock.now())
    assert (count.machine, count.count, count.sent_bytes) == (machine, 0, 1000)
    rig.plane = rig.assemble(rig.store, rig.plane.core.host)


async def test_a_counter_that_cannot_be_read_stops_nothing(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.sent[machine] = 1000
    rig.world.faults.fails["traffic"] = [errors.HutchError("no counter")] * 2
    assert await sent(rig, machine) == 0
    await rig.plane.machines.pause(rig.me, machine)
    await rig.plane.machines.suspend(rig.me, machine)
    assert rig.state(machine) is State.SUSPENDED
