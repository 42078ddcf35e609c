"""How machines fare, as their guests say."""

import asyncio
import contextlib
import dataclasses

import pytest

from hutch.control import vitals
from hutch.model import errors
from hutch.model.guest import GuestStats
from hutch.model.ids import MachineId
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig

MIB = 2**20


class Guests:
    """What every guest says of itself, as a test has it."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = GuestStats(100.0, 10.0, 100.0, 128 * MIB, 100 * MIB, 20 * MIB, 15 * MIB, 3)
        self.asked = 0
        self.silent: set[MachineId] = set()
        self.ahead: list[tuple[float, float]] = []  # what is done before each of the next answers
        monkeypatch.setattr(rig.plane.core.fleet.host, "stats", self._stats)
        monkeypatch.setattr(vitals, "BETWEEN", 0.0)

    async def _stats(self, machine: MachineId) -> GuestStats:
        self.asked += 1
        if machine in self.silent:
            await asyncio.Event().wait()
        if self.ahead:
            self.work(*self.ahead.pop(0))
        return self.now

    def work(self, busy: float, total: float) -> None:
        self.now = dataclasses.replace(
            self.now,
            cpu_busy=self.now.cpu_busy + busy,
            cpu_total=self.now.cpu_total + total,
            uptime=self.now.uptime + total,
        )


@pytest.fixture
def guests(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Guests:
    return Guests(rig, monkeypatch)


async def test_cpus_are_told_since_the_look_before(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    await rig.plane.vitals.look(rig.me, machine)
    for busy in (5.0, 0.0, 10.0):
        guests.work(busy, 10.0)
        assert (await rig.plane.vitals.look(rig.me, machine)).cpu_percent == busy * 10


async def test_the_first_look_is_two(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    await rig.plane.vitals.look(rig.me, machine)
    assert guests.asked == 2
    await rig.plane.vitals.look(rig.me, machine)
    assert guests.asked == 3


async def test_two_looks_at_once_tell_the_same(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    await rig.plane.vitals.look(rig.me, machine)
    guests.work(5.0, 10.0)
    first = await rig.plane.vitals.look(rig.me, machine)
    guests.work(0.01, 0.01)
    assert (await rig.plane.vitals.look(rig.me, machine)).cpu_percent == first.cpu_percent == 50


async def test_a_guest_that_has_booted_again_is_looked_at_anew(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    await rig.plane.vitals.look(rig.me, machine)
    guests.now = dataclasses.replace(guests.now, uptime=1.0, cpu_busy=0.5, cpu_total=1.0)
    assert (await rig.plane.vitals.look(rig.me, machine)).cpu_percent == 50


async def test_memory_and_disk_are_what_is_used_and_uptime_is_the_machines_own(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    rig.clock.advance(42)
    it = await rig.plane.vitals.look(rig.me, machine)
    assert (it.memory_used, it.disk_used, it.uptime) == (28 * MIB, 5 * MIB, 42)
    assert it.answered_at == rig.clock.now()


async def test_what_does_not_run_is_not_measured_and_not_woken(rig: Rig, guests: Guests) -> None:
    machine, running = await rig.launch(), await rig.launch()
    await rig.plane.machines.suspend(rig.me, machine)
    with pytest.raises(errors.NotRunning):
        await rig.plane.vitals.look(rig.me, machine)
    assert set(await rig.plane.vitals.glance(rig.me, [machine, running], 30)) == {running}
    assert rig.state(machine) is State.SUSPENDED


async def test_looking_is_no_activity(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    before = rig.get(machine).last_activity_at
    rig.clock.advance(10)
    await rig.plane.vitals.look(rig.me, machine)
    await rig.plane.vitals.glance(rig.me, [machine], 30)
    assert rig.get(machine).last_activity_at == before


async def test_a_glance_does_not_wait_for_a_guest_that_is_silent(rig: Rig, guests: Guests) -> None:
    silent, running = await rig.launch(), await rig.launch()
    guests.silent.add(silent)
    assert set(await rig.plane.vitals.glance(rig.me, [silent, running], 2.0)) == {running}


async def test_a_guest_that_is_silent_is_given_up(rig: Rig, guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await rig.launch()
    guests.silent.add(machine)
    monkeypatch.setattr(vitals, "LIMIT", 0.01)
    with pytest.raises(errors.TimedOut):
        await rig.plane.vitals.look(rig.me, machine)


async def test_looks_are_bounded(rig: Rig, guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "REMEMBERED", 2)
    machines = [await rig.launch() for _ in range(3)]
    for machine in machines:
        await rig.plane.vitals.look(rig.me, machine)
    asked = guests.asked
    await rig.plane.vitals.look(rig.me, machines[2])
    await rig.plane.vitals.look(rig.me, machines[0])
    assert guests.asked == asked + 1 + 2


async def test_only_ones_own_are_looked_at(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    for who, error in (
        (await rig.someone(tenant="other"), errors.NotFound),
        (await rig.someone("usage:read"), errors.Forbidden),
    ):
        with pytest.raises(error):
            await rig.plane.vitals.look(who, machine)
        with pytest.raises(error):
            await rig.plane.vitals.glance(who, [machine], 30)


async def test_a_stream_tells_of_the_time_between_its_samples(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    guests.ahead = [(0.0, 0.0), (2.0, 10.0), (5.0, 10.0), (5.0, 10.0)]
    async with asyncio.timeout(LIMIT), contextlib.aclosing(rig.plane.vitals.stream(rig.me, machine, 0.1)) as stream:
        seen = [await anext(stream) for _ in range(3)]
    assert [it.cpu_percent for it in seen] == [20.0, 50.0, 50.0]
    told = seen[0]
    assert (told.memory_total, told.memory_used, told.memory_available) == (128 * MIB, 28 * MIB, 100 * MIB)


async def test_a_stream_ends_with_its_machine_and_does_not_wake_it(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    async with asyncio.timeout(LIMIT), contextlib.aclosing(rig.plane.vitals.stream(rig.me, machine, 0.1)) as stream:
        await anext(stream)
        await rig.plane.machines.stop(rig.me, machine)
        async for _ in stream:
            pass
    assert rig.state(machine) is State.STOPPED
    with pytest.raises(errors.NotRunning):
        await anext(rig.plane.vitals.stream(rig.me, machine))


async def test_what_goes_wrong_before_the_first_sample_is_told(
    rig: Rig, guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await rig.launch()
    real = guests._stats

    async def stats(it: MachineId) -> GuestStats:
        if guests.asked == 1:
            raise errors.AgentUnavailable("gone")
        return await real(it)

    monkeypatch.setattr(rig.plane.core.fleet.host, "stats", stats)
    with pytest.raises(errors.AgentUnavailable):
        await anext(rig.plane.vitals.stream(rig.me, machine))

    async def last_words(it: MachineId) -> GuestStats:
        await rig.plane.machines.stop(rig.me, it)
        return guests.now

    monkeypatch.setattr(rig.plane.core.fleet.host, "stats", last_words)
    with pytest.raises(errors.NotRunning):
        await anext(rig.plane.vitals.stream(rig.me, machine))


async def test_streams_of_a_tenant_are_bounded(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    async with contextlib.AsyncExitStack() as open_ones:
        for _ in range(100):
            stream = rig.plane.vitals.stream(rig.me, machine)
            await open_ones.enter_async_context(contextlib.aclosing(stream))
            await anext(stream)
        with pytest.raises(errors.RateLimited):
            await anext(rig.plane.vitals.stream(rig.me, machine))
    async with contextlib.aclosing(rig.plane.vitals.stream(rig.me, machine)) as stream:
        assert await anext(stream)


async def test_a_stream_is_no_use_of_its_machine(rig: Rig, guests: Guests) -> None:
    machine = await rig.launch()
    before = rig.get(machine).last_activity_at
    rig.clock.advance(5)
    async with asyncio.timeout(LIMIT), contextlib.aclosing(rig.plane.vitals.stream(rig.me, machine, 0.1)) as stream:
        await anext(stream)
        await anext(stream)
    assert rig.get(machine).last_activity_at == before
