"""Usage, limits and volumes, as every store keeps them."""

import dataclasses
from datetime import datetime, timedelta

import pytest

from contract.store_suite.nouns import NOW, OURS, THEIRS, a_beginning, a_machine, an_event, an_interval
from hutch.model import errors
from hutch.model.ids import MachineId, VolumeId
from hutch.model.keys import Limits
from hutch.model.machine import Event, Machine
from hutch.model.states import State
from hutch.model.usage import Charge, Day, ExecCount, Turn
from hutch.model.volumes import Mount, Volume
from hutch.store import folding
from hutch.store.interface import Store

HOUR = timedelta(hours=1)
RUNS = (Charge.RUNNING, Charge.DISK)


async def run(store: Store) -> Machine:
    machine = a_machine()
    await store.add_machine(machine, an_event(machine))
    running = dataclasses.replace(machine, state=State.RUNNING)
    await store.save_machine(running, State.CREATING, an_event(machine), a_beginning(machine.id))
    return running


async def end(store: Store, machine: Machine, turn: Turn) -> None:
    await store.save_machine(dataclasses.replace(machine, state=State.STOPPED), State.RUNNING, an_event(machine), turn)


async def test_an_interval_begins_with_a_transition_and_ends_with_another(store: Store) -> None:
    machine = await run(store)
    assert list(await store.list_intervals(NOW, NOW + HOUR)) == [an_interval(machine.id)]
    await end(store, machine, Turn(machine.id, frozenset({Charge.RUNNING}), NOW + HOUR, ()))
    ended = dataclasses.replace(an_interval(machine.id), until=NOW + HOUR, is_open=False)
    assert list(await store.list_intervals(NOW, NOW + HOUR, OURS.id, machine.id)) == [ended]


async def test_a_transition_that_is_refused_changes_no_usage(store: Store) -> None:
    machine = await run(store)
    stopped = dataclasses.replace(machine, state=State.STOPPED)
    turn = Turn(machine.id, frozenset({Charge.RUNNING}), NOW + HOUR, ())
    with pytest.raises(errors.Conflict):
        await store.save_machine(stopped, State.PAUSED, an_event(machine), turn)
    assert list(await store.list_intervals(NOW, NOW + HOUR)) == [an_interval(machine.id)]


async def test_an_open_interval_goes_on_with_every_heartbeat_and_can_end_at_the_last(store: Store) -> None:
    machine = await run(store)
    await store.beat(NOW + HOUR, [])
    await store.beat(NOW, [])
    await end(store, machine, Turn(machine.id, frozenset({Charge.RUNNING}), None, ()))
    await store.beat(NOW + 2 * HOUR, [])
    (interval,) = await store.list_intervals(NOW, NOW + HOUR)
    assert (interval.until, interval.is_open) == (NOW + HOUR, False)


async def test_a_heartbeat_takes_turns_with_it(store: Store) -> None:
    pool, kept = "p", frozenset({Charge.POOL})
    await store.beat(NOW, [], [Turn(pool, kept, NOW, (an_interval(pool, Charge.POOL),))])
    await store.beat(NOW + HOUR, [])
    later = an_interval(pool, Charge.POOL, NOW + HOUR)
    await store.beat(NOW + 2 * HOUR, [], [Turn(pool, kept, NOW + HOUR, (later,)), Turn(pool, kept, None, ())])
    times = [(it.start, it.until, it.is_open) for it in await store.list_intervals(NOW, NOW + HOUR * 9)]
    assert times == [(NOW, NOW + HOUR, False), (NOW + HOUR, NOW + HOUR, False)]


async def test_only_what_ends_is_ended_and_what_begins_has_its_place_at_once(store: Store) -> None:
    machine = await run(store)
    disk = a_beginning(machine.id, Charge.DISK)
    await store.save_machine(machine, State.RUNNING, an_event(machine), disk)
    paused = an_interval(machine.id, Charge.PAUSED, NOW + HOUR)
    await end(store, machine, Turn(machine.id, frozenset({Charge.RUNNING}), NOW + HOUR, (paused,)))
    found = {it.charge: it.is_open for it in await store.list_intervals(NOW, NOW + 2 * HOUR)}
    assert found == {Charge.RUNNING: False, Charge.DISK: True, Charge.PAUSED: True}


