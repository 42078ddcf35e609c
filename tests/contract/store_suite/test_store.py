"""What every store does, held against the fake and against SQLite."""

import dataclasses
from datetime import timedelta

import pytest

from contract.store_suite.nouns import NOW, OURS, THEIRS, a_key, a_machine, a_snapshot, an_event
from hutch.model import errors
from hutch.model.ids import BuildId, KeyId, MachineId, PoolId, SnapshotId, TenantId
from hutch.model.keys import Tenant
from hutch.model.machine import (
    Checkout,
    CheckoutMode,
    CheckoutSource,
    Defaults,
    EndsOn,
    Persistence,
    Pool,
    PoolState,
    Timers,
)
from hutch.model.network import PublishedPort
from hutch.model.states import State
from hutch.store.interface import EventQuery, Horizon, Store, StoredKey


async def test_a_machine_comes_back_as_it_was(store: Store) -> None:
    machine = dataclasses.replace(
        a_machine(),
        reason="because",
        ready_at=NOW,
        last_activity_at=NOW,
        persistence=Persistence.STICKY,
        priority=7,
        parent=MachineId("p"),
        snapshot=SnapshotId("s"),
        suspended_at=NOW,
        checkout=Checkout(CheckoutSource.MEMBER, CheckoutMode.REQUIRE, PoolId("p")),
        timers=Timers(idle=1, idle_bytes=512),
        ends_on=EndsOn.STOP,
        build=BuildId("b"),
        is_recreated=True,
    )
    await store.add_machine(machine, an_event(machine))
    assert list((await store.load()).machines) == [machine]
    assert await store.get_machine(machine.id) == machine


async def test_machines_come_back_oldest_first(store: Store) -> None:
    for number in (3, 1, 2):
        machine = dataclasses.replace(a_machine(f"m{number}"), created_at=NOW + timedelta(microseconds=number))
        await store.add_machine(machine, an_event(machine))
    names = [machine.name for machine in (await store.load()).machines]
    assert names == ["m1", "m2", "m3"]


async def test_a_machine_is_replaced_whole_with_its_event(store: Store) -> None:
    machine = a_machine()
    await store.add_machine(machine, an_event(machine))
    changed = dataclasses.replace(machine, state=State.FAILED, reason="disk full")
    await store.save_machine(changed, State.CREATING, an_event(machine, "failed"))
    assert await store.get_machine(machine.id) == changed
    assert [event.message for event in await store.list_events(machine.id, 10)] == ["made", "failed"]


async def test_a_machine_in_another_state_than_thought_is_a_conflict_and_nothing_is_written(store: Store) -> None:
    machine = a_machine()
    await store.add_machine(machine, an_event(machine))
    with pytest.raises(errors.Conflict):
        await store.save_machine(dataclasses.replace(machine, state=State.STOPPED), State.RUNNING, an_event(machine))
    assert await store.get_machine(machine.id) == machine
    assert len(await store.list_events(machine.id, 10)) == 1


async def test_a_living_machines_name_is_its_own(store: Store) -> None:
    machine = a_machine()
    await store.add_machine(machine, an_event(machine))
    other = a_machine()
    with pytest.raises(errors.Conflict, match="web"):
        await store.add_machine(other, an_event(other))
    assert len((await store.load()).machines) == 1


async def test_another_tenant_may_use_the_same_name(store: Store) -> None:
    for tenant in (OURS, THEIRS):
        machine = a_machine(tenant=tenant)
        await store.add_machine(machine, an_event(machine))
    assert len((await store.load()).machines) == 2


async def test_a_destroyed_machine_frees_its_name_and_can_still_be_read(store: Store) -> None:
    machine = a_machine()
    await store.add_machine(machine, an_event(machine))
    gone = dataclasses.replace(machine, state=State.DESTROYED)
    await store.save_machine(gone, State.CREATING, an_event(machine, "gone"))
    successor = a_machine()
    await store.add_machine(successor, an_event(successor))
    assert list((await store.load()).machines) == [successor]
    assert await store.get_machine(machine.id) == gone
    assert len(await store.list_events(machine.id, 10)) == 2


