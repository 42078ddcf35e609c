"""Usage: metered from the transitions, exact across crashes."""

import asyncio
import contextlib
import dataclasses
import itertools
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from hutch import settings
from hutch.control import metering
from hutch.control.machines import ForkRequest
from hutch.host.interface import Life
from hutch.host.simulated.host import SimulatedHost
from hutch.model import errors
from hutch.model.ids import MachineId, TenantId
from hutch.model.states import State
from hutch.model.usage import Charge, Interval, Rate, Usage
from unit.control.rig import Rig, turn

HOUR = 3600.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def of(rig: Rig, machine: MachineId) -> Usage:
    return (await rig.plane.usage.of_machine(rig.me, machine)).usage


async def test_a_running_hour_is_an_hour_of_its_vcpus_and_memory(rig: Rig) -> None:
    machine = await rig.launch(cpus=2, memory_mib=1024, disk_gib=10)
    rig.clock.advance(HOUR)
    expected = Usage(HOUR, cpu_hours=2.0, memory_gib_hours=1.0, disk_gib_hours=10.0, machines=1)
    assert await of(rig, machine) == expected


async def test_paused_it_costs_memory_stopped_and_suspended_its_disk_alone(rig: Rig) -> None:
    machine, machines = await rig.launch(cpus=1, memory_mib=1024, disk_gib=1), rig.plane.machines
    spent = []
    for verb in (machines.pause, machines.suspend, machines.stop):
        before = await of(rig, machine)
        await verb(rig.me, machine)
        rig.clock.advance(HOUR)
        after = await of(rig, machine)
        spent.append((after.cpu_hours - before.cpu_hours, after.memory_gib_hours - before.memory_gib_hours))
    assert spent == [(0.0, 1.0), (0.0, 0.0), (0.0, 0.0)]
    assert (await of(rig, machine)).disk_gib_hours == 3.0


async def test_a_disk_that_grows_is_charged_at_each_size_for_its_time(rig: Rig) -> None:
    machine = await rig.create(disk_gib=10)
    rig.clock.advance(HOUR)
    await rig.plane.machines.resize(rig.me, machine, 30)
    rig.clock.advance(HOUR)
    assert (await of(rig, machine)).disk_gib_hours == 40.0


async def test_a_deleted_machine_is_charged_no_more_and_still_told_of(rig: Rig) -> None:
    machine = await rig.launch(cpus=1)
    rig.clock.advance(HOUR)
    await rig.plane.machines.delete(rig.me, machine)
    rig.clock.advance(HOUR)
    assert (await of(rig, machine)).cpu_hours == 1.0
    report = await rig.plane.usage.report(rig.me)
    assert (report.usage.cpu_hours, report.usage.machines) == (1.0, 1)


async def test_a_report_is_clipped_to_its_period(rig: Rig) -> None:
    began = rig.clock.now()
    await rig.launch(cpus=1)
    rig.clock.advance(10 * HOUR)
    for start, end, hours in ((0, 4, 4.0), (2, 5, 3.0), (8, 99, 2.0), (10, 99, 0.0)):
        period = (began + timedelta(hours=start), began + timedelta(hours=end))
        assert (await rig.plane.usage.report(rig.me, *period)).usage.cpu_hours == hours
    with pytest.raises(errors.InvalidRequest, match="lies before the start"):
        await rig.plane.usage.report(rig.me, began + timedelta(hours=1), began)


async def test_machines_are_those_that_existed_in_the_period(rig: Rig) -> None:
    began = rig.clock.now()
    first = await rig.create()
    rig.clock.advance(HOUR)
    await rig.create()
    await rig.plane.machines.delete(rig.me, first)
    rig.clock.advance(HOUR)
    counts = []
    for start, end in ((0, 1), (0.5, 2), (1.5, 2)):
        period = (began + timedelta(hours=start), began + timedelta(hours=end))
        counts.append((await rig.plane.usage.report(rig.me, *period)).usage.machines)
    assert counts == [1, 2, 1]


async def test_a_fork_is_charged_from_the_moment_it_runs(rig: Rig) -> None:
    source = await rig.launch(cpus=1)
    (child,) = await rig.plane.machines.fork(rig.me, source, ForkRequest())
    rig.clock.advance(HOUR)
    assert (await of(rig, child.id)).cpu_hours == 1.0


async def test_execs_are_counted_with_the_time_they_took(rig: Rig) -> None:
    machine = await rig.launch()
    for line in ("true", "sleep 0.05", "exit 3"):
        await rig.run(machine, line)
    found = await of(rig, machine)
    assert found.execs == 3
    assert 0.05 < found.exec_seconds < 5


async def test_counts_that_could_not_be_written_are_written_later_and_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await rig.launch()
    await rig.run(machine, "true")
    real = rig.store.beat

    async def lose_the_answer(*arguments: object) -> None:
        await real(*arguments)  # type: ignore[arg-type]
        raise errors.HutchError("the database failed")

    with monkeypatch.context() as broken:
        broken.setattr(rig.store, "beat", lose_the_answer)
        with pytest.raises(errors.HutchError):
            await rig.plane.core.meter.beat()
    assert (await of(rig, machine)).execs == 1
    rig.clock.advance(120)
    await rig.run(machine, "true")
    assert (await of(rig, machine)).execs == 2
    await rig.restart()
    await rig.run(machine, "true")
    assert (await of(rig, machine)).execs == 3


