"""Snapshots: made, found, used, verified, deleted; and what the host says of them."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest

from hutch.control.snapshots import SnapshotState
from hutch.host.simulated.host import SimulatedHost
from hutch.model import errors, ids
from hutch.model.builds import Build, BuildState
from hutch.model.ids import BuildId, MachineId, SnapshotId
from hutch.model.machine import Defaults, NetworkMode, NetworkPolicy, Persistence
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn


async def test_a_snapshot_is_recorded_and_its_source_goes_on(rig: Rig) -> None:
    machine = await rig.launch(name="web")
    snapshot = await rig.plane.snapshots.create(rig.me, machine, "before")
    assert (snapshot.name, snapshot.machine, snapshot.spec) == ("before", machine, rig.get(machine).spec)
    assert (snapshot.created_at, snapshot.damage, snapshot.verified_at) == (rig.clock.now(), (), None)
    assert snapshot.size > 0
    assert rig.state(machine) is State.RUNNING
    assert list((await rig.store.load()).snapshots) == [snapshot]
    assert (await rig.messages(machine))[-1] == "snapshot before was made of it"


async def test_one_without_a_name_is_numbered(rig: Rig) -> None:
    machine = await rig.launch(name="web")
    made = await asyncio.gather(*(rig.plane.snapshots.create(rig.me, machine) for _ in range(3)))
    assert sorted(snapshot.name for snapshot in made) == ["web-1", "web-2", "web-3"]


async def test_a_name_is_its_own(rig: Rig) -> None:
    machine = await rig.launch()
    work = (rig.plane.snapshots.create(rig.me, machine, "one") for _ in range(5))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [type(result) for result in results].count(errors.Conflict) == 4
    assert len(rig.world.snapshots) == 1
    with pytest.raises(errors.InvalidRequest, match="name 'a b'"):
        await rig.plane.snapshots.create(rig.me, machine, "a b")


@pytest.mark.parametrize("state", ["pause", "suspend"])
async def test_a_frozen_machine_can_be_copied_and_stays_frozen(rig: Rig, state: str) -> None:
    machine = await rig.launch()
    frozen = await getattr(rig.plane.machines, state)(rig.me, machine)
    await rig.plane.snapshots.create(rig.me, machine)
    assert rig.state(machine) is frozen.state


async def test_a_machine_without_memory_cannot_be_copied(rig: Rig) -> None:
    machine = await rig.create()
    with pytest.raises(errors.NotRunning, match="is stopped and cannot be copied: start it first"):
        await rig.plane.snapshots.create(rig.me, machine)


async def test_they_are_found_by_id_and_name_and_listed_newest_first(rig: Rig) -> None:
    one, two = await rig.launch(), await rig.launch()
    made = [await rig.plane.snapshots.create(rig.me, it, name) for it, name in ((one, "a"), (two, "b"), (one, "c"))]
    snapshots = rig.plane.snapshots
    assert [it.name for it in snapshots.list(rig.me)] == ["c", "b", "a"]
    assert [it.name for it in snapshots.list(rig.me, one)] == ["c", "a"]
    assert snapshots.find(rig.me, "a") == snapshots.find(rig.me, made[0].id) == made[0]
    with pytest.raises(errors.NotFound):
        snapshots.find(rig.me, "d")


async def test_another_tenants_do_not_exist(rig: Rig) -> None:
    snapshot = await rig.plane.snapshots.create(rig.me, await rig.launch())
    other = await rig.someone(tenant="other")
    snapshots = rig.plane.snapshots
    assert snapshots.list(other) == []
    for call in (snapshots.delete, snapshots.verify):
        with pytest.raises(errors.NotFound):
            await call(other, snapshot.id)
    with pytest.raises(errors.NotFound):
        snapshots.find(other, snapshot.name)


async def test_every_call_needs_its_scope(rig: Rig) -> None:
    machine = await rig.launch()
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    nobody = await rig.someone("usage:read")
    snapshots = rig.plane.snapshots
    for call in (snapshots.delete, snapshots.verify, snapshots.create):
        with pytest.raises(errors.Forbidden):
            await call(nobody, machine if call == snapshots.create else snapshot.id)  # type: ignore[arg-type]
    with pytest.raises(errors.Forbidden):
        snapshots.list(nobody)


async def test_a_snapshot_outlives_its_machine_and_a_machine_its_snapshot(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.run(machine, "echo kept >workspace/file")
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    await rig.plane.machines.delete(rig.me, machine)
    copy = await rig.create(image="", snapshot=snapshot.name)
    await rig.plane.snapshots.delete(rig.me, snapshot.id)
    assert (rig.world.snapshots, rig.plane.snapshots.list(rig.me)) == ({}, [])
    assert (await rig.run(copy, "cat workspace/file")).stdout == b"kept\n"


async def test_a_machine_made_of_a_snapshot_goes_on_from_there(rig: Rig) -> None:
    source = await rig.launch(env={"A": "1", "B": "1"}, memory_mib=256, persistence=Persistence.STICKY)
    process = await rig.plane.processes.start(rig.me, source, rig.line("sleep 1000"))
    snapshot = await rig.plane.snapshots.create(rig.me, source)
    copy = rig.get(await rig.create(image="", snapshot=snapshot.id, name="Copy", env={"B": "2"}))
    assert (copy.state, copy.parent, copy.snapshot) == (State.SUSPENDED, source, snapshot.id)
    assert (copy.spec.hostname, copy.spec.env, copy.spec.resources) == (
        "copy",
        {"A": "1", "B": "2"},
        snapshot.spec.resources,
    )
    assert (copy.persistence, copy.suspended_at) == (Persistence.PERSISTENT, rig.clock.now())
    await rig.plane.machines.start(rig.me, copy.id)
    assert process.id in [it.id for it in await rig.plane.processes.list(rig.me, copy.id)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cpus": 2}, "cpus is 2: snapshot s has 1"),
        ({"memory_mib": 1024}, "memory is 1024 MiB: snapshot s has 512 MiB"),
        ({"disk_gib": 19}, "disk is 19 GiB: at least the 20 GiB it has"),
        ({"image": "alpine"}, "image and snapshot: a machine is made of one of them"),
    ],
)
async def test_the_shape_is_the_snapshots(rig: Rig, fields: dict[str, object], words: str) -> None:
    await rig.plane.snapshots.create(rig.me, await rig.launch(), "s")
    with pytest.raises(errors.InvalidRequest, match=words):
        await rig.create(**{"image": "", "snapshot": "s", **fields})
    larger = await rig.create(image="", snapshot="s", cpus=1, memory_mib=512, disk_gib=30)
    assert rig.get(larger).spec.resources.disk_gib == 30


async def test_it_may_reach_what_the_machine_might_unless_it_is_told_otherwise(rig: Rig) -> None:
    blocked, free = NetworkPolicy(NetworkMode.BLOCKED), NetworkPolicy()
    machine = await rig.launch(network=blocked)
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    for asked, has in ((None, blocked), (free, free)):
        made = await rig.create(image="", snapshot=snapshot.id, network=asked)
        assert rig.get(made).spec.network == has


async def test_a_machine_of_an_unknown_snapshot_is_refused(rig: Rig) -> None:
    with pytest.raises(errors.NotFound, match="snapshot not found"):
        await rig.create(image="", snapshot="none")


async def test_a_verification_tells_what_is_damaged_and_damaged_ones_are_not_used(rig: Rig) -> None:
    machine = await rig.launch()
    snapshot = await rig.plane.snapshots.create(rig.me, machine, "s")
    rig.clock.advance(10)
    whole = await rig.plane.snapshots.verify(rig.me, snapshot.id)
    assert (whole.damage, whole.verified_at) == ((), rig.clock.now())
    rig.world.damage(snapshot.id)
    damaged = await rig.plane.snapshots.verify(rig.me, snapshot.id)
    assert damaged.damage == ("memory: not what was saved",)
    assert list((await rig.store.load()).snapshots) == [damaged]
    with pytest.raises(errors.Damaged, match="snapshot s is not what was saved: memory"):
        await rig.create(image="", snapshot="s")
    with pytest.raises(errors.Damaged):
        await rig.plane.machines.rollback(rig.me, machine, snapshot.id)


async def test_what_becomes_of_one_while_it_is_verified_is_not_undone(rig: Rig) -> None:
    machine = await rig.launch()
    one, two = [await rig.plane.snapshots.create(rig.me, machine, name) for name in ("one", "two")]
    gate = rig.world.faults.gates["verify"] = asyncio.Event()
    verifying = [soon(rig.plane.snapshots.verify(rig.me, it.id)) for it in (one, two)]
    await turn()
    await rig.plane.snapshots.rename(rig.me, one.id, "other")
    await rig.plane.snapshots.delete(rig.me, two.id)
    gate.set()
    assert (await verifying[0]).name == "other"
    with pytest.raises(errors.NotFound, match="two was deleted"):
        await verifying[1]
    assert [it.name for it in (await rig.store.load()).snapshots] == ["other"]


async def test_each_is_verified_once_a_day_one_at_a_time_with_rests(rig: Rig) -> None:
    machine = await rig.launch()
    made = [await rig.plane.snapshots.create(rig.me, machine) for _ in range(2)]
    rig.world.damage(made[1].id)
    rig.world.faults.gates["verify"] = asyncio.Event()
    shelf = rig.plane.core.shelf
    rig.clock.advance(86_400 - 1)
    shelf.tick()
    assert shelf._verifying is None
    rig.clock.advance(1)
    shelf.tick()
    shelf.tick()
    rig.clock.advance(10)
    rig.world.faults.gates["verify"].set()
    await turn()
    verified = [it.verified_at is not None for it in reversed(rig.plane.snapshots.list(rig.me))]
    assert verified == [True, False]
    shelf.tick()
    await turn()
    assert shelf._verifying is None  # it rests
    rig.clock.advance(90)
    shelf.tick()
    await turn()
    assert rig.plane.snapshots.list(rig.me)[0].damage == ("memory: not what was saved",)


async def test_a_verification_that_fails_is_not_tried_at_once_again(rig: Rig) -> None:
    await rig.plane.snapshots.create(rig.me, await rig.launch())
    rig.world.faults.fails["verify"] = [OSError(5, "no")]
    rig.clock.advance(86_400)
    shelf = rig.plane.core.shelf
    for _ in range(3):
        shelf.tick()
        await turn()
    assert rig.plane.snapshots.list(rig.me)[0].verified_at is None


async def test_a_verification_under_way_does_not_hold_up_the_end(rig: Rig) -> None:
    await rig.plane.snapshots.create(rig.me, await rig.launch())
    rig.world.faults.gates["verify"] = asyncio.Event()
    rig.clock.advance(86_400)
    rig.plane.core.shelf.tick()
    await turn()
    await asyncio.wait_for(rig.plane.close(), 2)


async def test_what_the_host_does_not_have_any_more_says_so(rig: Rig) -> None:
    snapshot = await rig.plane.snapshots.create(rig.me, await rig.launch())
    await rig.crash()
    rig.world.drop(snapshot.id)
    await rig.crash_and_restart()
    missing = rig.plane.snapshots.find(rig.me, snapshot.id)
    assert missing.damage == ("the host does not have it any more",)
    await rig.plane.snapshots.delete(rig.me, snapshot.id)
    assert rig.plane.snapshots.list(rig.me) == []


async def test_what_no_record_tells_of_is_removed(rig: Rig) -> None:
    machine = await rig.launch()
    kept = await rig.plane.snapshots.create(rig.me, machine)
    await SimulatedHost(rig.world).snapshot(machine, ids.new_snapshot_id())
    await rig.crash_and_restart()
    assert set(rig.world.snapshots) == {kept.id}


async def test_a_new_database_does_not_remove_the_snapshots_of_a_home(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.snapshots.create(rig.me, machine)
    await rig.plane.machines.delete(rig.me, machine)
    await rig.plane.close()
    plane = rig.assemble(type(rig.store)(), SimulatedHost(rig.world))
    with pytest.raises(errors.Conflict, match="this home holds 0 machines and 1 snapshots"):
        await plane.open()
    assert len(rig.world.snapshots) == 1


async def test_a_full_disk_is_told_and_nothing_is_left(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.disk_full = True
    with pytest.raises(errors.DiskFull):
        await rig.plane.snapshots.create(rig.me, machine, "s")
    rig.world.faults.disk_full = False
    assert rig.state(machine) is State.RUNNING
    assert (await rig.plane.snapshots.create(rig.me, machine, "s")).name == "s"


async def test_a_caller_that_goes_away_leaves_a_whole_snapshot(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.gates["snapshot"] = asyncio.Event()
    making = soon(rig.plane.snapshots.create(rig.me, machine, "s"))
    await turn()
    making.cancel()
    await turn()
    rig.world.faults.gates["snapshot"].set()
    await rig.settle()
    assert set(rig.world.snapshots) == {rig.plane.snapshots.find(rig.me, "s").id}


async def test_a_deletion_of_the_machine_ends_its_snapshot(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.gates["snapshot"] = asyncio.Event()
    making = soon(rig.plane.snapshots.create(rig.me, machine))
    await turn()
    await rig.plane.machines.delete(rig.me, machine)
    with pytest.raises(errors.Conflict, match="the snapshot was ended by a delete"):
        await making
    assert rig.plane.snapshots.list(rig.me) == []


async def test_commands_are_run_while_a_snapshot_is_made(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.gates["snapshot"] = asyncio.Event()
    making = soon(rig.plane.snapshots.create(rig.me, machine))
    await turn()
    assert (await asyncio.wait_for(rig.run(machine, "echo up"), 5)).stdout == b"up\n"
    rig.world.faults.gates["snapshot"].set()
    await making


async def test_a_snapshot_that_cannot_be_recorded_is_not_kept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await rig.launch()

    async def refuse(_: object) -> None:
        raise errors.HutchError("the database failed")

    monkeypatch.setattr(rig.store, "add_snapshot", refuse)
    with pytest.raises(errors.HutchError, match="the database failed"):
        await rig.plane.snapshots.create(rig.me, machine)
    await rig.settle()
    assert rig.world.snapshots == {}


async def test_a_name_is_not_an_id(rig: Rig) -> None:
    await rig.plane.snapshots.create(rig.me, await rig.launch(), "s")
    with pytest.raises(errors.NotFound):
        await rig.plane.snapshots.delete(rig.me, SnapshotId("s"))


async def test_the_list_of_a_machine_that_is_not_there_is_not_found_unless_it_left_some(rig: Rig) -> None:
    machine, its = await rig.launch(), rig.plane.snapshots
    assert its.list(rig.me, machine) == []
    with pytest.raises(errors.NotFound):
        its.list(rig.me, MachineId("nobody"))
    with pytest.raises(errors.NotFound):
        its.list(await rig.someone(tenant="other"), machine)
    kept = await its.create(rig.me, machine)
    await rig.plane.machines.delete(rig.me, machine)
    assert its.list(rig.me, machine) == [kept]
    await its.delete(rig.me, kept.id)
    with pytest.raises(errors.NotFound):
        its.list(rig.me, machine)


async def test_of_a_deleted_one_the_record_is_left_to_its_tenant(rig: Rig) -> None:
    snapshots, other = rig.plane.snapshots, await rig.someone(tenant="other")
    snapshot = await snapshots.create(rig.me, await rig.launch(), "s")
    assert await snapshots.deleted(rig.me, snapshot.id) is None
    rig.clock.advance(1)
    await snapshots.delete(rig.me, snapshot.id)
    gone = dataclasses.replace(snapshot, deleted_at=rig.clock.now())
    assert await snapshots.deleted(rig.me, snapshot.id) == gone
    assert await snapshots.deleted(other, snapshot.id) is None
    assert rig.world.snapshots == {}
    for call in (snapshots.delete, snapshots.verify):
        with pytest.raises(errors.NotFound):
            await call(rig.me, snapshot.id)
    await rig.crash_and_restart()
    assert rig.plane.snapshots.list(rig.me) == []
    assert await rig.plane.snapshots.deleted(rig.me, snapshot.id) == gone


async def test_the_name_and_the_place_of_a_deleted_one_are_free(rig: Rig) -> None:
    machine, snapshots = await rig.launch(), rig.plane.snapshots
    first = await snapshots.create(rig.me, machine, "s")
    await snapshots.delete(rig.me, first.id)
    assert rig.plane.core.quotas.used(rig.me.tenant).snapshots == 0
    assert (await snapshots.create(rig.me, machine, "s")).id != first.id


async def test_another_name_must_be_free(rig: Rig) -> None:
    machine, snapshots = await rig.launch(), rig.plane.snapshots
    one = await snapshots.create(rig.me, machine, "one")
    await snapshots.create(rig.me, machine, "two")
    renamed = await snapshots.rename(rig.me, one.id, "three")
    assert renamed == dataclasses.replace(one, name="three") == snapshots.find(rig.me, "three")
    assert await snapshots.rename(rig.me, one.id, "three") == renamed
    for name, error in (("two", errors.Conflict), ("a b", errors.InvalidRequest)):
        with pytest.raises(error):
            await snapshots.rename(rig.me, one.id, name)
    with pytest.raises(errors.NotFound):
        await snapshots.rename(await rig.someone(tenant="other"), one.id, "four")
    await rig.crash_and_restart()
    assert rig.plane.snapshots.find(rig.me, one.id).name == "three"


async def test_a_layer_is_recorded_with_what_it_is_and_known_by_it(rig: Rig) -> None:
    machine, shelf, id = await rig.launch(), rig.plane.core.shelf, ids.new_snapshot_id()
    defaults, build = Defaults(idle=5), BuildId("b")
    its = {"persistence": Persistence.STICKY, "priority": 2, "build": build, "recipe": "h", "defaults": defaults}
    layer = await rig.plane.snapshots.create(rig.me, machine, id=id, **its)  # type: ignore[arg-type]
    assert {name: getattr(layer, name) for name in its} == its
    assert layer.id == id
    rig.clock.advance(5)
    newest = await rig.plane.snapshots.create(rig.me, machine, recipe="h")
    found = shelf.known(rig.me.tenant, "h")
    assert found == dataclasses.replace(newest, used_at=rig.clock.now())
    rig.world.damage(newest.id)
    await rig.plane.snapshots.verify(rig.me, newest.id)
    found = shelf.known(rig.me.tenant, "h")
    assert found == dataclasses.replace(layer, used_at=rig.clock.now())
    assert shelf.known(rig.me.tenant, "other") is None
    assert shelf.known((await rig.someone(tenant="other")).tenant, "h") is None


@pytest.mark.parametrize("fields", [{"persistence": Persistence.EPHEMERAL}, {"priority": 11}, {"priority": -1}])
async def test_a_snapshot_is_kept_in_ways_it_can_be(rig: Rig, fields: dict[str, object]) -> None:
    machine = await rig.launch()
    with pytest.raises(errors.InvalidRequest):
        await rig.plane.snapshots.create(rig.me, machine, **fields)  # type: ignore[arg-type]
    assert rig.world.snapshots == {}


async def test_it_is_noted_when_a_machine_was_last_made_of_one(rig: Rig) -> None:
    snapshot = await rig.plane.snapshots.create(rig.me, await rig.launch())
    assert snapshot.used_at is None
    rig.clock.advance(7)
    at = rig.clock.now()
    await rig.create(image="", snapshot=snapshot.id)
    assert rig.plane.snapshots.find(rig.me, snapshot.id).used_at == at
    await rig.restart()
    assert rig.plane.snapshots.find(rig.me, snapshot.id).used_at == at


async def test_builds_that_made_nothing_are_shown_as_what_they_were_to_make(rig: Rig) -> None:
    machine, snapshots, now = await rig.launch(), rig.plane.snapshots, rig.clock.now()
    builds = {}
    for age, state in enumerate(BuildState):
        at = now - timedelta(hours=1 + age)
        id = BuildId(f"b{age}")
        it = Build(id, rig.me.tenant, "ri", state, ids.new_snapshot_id(), None, "h", (), at, at, reason=state.value)
        builds[state] = it
        await rig.store.add_build(it)
    build = builds[BuildState.SUCCEEDED]
    made = await snapshots.create(rig.me, machine, "s", id=build.snapshot, build=build.id)
    gone = await snapshots.create(rig.me, machine, "gone")
    await snapshots.delete(rig.me, gone.id)
    (ready,) = await snapshots.views(rig.me)
    assert (ready.id, ready.state, ready.snapshot, ready.build) == (made.id, SnapshotState.READY, made, build)
    shown = await snapshots.views(rig.me, include_deleted=True, include_failed=True, include_building=True)
    assert [(view.state.value, view.deleted) for view in shown if view.snapshot] == [("ready", False), ("ready", True)]
    assert [(view.state.value, view.reason) for view in shown if not view.snapshot] == [
        ("building", "pending"),
        ("building", "running"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
        ("lost", "lost"),
    ]
    for view in shown:
        assert await snapshots.view(rig.me, view.id) == view
        with pytest.raises(errors.NotFound):
            await snapshots.view(await rig.someone(tenant=view.id), view.id)
    failed = await snapshots.views(rig.me, include_failed=True)
    assert {view.state.value for view in failed} == {"ready", "failed", "cancelled", "lost"}


async def test_one_that_is_not_what_was_saved_is_shown_as_lost(rig: Rig) -> None:
    snapshot = await rig.plane.snapshots.create(rig.me, await rig.launch())
    rig.world.damage(snapshot.id)
    await rig.plane.snapshots.verify(rig.me, snapshot.id)
    view = await rig.plane.snapshots.view(rig.me, snapshot.id)
    assert (view.state, view.reason) == (SnapshotState.LOST, "memory: not what was saved")
