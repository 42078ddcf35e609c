"""Members of pools when several things happen at once: memory that is needed, two that end one, a guest that lies."""

import asyncio
from typing import Any

import pytest

from hutch.control import warming
from hutch.control.machines import MachineRequest
from hutch.control.pools import PoolChange
from hutch.model import errors, guest
from hutch.model.ids import MachineId
from hutch.model.machine import PoolState
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn
from unit.control.test_pools import come, make, members


class SlowDestroys:
    """Of the host: none ends before `gate` is open."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = asyncio.Event()
        self.begun: list[MachineId] = []
        self._destroy = rig.plane.core.host.destroy
        monkeypatch.setattr(rig.plane.core.host, "destroy", self.destroy)

    async def destroy(self, machine: MachineId) -> None:
        self.begun.append(machine)
        await self.gate.wait()
        await self._destroy(machine)


async def test_machines_that_come_at_once_share_the_memory_of_one_member(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.world.memory_mib = 2048
    await come(rig, await make(rig, MachineRequest("alpine", memory_mib=2048)), 1)
    slow = SlowDestroys(rig, monkeypatch)
    wanted = [await rig.create() for _ in range(5)]
    starts = [soon(rig.plane.machines.start(rig.me, it)) for it in wanted]
    await turn(50)
    slow.gate.set()
    done = await asyncio.wait_for(asyncio.gather(*starts, return_exceptions=True), LIMIT)
    assert sum(isinstance(it, errors.NoCapacity) for it in done) == 1
    assert [rig.state(it) for it in wanted].count(State.RUNNING) == 4


async def test_one_that_is_being_made_goes_when_a_machine_needs_its_memory(rig: Rig) -> None:
    rig.world.memory_mib = 2048
    shape = MachineRequest("alpine", memory_mib=2048)
    pool = await make(rig, shape, warm_up=("sh", "-c", "sleep 600"))
    admission = rig.plane.core.fleet.admission
    async with asyncio.timeout(LIMIT):
        while not any(it.processes for it in rig.world.machines.values()):
            await asyncio.sleep(0)
    assert admission.promised_mib == 2048
    machine = await rig.launch()
    assert (rig.state(machine), admission.promised_mib, members(rig)) == (State.RUNNING, 512, set())
    assert rig.plane.pools.find(rig.me, pool).reason == "its memory was needed by a machine"


async def test_two_that_end_the_making_of_a_member_leave_nothing_of_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.world.faults.gate = asyncio.Event()
    pool = await make(rig)
    await turn(20)
    slow, pools = SlowDestroys(rig, monkeypatch), rig.plane.pools
    change = soon(pools.change(rig.me, pool, PoolChange(state=PoolState.DISABLED)))
    await turn(20)
    assert len(slow.begun) == 1
    delete = soon(pools.delete(rig.me, pool))
    await turn(20)
    slow.gate.set()
    await asyncio.wait_for(asyncio.gather(change, delete), LIMIT)
    await rig.settle()
    assert (members(rig), rig.plane.core.fleet.admission.promised_mib) == (set(), 0)


async def test_a_guest_that_never_tells_the_end_of_its_warm_up_holds_up_no_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: Any, **__: Any) -> guest.Output:
        return guest.Output(b"", 0, b"", 0, None)

    monkeypatch.setattr(rig.plane.core.host.processes, "read", read)
    monkeypatch.setattr(warming, "WARM_UP_TIMEOUT", 0.1)
    monkeypatch.setattr(warming, "SLACK", 0.0)
    pool = await make(rig)
    async with asyncio.timeout(LIMIT):
        while (reason := rig.plane.pools.find(rig.me, pool).reason) is None:
            await asyncio.sleep(0.01)
    assert reason == "its warm-up command did not end, though its time was over"
    assert members(rig) == set()


async def test_pools_take_turns(rig: Rig) -> None:
    rig.world.faults.gate = asyncio.Event()
    large = await make(rig, name="large", min=3)
    small = await make(rig, name="small", min=1)
    rig.world.faults.gate.set()
    await come(rig, small, 1)
    assert rig.plane.pools.find(rig.me, large).ready == 1


async def test_a_pool_whose_record_cannot_be_removed_is_still_there(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object) -> None:
        raise errors.HutchError("the database failed")

    pool = await make(rig)
    await come(rig, pool, 1)
    monkeypatch.setattr(rig.store, "remove_pool", fail)
    with pytest.raises(errors.HutchError, match="database"):
        await rig.plane.pools.delete(rig.me, pool)
    monkeypatch.undo()
    await come(rig, pool, 1)
    await rig.plane.pools.delete(rig.me, pool)
    assert (members(rig), list((await rig.store.load()).pools)) == (set(), [])