async def test_only_the_admin_of_the_box_sees_another_tenants_usage(rig: Rig) -> None:
    tenant = await rig.plane.tenants.create(rig.me, "them")
    _, token = await rig.plane.keys.create(rig.me, scopes=["usage:read"], tenant=tenant.id)
    they = rig.plane.keys.authenticate(token)
    await rig.launch()
    rig.clock.advance(HOUR)
    usage = rig.plane.usage
    assert (await usage.report(rig.me, tenant=tenant.id)).usage == (await usage.report(they)).usage == Usage()
    for asked in (rig.me.tenant, TenantId("nobody")):
        with pytest.raises((errors.NotFound, errors.Forbidden)):
            await usage.report(they, tenant=asked)
    with pytest.raises(errors.NotFound):
        await usage.report(rig.me, tenant=TenantId("nobody"))


async def test_another_tenants_machine_is_not_found_and_a_scope_is_needed(rig: Rig) -> None:
    machine = await rig.create()
    with pytest.raises(errors.NotFound):
        await rig.plane.usage.of_machine(await rig.someone(tenant="other"), machine)
    await rig.plane.usage.of_machine(await rig.someone("machine:read"), machine)
    await rig.plane.usage.of_machine(await rig.someone("usage:read"), machine)
    with pytest.raises(errors.Forbidden):
        await rig.plane.usage.of_machine(await rig.someone("machine:exec"), machine)
    with pytest.raises(errors.Forbidden):
        await rig.plane.usage.report(await rig.someone("machine:read"))


async def test_a_heartbeat_is_written_as_often_as_the_setting_says(rig: Rig) -> None:
    await asyncio.sleep(0)
    machine = await rig.launch(cpus=1)
    for _ in range(45):
        rig.clock.advance(1)
        for _ in range(3):
            await asyncio.sleep(0)
    (interval,) = [it for it in await intervals(rig, machine) if it.charge is Charge.RUNNING]
    assert 15 <= (rig.clock.now() - interval.until).total_seconds() <= 31
    assert interval.until > interval.start


async def intervals(rig: Rig, machine: MachineId) -> list[Interval]:
    began = rig.get(machine).created_at
    return list(await rig.store.list_intervals(began, began + timedelta(days=9), subject=machine))


@pytest.mark.parametrize("state", State)
async def test_what_each_state_costs(rig: Rig, state: State) -> None:
    machine = dataclasses.replace(rig.get(await rig.create()), state=state)
    charges = set(metering.find_charges(machine))
    memory = {State.RUNNING: {Charge.RUNNING}, State.PAUSED: {Charge.PAUSED}}.get(state, set())
    disk = set() if state in (State.CREATING, State.DESTROYING, State.DESTROYED) else {Charge.DISK}
    assert charges == memory | disk


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.booleans()), max_size=6),
    st.lists(st.integers(0, 120), min_size=2, max_size=6),
)
def test_reports_of_parts_add_up_to_the_report_of_the_whole(
    spans: list[tuple[int, int, bool]], cuts: list[int]
) -> None:
    def at(seconds: int) -> datetime:
        return NOW + timedelta(seconds=seconds)

    its = [
        Interval("m", TenantId("t"), Charge.RUNNING, at(min(a, b)), at(max(a, b)), is_open, Rate(2, 512))
        for a, b, is_open in spans
    ]

    def seconds(start: int, end: int) -> float:
        return metering.sum_up(its, [], [], at(start), at(end), at(110)).uptime_seconds

    cuts.sort()
    parts = sum(seconds(start, end) for start, end in itertools.pairwise(cuts))
    assert parts == pytest.approx(seconds(cuts[0], cuts[-1]))


