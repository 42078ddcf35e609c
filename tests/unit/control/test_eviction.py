"""Which sticky machines go when room is needed, and that nothing else does."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hutch import settings
from hutch.control import eviction
from hutch.model import errors, ids
from hutch.model.ids import MachineId, SnapshotId, TenantId
from hutch.model.machine import ImageRef, Machine, MachineSpec, Persistence, Resources
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn

START = datetime(2026, 1, 1, tzinfo=UTC)


def machine(priority: int = 5, used: float = 0, state: State = State.STOPPED, **changes: Any) -> Machine:
    spec = MachineSpec(ImageRef("alpine", "sha256:1"), Resources(1, 512, 20), "web")
    it = Machine(ids.new_machine_id(), TenantId("t"), "web", spec, state, START, START)
    last_use = START + timedelta(seconds=used)
    sticky = {"persistence": Persistence.STICKY, "priority": priority, "last_activity_at": last_use}
    return dataclasses.replace(it, **(sticky | changes))


def test_the_lowest_priority_goes_first_and_of_these_the_one_longest_not_used() -> None:
    machines = [machine(5, 1), machine(0, 9, State.SUSPENDED), machine(5, 0), machine(10, 0), machine(0, 8)]
    assert eviction.in_order(machines) == [machines[index] for index in (4, 1, 2, 0, 3)]


@pytest.mark.parametrize("state", sorted(set(State) - {State.STOPPED, State.SUSPENDED}))
def test_only_what_does_not_run_may_go(state: State) -> None:
    assert eviction.in_order([machine(state=state)]) == []


@pytest.mark.parametrize("persistence", [Persistence.EPHEMERAL, Persistence.PERSISTENT])
def test_only_sticky_machines_may_go(persistence: Persistence) -> None:
    assert eviction.in_order([machine(persistence=persistence)]) == []


@pytest.fixture
async def tight(tmp_path: Path) -> AsyncIterator[Rig]:
    """A service whose quota is one GiB."""
    rig = Rig(tmp_path / "world", settings.Machines(stop_grace=1.0, storage_quota_gib=1))
    await rig.open()
    yield rig
    await rig.plane.close()
    await rig.world.close()


async def sticky(rig: Rig, priority: int = 5, mib: int = 0) -> MachineId:
    """A stopped one that takes so much."""
    it = await rig.launch(persistence=Persistence.STICKY, priority=priority)
    with (rig.world.machines[it].root / "file").open("wb") as file:
        file.truncate(mib * 2**20)
    await rig.plane.machines.stop(rig.me, it)
    rig.clock.advance(1)
    return it


def living(rig: Rig) -> set[MachineId]:
    return {it.id for it in rig.plane.machines.list(rig.me)}


async def sweep(rig: Rig) -> None:
    rig.clock.advance(31)
    await turn(50)
    await rig.settle()


async def test_above_the_quota_as_many_go_as_it_takes_and_say_why(tight: Rig) -> None:
    last, first, second = [await sticky(tight, priority, 400) for priority in (9, 1, 2)]
    await sweep(tight)
    assert living(tight) == {last, second}
    told = [event.message for event in await tight.store.list_events(first, 10)]
    why = "the storage quota of 1 GiB is exceeded by 0.17 GiB, and it is sticky with priority 1"
    assert any(why in message for message in told)


async def test_below_the_quota_nothing_goes(tight: Rig) -> None:
    kept = {await sticky(tight, 0, 400) for _ in range(2)}
    await sweep(tight)
    assert living(tight) == kept


async def test_what_runs_or_is_persistent_is_never_taken(tight: Rig) -> None:
    running = await sticky(tight, 0, 900)
    await tight.plane.machines.start(tight.me, running)
    persistent = await tight.launch()
    with (tight.world.machines[persistent].root / "file").open("wb") as file:
        file.truncate(900 * 2**20)
    await tight.plane.machines.stop(tight.me, persistent)
    await sweep(tight)
    assert living(tight) == {running, persistent}


async def test_without_a_quota_nothing_goes(rig: Rig) -> None:
    kept = await sticky(rig, 0, 4000)
    await sweep(rig)
    assert living(rig) == {kept}


@pytest.mark.parametrize("verb", ["suspend", "snapshot", "create"])
async def test_on_a_full_disk_one_goes_and_it_is_tried_once_more(rig: Rig, verb: str) -> None:
    first, second, machine = await sticky(rig, 1), await sticky(rig, 2), await rig.launch()
    rig.world.faults.fails[verb] = [errors.DiskFull("full")]
    match verb:
        case "suspend":
            assert (await rig.plane.machines.suspend(rig.me, machine)).state is State.SUSPENDED
        case "snapshot":
            await rig.plane.snapshots.create(rig.me, machine)
        case "create":
            await rig.create()
    assert first not in living(rig)
    assert second in living(rig)
    told = [event.message for event in await rig.store.list_events(first, 10)]
    assert "deleting: the host's disk is full, and it is sticky with priority 1" in told


async def sticky_snapshot(rig: Rig, machine: MachineId, name: str, priority: int = 5) -> SnapshotId:
    made = await rig.plane.snapshots.create(
        rig.me, machine, name, persistence=Persistence.STICKY, priority=priority, recipe=name
    )
    rig.clock.advance(60)
    return made.id


def names(rig: Rig) -> set[str]:
    return {it.name for it in rig.plane.snapshots.list(rig.me)}


async def test_of_one_priority_snapshots_go_before_machines(rig: Rig) -> None:
    low, machine, same = await sticky(rig, 1), await rig.launch(), await sticky(rig, 5)
    await sticky_snapshot(rig, machine, "second")
    await sticky_snapshot(rig, machine, "first", 4)
    await rig.plane.snapshots.create(rig.me, machine, "persistent")
    eviction = rig.plane.core.fleet.eviction
    left = []
    while await eviction.make_room():
        left.append((low in living(rig), "first" in names(rig), "second" in names(rig), same in living(rig)))
    assert left == [
        (False, True, True, True),
        (False, False, True, True),
        (False, False, False, True),
        (False, False, False, False),
    ]
    assert names(rig) == {"persistent"}


async def test_a_snapshot_that_was_just_made_or_used_is_never_taken(rig: Rig) -> None:
    machine = await rig.launch()
    old, layer, back = [await sticky_snapshot(rig, machine, name) for name in ("old", "layer", "back")]
    await sticky_snapshot(rig, machine, "oldest", 9)
    await rig.create(image="", snapshot=old)
    await rig.plane.machines.rollback(rig.me, machine, back)
    assert rig.plane.core.shelf.known(rig.me.tenant, "layer") == rig.plane.snapshots.find(rig.me, layer)
    await rig.plane.snapshots.create(rig.me, machine, "new", persistence=Persistence.STICKY, priority=0)
    eviction = rig.plane.core.fleet.eviction
    assert await eviction.make_room()
    assert not await eviction.make_room()
    assert names(rig) == {"back", "old", "layer", "new"}


async def test_snapshots_count_in_the_quota_and_go_for_it(tight: Rig) -> None:
    machine = await tight.launch()
    with (tight.world.machines[machine].root / "file").open("wb") as file:
        file.truncate(400 * 2**20)
    for name in ("first", "second", "third"):
        await sticky_snapshot(tight, machine, name)
    await sweep(tight)
    assert names(tight) == {"third"}
    assert [it.name for it in await tight.store.list_deleted_snapshots(tight.me.tenant, 9)] == ["second", "first"]


async def test_a_snapshot_that_cannot_be_removed_is_passed_over(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await sticky_snapshot(rig, await rig.launch(), "kept")

    async def refuse(_: object) -> None:
        raise errors.HutchError("no")

    monkeypatch.setattr(rig.plane.core.host, "remove_snapshot", refuse)
    assert not await rig.plane.core.fleet.eviction.make_room()
    assert names(rig) == {"kept"}


async def test_a_disk_that_stays_full_costs_one_machine_only(rig: Rig) -> None:
    kept, machine = [await sticky(rig, 1), await sticky(rig, 2)][1], await rig.launch()
    rig.world.faults.fails["suspend"] = [errors.DiskFull("full"), errors.DiskFull("full")]
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.suspend(rig.me, machine)
    assert living(rig) == {kept, machine}


async def test_without_anything_sticky_it_is_not_tried_again(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.fails["suspend"] = [errors.DiskFull("full")]
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.suspend(rig.me, machine)
    assert rig.state(machine) is State.RUNNING


async def test_what_somebody_works_on_is_not_taken(rig: Rig) -> None:
    it, machine = await sticky(rig), await rig.launch()
    rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, it))
    rig.world.faults.fails["suspend"] = [errors.DiskFull("full")]
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.suspend(rig.me, machine)
    rig.world.faults.gate.set()
    await starting


async def test_one_that_cannot_be_destroyed_is_passed_over(rig: Rig) -> None:
    first, second, machine = await sticky(rig, 1), await sticky(rig, 2), await rig.launch()
    rig.world.faults.destroys = [OSError(5, "no")]
    rig.world.faults.fails["suspend"] = [errors.DiskFull("full")]
    await rig.plane.machines.suspend(rig.me, machine)
    assert first in living(rig)
    assert second not in living(rig)


async def test_one_whose_command_somebody_follows_is_not_taken(rig: Rig) -> None:
    it, machine = await rig.launch(persistence=Persistence.STICKY), await rig.launch()
    running = soon(rig.run(it, "sleep 0.1; echo up"))
    while not rig.world.machines[it].processes:
        await asyncio.sleep(0)
    await rig.plane.machines.suspend(rig.me, it)
    rig.world.faults.fails["suspend"] = [errors.DiskFull("full")]
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.suspend(rig.me, machine)
    await rig.plane.machines.start(rig.me, it)
    assert (await running).stdout == b"up\n"
