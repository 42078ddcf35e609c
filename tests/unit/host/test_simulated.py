"""What only the simulated host can do: to fail when a test wants it to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from contract.host_suite import rig as use
from contract.host_suite.test_simulated import SimulatedRig
from hutch.host.interface import Life
from hutch.host.simulated.world import World
from hutch.model import errors, ids
from hutch.model.ids import MachineId

Verb = Callable[[SimulatedRig, MachineId], Awaitable[object]]

VERBS: dict[str, Verb] = {
    "pause": lambda rig, machine: rig.host.pause(machine),
    "resume": lambda rig, machine: rig.host.resume(machine),
    "suspend": lambda rig, machine: rig.host.suspend(machine),
    "snapshot": lambda rig, machine: rig.host.snapshot(machine, ids.new_snapshot_id()),
    "rollback": lambda rig, machine: rig.host.rollback(machine, ids.new_snapshot_id()),
    "resize": lambda rig, machine: rig.host.resize(machine, 100),
    "remove_snapshot": lambda rig, machine: rig.host.remove_snapshot(ids.new_snapshot_id()),
}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[SimulatedRig]:
    rig = SimulatedRig(World(tmp_path / "world"))
    await rig.host.open()
    yield rig
    await rig.world.close()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_fails_once_and_changes_nothing(rig: SimulatedRig, verb: str) -> None:
    machine = await use.launch(rig)
    rig.world.faults.fails[verb].append(errors.MachineFailed("told to"))
    with pytest.raises(errors.MachineFailed, match="told to"):
        await VERBS[verb](rig, machine)
    assert use.life(rig, machine) is Life.RUNNING
    assert not rig.world.faults.fails[verb]


async def test_a_verb_waits_at_its_gate_and_a_destroy_goes_past(rig: SimulatedRig) -> None:
    machine = await use.launch(rig)
    gate = rig.world.faults.gates["suspend"] = asyncio.Event()
    suspending = asyncio.create_task(rig.host.suspend(machine))
    await asyncio.sleep(0)
    assert use.life(rig, machine) is Life.RUNNING
    await rig.host.destroy(machine)
    gate.set()
    with pytest.raises(errors.NotFound):
        await suspending


async def test_a_wake_that_fails_leaves_it_suspended(rig: SimulatedRig) -> None:
    machine = await use.launch(rig)
    counting = await use.count(rig, machine)
    await rig.host.suspend(machine)
    rig.world.faults.starts.append(errors.NoCapacity("no room"))
    with pytest.raises(errors.NoCapacity):
        await rig.host.start(machine)
    assert use.life(rig, machine) is Life.SUSPENDED
    await rig.host.start(machine)
    assert await use.tell(rig, machine, counting, "two") == "2 two"


async def test_a_claim_that_fails_costs_the_spare_and_nothing_else(rig: SimulatedRig) -> None:
    machine, spare = await use.create(rig), await use.launch(rig)
    rig.world.faults.fails["claim"].append(errors.MachineFailed("no"))
    with pytest.raises(errors.MachineFailed):
        await rig.host.claim(machine, spare)
    assert (use.life(rig, machine), rig.host.get(spare)) == (Life.STOPPED, None)
    await rig.host.claim(machine, await use.launch(rig))


async def test_on_a_full_disk_nothing_is_saved_and_machines_run_on(rig: SimulatedRig) -> None:
    machine = await use.launch(rig)
    rig.world.faults.disk_full = True
    for verb in ("suspend", "snapshot"):
        with pytest.raises(errors.DiskFull):
            await VERBS[verb](rig, machine)
    assert (use.life(rig, machine), rig.host.snapshots()) == (Life.RUNNING, [])


@pytest.mark.parametrize(("part", "starts"), [("manifest", False), ("devices", False), ("memory", True)])
async def test_a_damaged_snapshot_tells_and_may_not_start(rig: SimulatedRig, part: str, starts: bool) -> None:
    machine = await use.launch(rig)
    snapshot = await use.snapshot(rig, machine)
    copy = await use.clone(rig, snapshot)
    rig.world.damage(snapshot, part)
    assert await rig.host.verify(snapshot) == [f"{part}: not what was saved"]
    if starts:
        await rig.host.start(copy)
        return
    with pytest.raises(errors.Damaged):
        await rig.host.start(copy)
    assert use.life(rig, copy) is Life.SUSPENDED


async def test_suspended_machines_leave_their_memory_to_others(rig: SimulatedRig) -> None:
    free = (await rig.host.capacity()).memory_free_mib
    machine = await use.launch(rig)
    await rig.host.pause(machine)
    assert (await rig.host.capacity()).memory_free_mib == free - 128
    await rig.host.suspend(machine)
    assert (await rig.host.capacity()).memory_free_mib == free


async def test_a_timeout_does_not_pass_while_a_machine_stands_still(rig: SimulatedRig) -> None:
    machine = await use.launch(rig)
    process = await use.start(rig, machine, "read line; echo $line", stdin=True, timeout=0.3)
    await rig.host.suspend(machine)
    await asyncio.sleep(0.4)
    await rig.host.start(machine)
    await rig.host.processes.write(machine, process, b"in time\n")
    assert (await use.finish(rig, machine, process)).stdout == b"in time\n"