class Oracle:
    """What should have been counted, kept by hand; moments in seconds since the beginning."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ended = 0.0  # seconds of what has ended
        self.since: float | None = None
        self.written = 0.0  # the last moment that a crash does not take away

    def see(self, is_running: bool) -> None:
        """The service is there, and sees whether it runs."""
        if is_running and self.since is None:
            self.since = self.written = self.now
        elif not is_running:
            self.end(self.now)

    def end(self, at: float) -> None:
        """It ran until then."""
        if self.since is not None:
            self.ended += at - self.since
        self.since = None

    @property
    def seconds(self) -> float:
        return self.ended + (0.0 if self.since is None else self.now - self.since)


VERBS = ("start", "stop", "pause", "resume", "suspend")
STEPS = st.sampled_from([*VERBS, "wait", "beat", "die", "crash", "crash and die"])


@bounds(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(STEPS, st.integers(1, 500)), max_size=14))
@example([("start", 10), ("crash", 100), ("crash and die", 5)])
@example([("start", 10), ("beat", 7), ("crash and die", 5), ("start", 3), ("crash", 2)])
@example([("start", 10), ("pause", 7), ("crash", 5), ("resume", 3), ("suspend", 2), ("crash", 2), ("resume", 9)])
def test_every_second_is_counted_once_and_none_is_lost_that_was_written(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        asyncio.run(live(Path(root), steps))


async def live(root: Path, steps: list[tuple[str, int]]) -> None:
    rig = Rig(root / "world", settings.Machines(stop_grace=1.0))
    rig.tenants = settings.Tenants(heartbeat=1e9)
    rig.plane = rig.assemble(rig.store, SimulatedHost(rig.world))
    await rig.open()
    machine, oracle = await rig.create(cpus=1), Oracle()
    for step, seconds in steps:
        await take(rig, machine, oracle, step, seconds)
        oracle.see(rig.state(machine) is State.RUNNING)
        rig.clock.advance(seconds)
        oracle.now += seconds
    found = await of(rig, machine)
    assert found.uptime_seconds == pytest.approx(oracle.seconds)
    assert found.cpu_hours == pytest.approx(found.uptime_seconds / HOUR)
    await rig.plane.close()
    await rig.world.close()


async def take(rig: Rig, machine: MachineId, oracle: Oracle, step: str, seconds: int) -> None:
    """One step; what the oracle cannot see by itself it is told."""
    if step in VERBS:
        with contextlib.suppress(errors.HutchError):
            await getattr(rig.plane.machines, step)(rig.me, machine)
    elif step == "beat":
        await rig.plane.core.meter.beat()
        oracle.written = oracle.now
    elif step == "die" and rig.life(machine) is Life.RUNNING:
        await rig.world.die(machine)
        await rig.come(machine, State.FAILED)
    elif step.startswith("crash"):
        is_dying = step == "crash and die" and rig.life(machine) is Life.RUNNING
        await rig.crash()
        if is_dying:
            await rig.world.die(machine)
            oracle.end(oracle.written)
        rig.clock.advance(seconds)
        oracle.now += seconds
        await rig.crash_and_restart()
        oracle.written = oracle.now


async def test_old_usage_is_kept_by_the_day_and_a_tenants_totals_stay_the_same(rig: Rig) -> None:
    await turn()
    began = rig.clock.now()
    machines = [await rig.launch(cpus=2, memory_mib=1024, disk_gib=10) for _ in range(3)]
    for machine in machines:
        await rig.run(machine, "true")
    rig.clock.advance(50 * HOUR)
    for machine in machines:
        await rig.plane.machines.stop(rig.me, machine)
    for machine in machines[:2]:
        await rig.plane.machines.delete(rig.me, machine)
    end = rig.clock.now()
    before = (await rig.plane.usage.report(rig.me, began, end)).usage
    assert (before.machines, before.execs, before.cpu_hours, before.disk_gib_hours) == (3, 3, 300.0, 1500.0)
    own = await of(rig, machines[2])
    rig.clock.advance(31 * 24 * HOUR)
    await turn(50)
    assert not await rig.store.list_execs(began, end)
    open_intervals = await rig.store.list_intervals(began, end)
    assert [(it.subject, it.charge) for it in open_intervals] == [(machines[2], Charge.DISK)]
    assert {it.subject for it in await rig.store.list_days(end)} == {"", machines[2]}
    after = (await rig.plane.usage.report(rig.me, began, end)).usage
    assert dataclasses.replace(after, exec_seconds=0) == dataclasses.replace(before, exec_seconds=0)
    assert after.exec_seconds == pytest.approx(before.exec_seconds)
    assert (await of(rig, machines[2])).uptime_seconds == own.uptime_seconds == 50 * HOUR
    with pytest.raises(errors.NotFound, match="for 30 days"):
        await of(rig, machines[0])
    later = (await rig.plane.usage.report(rig.me, end + timedelta(days=2))).usage
    assert (later.machines, later.uptime_seconds) == (1, 0.0)


async def test_usage_is_kept_exactly_for_as_long_as_is_said(rig: Rig) -> None:
    await turn()
    machine = await rig.launch()
    rig.clock.advance(HOUR)
    await rig.plane.machines.delete(rig.me, machine)
    rig.clock.advance(29 * 24 * HOUR)
    await turn(50)
    assert await rig.store.list_days(rig.clock.now()) == []
    assert (await of(rig, machine)).uptime_seconds == HOUR


async def test_a_heartbeat_that_nobody_waits_for_any_more_is_written(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, gate, real = await rig.launch(), asyncio.Event(), rig.store.beat
    await rig.run(machine, "true")

    async def beat(*arguments: object) -> None:
        await gate.wait()
        await real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as slow:
        slow.setattr(rig.store, "beat", beat)
        beating = asyncio.ensure_future(rig.plane.core.meter.beat())
        await turn()
        beating.cancel()
        await asyncio.wait([beating])
        gate.set()
    assert (await of(rig, machine)).execs == 1


async def test_execs_are_counted_once_each_though_the_clock_is_set_back(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.run(machine, "true")
    rig.clock.advance(120)
    assert (await of(rig, machine)).execs == 1
    rig.clock.set_back(120)
    await rig.run(machine, "true")
    rig.clock.advance(240)
    assert (await of(rig, machine)).execs == 2