async def test_the_last_events_are_told_oldest_first(store: Store) -> None:
    machine = a_machine()
    await store.add_machine(machine, an_event(machine, "0"))
    for number in range(1, 5):
        await store.add_event(an_event(machine, str(number)))
    assert [event.message for event in await store.list_events(machine.id, 3)] == ["2", "3", "4"]


async def test_events_are_found_by_tenant_machine_snapshot_kind_and_time(store: Store) -> None:
    ours, other, theirs = a_machine(), a_machine("db"), a_machine(tenant=THEIRS)
    for machine in (ours, theirs, other):
        await store.add_machine(machine, an_event(machine, machine.name + machine.tenant))
    kept, late = SnapshotId("s"), NOW + timedelta(hours=1)
    copied = dataclasses.replace(an_event(ours, "copied"), kind="machine.snapshotted", snapshot=kept, created_at=late)
    await store.add_event(copied)
    gone = dataclasses.replace(other, state=State.DESTROYED)
    await store.save_machine(gone, State.CREATING, an_event(other, "gone"))
    mine = EventQuery(OURS.id)
    wanted: list[tuple[EventQuery, list[str]]] = [
        (mine, ["gone", "copied", "dbours", "webours"]),
        (dataclasses.replace(mine, newest_first=False), ["webours", "dbours", "copied", "gone"]),
        (dataclasses.replace(mine, offset=1, limit=2), ["copied", "dbours"]),
        (dataclasses.replace(mine, machine=other.id), ["gone", "dbours"]),
        (dataclasses.replace(mine, machine=theirs.id), []),
        (dataclasses.replace(mine, snapshot=kept), ["copied"]),
        (dataclasses.replace(mine, kinds={"machine.snapshotted"}), ["copied"]),
        (dataclasses.replace(mine, kinds=()), []),
        (dataclasses.replace(mine, since=late), ["copied"]),
        (dataclasses.replace(mine, until=NOW), ["gone", "dbours", "webours"]),
        (EventQuery(THEIRS.id), ["webtheirs"]),
    ]
    for query, messages in wanted:
        assert [event.message for event in await store.find_events(query)] == messages, query
    assert list(await store.find_events(dataclasses.replace(mine, snapshot=kept))) == [copied]


async def test_nothing_is_known_of_an_unknown_machine(store: Store) -> None:
    assert await store.get_machine(MachineId("nobody")) is None
    assert list(await store.list_events(MachineId("nobody"), 10)) == []


async def test_a_key_comes_back_until_it_is_removed(store: Store) -> None:
    await store.add_key(a_key())
    assert list((await store.load()).keys) == [a_key()]
    await store.remove_key(KeyId("k1"))
    await store.remove_key(KeyId("k1"))
    assert list((await store.load()).keys) == []


async def test_a_key_needs_a_tenant(store: Store) -> None:
    orphan = dataclasses.replace(a_key().key, tenant=TenantId("nobody"))
    with pytest.raises(errors.Conflict):
        await store.add_key(StoredKey(orphan, b"x" * 32))


async def test_last_uses_are_kept_and_what_is_gone_is_passed_over(store: Store) -> None:
    machine, later = a_machine(), NOW + timedelta(hours=1)
    await store.add_machine(machine, an_event(machine))
    await store.add_key(a_key())
    await store.touch({machine.id: later, MachineId("gone"): later}, {KeyId("k1"): later, KeyId("gone"): later}, {})
    recorded = await store.load()
    assert recorded.machines[0].last_activity_at == later
    assert recorded.keys[0].key.last_used_at == later


async def test_a_tenants_name_is_its_own(store: Store) -> None:
    with pytest.raises(errors.Conflict):
        await store.add_tenant(Tenant(TenantId("x"), "ours", NOW))