async def test_intervals_are_found_by_period_tenant_and_subject(store: Store) -> None:
    machine = await run(store)
    await end(store, machine, Turn(machine.id, frozenset({Charge.RUNNING}), NOW + HOUR, ()))
    for start, until, tenant, subject, count in (
        (NOW, NOW + HOUR, None, None, 1),
        (NOW - HOUR, NOW, None, None, 0),
        (NOW + HOUR, NOW + 2 * HOUR, None, None, 1),
        (NOW + 2 * HOUR, NOW + 3 * HOUR, None, None, 0),
        (NOW, NOW + HOUR, THEIRS.id, None, 0),
        (NOW, NOW + HOUR, OURS.id, MachineId("other"), 0),
    ):
        assert len(await store.list_intervals(start, until, tenant, subject)) == count


async def test_several_transitions_carry_their_usage_at_once_or_not_at_all(store: Store) -> None:
    machines = [a_machine(name) for name in ("a", "b")]
    changes: list[tuple[Machine, State, Event]] = []
    for machine in machines:
        await store.add_machine(machine, an_event(machine))
        changes.append((dataclasses.replace(machine, state=State.RUNNING), State.CREATING, an_event(machine)))
    turns = [a_beginning(machine.id) for machine in machines]
    with pytest.raises(errors.Conflict):
        await store.save_machines([*changes[:1], (machines[1], State.PAUSED, changes[1][2])], turns)
    assert list(await store.list_intervals(NOW, NOW + HOUR)) == []
    await store.save_machines(changes, turns)
    assert len(await store.list_intervals(NOW, NOW + HOUR)) == 2


async def test_a_count_of_execs_replaces_that_of_the_same_minute_and_run(store: Store) -> None:
    machine, minute = MachineId("m"), NOW.replace(second=0, microsecond=0)
    first = ExecCount(machine, OURS.id, minute, "run", 1, 0.5)
    again = dataclasses.replace(first, count=3, seconds=1.5)
    other = dataclasses.replace(first, run="another")
    for counts in ([first], [again, other], [again]):
        await store.beat(NOW, counts)
    found = await store.list_execs(minute, minute + HOUR, OURS.id, machine)
    assert sorted((it.run, it.count, it.seconds) for it in found) == [("another", 1, 0.5), ("run", 3, 1.5)]
    assert list(await store.list_execs(minute - HOUR, minute)) == []
    assert list(await store.list_execs(minute, minute + HOUR, THEIRS.id)) == []
    assert list(await store.list_execs(minute, minute + HOUR, subject="other")) == []


async def test_a_tenants_limits_and_suspension_are_kept(store: Store) -> None:
    changed = dataclasses.replace(OURS, is_suspended=True, limits=Limits(machines=3, requests_per_second=2.5))
    await store.save_tenant(changed)
    assert list((await store.load()).tenants) == [changed, THEIRS]


async def test_a_volume_comes_back_until_it_is_removed(store: Store) -> None:
    volume = Volume(VolumeId("v"), OURS.id, "data", 7, NOW)
    await store.add_volume(volume, a_beginning("v", Charge.VOLUME))
    with pytest.raises(errors.Conflict, match="there is already a volume named data"):
        await store.add_volume(dataclasses.replace(volume, id=VolumeId("w")), a_beginning("w", Charge.VOLUME))
    assert list((await store.load()).volumes) == [volume]
    assert [it.subject for it in await store.list_intervals(NOW, NOW + HOUR)] == ["v"]
    for _ in range(2):
        await store.remove_volume(volume.id, Turn("v", frozenset({Charge.VOLUME}), NOW + HOUR, ()))
    assert list((await store.load()).volumes) == []
    (interval,) = await store.list_intervals(NOW, NOW + HOUR)
    assert (interval.until, interval.is_open) == (NOW + HOUR, False)