async def test_a_store_is_new_until_it_has_had_a_machine(store: Store) -> None:
    assert (await store.load()).is_new
    machine = a_machine()
    await store.add_machine(machine, an_event(machine))
    await store.save_machine(dataclasses.replace(machine, state=State.DESTROYED), State.CREATING, an_event(machine))
    assert not (await store.load()).is_new


async def test_the_cluster_keeps_its_id_when_opened_again(store: Store) -> None:
    cluster = (await store.load()).cluster
    await store.close()
    await store.open()
    assert (await store.load()).cluster == cluster
    assert [tenant.name for tenant in (await store.load()).tenants] == ["ours", "theirs"]


async def test_several_machines_are_added_at_once_or_none(store: Store) -> None:
    made = [a_machine(name) for name in ("a", "b", "a")]
    with pytest.raises(errors.Conflict, match="there is already a machine named a"):
        await store.add_machines([(machine, an_event(machine)) for machine in made])
    assert list((await store.load()).machines) == []
    await store.add_machines([(machine, an_event(machine)) for machine in made[:2]])
    assert list((await store.load()).machines) == made[:2]
    assert [len(await store.list_events(machine.id, 9)) for machine in made[:2]] == [1, 1]


async def test_several_machines_are_replaced_at_once_or_none(store: Store) -> None:
    machines = [a_machine(name) for name in ("a", "b")]
    for machine in machines:
        await store.add_machine(machine, an_event(machine))
    running = [dataclasses.replace(machine, state=State.RUNNING) for machine in machines]
    wrong = [(running[0], State.CREATING, an_event(running[0])), (running[1], State.STOPPED, an_event(running[1]))]
    with pytest.raises(errors.Conflict, match="not recorded as stopped"):
        await store.save_machines(wrong)
    assert list((await store.load()).machines) == machines
    await store.save_machines([(machine, State.CREATING, an_event(machine, "on")) for machine in running])
    assert list((await store.load()).machines) == running
    assert [len(await store.list_events(machine.id, 9)) for machine in machines] == [2, 2]


async def test_a_snapshot_comes_back_until_it_is_removed(store: Store) -> None:
    snapshot, theirs = a_snapshot(), a_snapshot(tenant=THEIRS)
    await store.add_snapshot(snapshot)
    await store.add_snapshot(theirs)
    damaged = dataclasses.replace(snapshot, damage=("page 7",), verified_at=NOW, metadata={"a": [1]})
    await store.save_snapshot(damaged)
    assert list((await store.load()).snapshots) == [damaged, theirs]
    for it in (snapshot, theirs, snapshot):
        await store.remove_snapshot(it.id)
    await store.save_snapshot(damaged)
    assert list((await store.load()).snapshots) == []


async def test_a_snapshots_name_is_its_own_among_the_tenants_that_are_not_deleted(store: Store) -> None:
    first = a_snapshot()
    await store.add_snapshot(first)
    with pytest.raises(errors.Conflict, match="there is already a snapshot named before"):
        await store.add_snapshot(a_snapshot())
    gone = dataclasses.replace(first, deleted_at=NOW)
    await store.save_snapshot(gone)
    second = a_snapshot()
    await store.add_snapshot(second)
    await store.save_snapshot(dataclasses.replace(gone, name="other"))
    with pytest.raises(errors.Conflict, match="there is already a snapshot named before"):
        await store.save_snapshot(first)
    assert list((await store.load()).snapshots) == [second]


async def test_a_snapshot_comes_back_with_all_it_is_for(store: Store) -> None:
    snapshot = dataclasses.replace(
        a_snapshot(),
        persistence=Persistence.STICKY,
        priority=2,
        build=BuildId("b"),
        recipe="f" * 64,
        defaults=Defaults(idle=60, ports=(PublishedPort(80),)),
        used_at=NOW,
    )
    await store.add_snapshot(snapshot)
    assert list((await store.load()).snapshots) == [snapshot]
    assert await store.get_snapshot(snapshot.id) == snapshot
    later = NOW + timedelta(days=1)
    await store.touch({}, {}, {snapshot.id: later, SnapshotId("gone"): later})
    assert await store.get_snapshot(snapshot.id) == dataclasses.replace(snapshot, used_at=later)


async def test_deleted_snapshots_are_told_the_latest_first_until_they_are_old(store: Store) -> None:
    for day, name in enumerate(("first", "second", "third")):
        snapshot = a_snapshot(name)
        await store.add_snapshot(snapshot)
        await store.save_snapshot(dataclasses.replace(snapshot, deleted_at=NOW + timedelta(days=day)))
    await store.add_snapshot(a_snapshot("kept"))
    assert [it.name for it in await store.list_deleted_snapshots(OURS.id, 2)] == ["third", "second"]
    assert await store.get_snapshot(snapshot.id) is not None
    assert list(await store.list_deleted_snapshots(THEIRS.id, 9)) == []
    await store.prune(Horizon(snapshots=NOW + timedelta(days=2)))
    assert [it.name for it in await store.list_deleted_snapshots(OURS.id, 9)] == ["third"]
    assert [it.name for it in (await store.load()).snapshots] == ["kept"]


async def test_destroyed_machines_are_told_the_latest_first(store: Store) -> None:
    for day, name in enumerate(("first", "second", "third")):
        machine = a_machine(name)
        await store.add_machine(machine, an_event(machine))
        gone = dataclasses.replace(machine, state=State.DESTROYED, updated_at=NOW + timedelta(days=day))
        await store.save_machine(gone, State.CREATING, an_event(machine))
    living = a_machine("living")
    await store.add_machine(living, an_event(living))
    assert [it.name for it in await store.list_destroyed_machines(OURS.id, 2)] == ["third", "second"]
    assert list(await store.list_destroyed_machines(THEIRS.id, 9)) == []


async def test_a_destroyed_machine_can_live_again_if_its_name_is_free(store: Store) -> None:
    machine = a_machine()
    gone = dataclasses.replace(machine, state=State.DESTROYED)
    await store.add_machine(machine, an_event(machine))
    await store.save_machine(gone, State.CREATING, an_event(machine))
    other = a_machine()
    await store.add_machine(other, an_event(other))
    with pytest.raises(errors.Conflict, match="there is already a machine named web"):
        await store.save_machine(machine, State.DESTROYED, an_event(machine))
    await store.save_machine(dataclasses.replace(other, state=State.DESTROYED), State.CREATING, an_event(other))
    await store.save_machine(machine, State.DESTROYED, an_event(machine))
    assert list((await store.load()).machines) == [machine]


@pytest.mark.parametrize("warm_up", [None, ("sh", "-c", "true")])
async def test_a_pool_comes_back_until_it_is_removed(store: Store, warm_up: tuple[str, ...] | None) -> None:
    pool = Pool(PoolId("p"), OURS.id, "warm", a_machine().spec, 1, 4, warm_up, NOW)
    await store.add_pool(pool)
    recorded = await store.load()
    assert list(recorded.pools) == [pool]
    assert not recorded.is_new
    with pytest.raises(errors.Conflict, match="there is already a pool named warm"):
        await store.add_pool(dataclasses.replace(pool, id=PoolId("q")))
    changed = dataclasses.replace(pool, name="hot", min=0, state=PoolState.DRAINING, mode=CheckoutMode.REQUIRE)
    changed = dataclasses.replace(changed, labels={"a": "b"}, metadata={"a": [1]}, updated_at=NOW)
    await store.save_pool(changed)
    assert list((await store.load()).pools) == [changed]
    other = dataclasses.replace(pool, id=PoolId("q"))
    await store.save_pool(other)  # which is not there
    await store.add_pool(other)
    with pytest.raises(errors.Conflict, match="there is already a pool named hot"):
        await store.save_pool(dataclasses.replace(other, name="hot"))
    await store.remove_pool(other.id)
    await store.remove_pool(pool.id)
    await store.remove_pool(pool.id)
    assert list((await store.load()).pools) == []