async def test_a_machines_metadata_and_mounts_come_back_as_they_were(store: Store) -> None:
    machine = a_machine()
    spec = dataclasses.replace(machine.spec, mounts=(Mount(VolumeId("v"), "/data", readonly=True),))
    machine = dataclasses.replace(machine, spec=spec, metadata={"a": {"b": [1, None, "ä"]}})
    await store.add_machine(machine, an_event(machine))
    assert await store.get_machine(machine.id) == machine


async def test_an_events_kind_is_kept(store: Store) -> None:
    machine = a_machine()
    await store.add_machine(machine, dataclasses.replace(an_event(machine), kind="machine.created"))
    assert [event.kind for event in await store.list_events(machine.id, 9)] == ["machine.created"]


async def fold(store: Store, before: datetime) -> None:
    while await store.fold(before):
        pass


async def test_what_ended_long_ago_is_kept_by_the_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "BATCH", 1)
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    start = midnight + 23 * HOUR
    machine = a_machine()
    await store.add_machine(machine, an_event(machine))
    begin = Turn(machine.id, frozenset(), None, tuple(an_interval(machine.id, it, start) for it in RUNS))
    running = dataclasses.replace(machine, state=State.RUNNING)
    await store.save_machine(running, State.CREATING, an_event(machine), begin)
    await store.beat(start, [ExecCount(machine.id, OURS.id, start + n * HOUR, "r", 1, 0.5) for n in range(3)])
    await end(store, running, Turn(machine.id, frozenset({Charge.RUNNING}), start + 26 * HOUR, ()))
    await fold(store, start + 26 * HOUR)
    assert await store.list_days(start + 99 * HOUR) == [
        Day(OURS.id, machine.id, midnight, execs=1, exec_seconds=0.5),
        Day(OURS.id, machine.id, midnight + 24 * HOUR, execs=2, exec_seconds=1.0),
    ]
    await fold(store, start + 27 * HOUR)
    await fold(store, start + 27 * HOUR)
    hour, days = 3600.0, await store.list_days(start + 99 * HOUR, OURS.id, machine.id)
    assert [(it.uptime_seconds, it.cpu_seconds) for it in days] == [(hour, hour), (24 * hour, 24 * hour), (hour, hour)]
    assert [(it.memory_mib_seconds, it.machines, it.execs) for it in days] == [
        *((hour * 512, 0, 1), (24 * hour * 512, 0, 2), (hour * 512, 0, 0))
    ]
    assert [it.charge for it in await store.list_intervals(NOW, NOW + 99 * HOUR)] == [Charge.DISK]
    assert await store.list_days(midnight + 24 * HOUR) == [days[0]]
    assert await store.list_days(start + 99 * HOUR, THEIRS.id) == []


async def test_of_what_was_deleted_long_ago_only_the_tenants_days_are_left(store: Store) -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    for name, hours in (("a", 1), ("b", 30)):
        machine = a_machine(name)
        await store.add_machine(machine, an_event(machine))
        begin = Turn(machine.id, frozenset(), None, (an_interval(machine.id, Charge.DISK, midnight),))
        await store.save_machine(machine, State.CREATING, an_event(machine), begin)
        gone = dataclasses.replace(machine, state=State.DESTROYED)
        ended = Turn(machine.id, frozenset({Charge.DISK}), midnight + hours * HOUR, ())
        await store.save_machine(gone, State.CREATING, an_event(machine), ended)
    await fold(store, midnight + 99 * HOUR)
    days = await store.list_days(midnight + 99 * HOUR)
    assert [(it.subject, it.day, it.machines, it.begun, it.ended) for it in days] == [
        *(("", midnight, 0, 2, 1), ("", midnight + 24 * HOUR, 0, 0, 1))
    ]
    assert await store.list_intervals(midnight, midnight + 99 * HOUR) == []
