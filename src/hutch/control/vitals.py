"""How running machines fare, as their own kernels say. Looking never wakes one and is no activity.

How busy the CPUs were can only be told of an interval: of each machine the last look is kept, and the next one tells
of the time between the two.
"""

import asyncio
import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.records import Entry
from hutch.model import errors
from hutch.model.guest import GuestStats
from hutch.model.ids import MachineId, TenantId
from hutch.model.states import State

T = TypeVar("T")

BETWEEN = 0.25
"""Seconds between the two looks at a machine that was not looked at before."""

SHORTEST = 0.2
"""CPU seconds that must lie between two looks to tell anything; sooner, what was told last is told again."""

LIMIT = 5.0
"""Seconds a guest has to answer."""

INTERVALS = (0.1, 10.0)
"""Seconds between two samples of a stream, at least and at most."""

STREAMS = 100
"""Of one tenant at a time: each asks its guest up to ten times a second."""

REMEMBERED = 4096
"""Machines whose last look is kept; of more, those not looked at for the longest time are forgotten."""

AT_ONCE = 16
"""Guests that one caller has asked at the same time."""


@dataclass(frozen=True, slots=True)
class Vital:
    """One look. `uptime` are seconds since it last began to run: booted, or woken."""

    cpu_percent: float  # of all its vCPUs, 0 to 100, since the look before
    memory_used: int  # bytes
    disk_used: int  # bytes
    uptime: float
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class Sample:
    """One of a stream of looks. Memory is in bytes."""

    cpu_percent: float  # of all its vCPUs, 0 to 100, since the sample before
    memory_total: int
    memory_used: int
    memory_available: int
    at: datetime


@dataclass(frozen=True, slots=True)
class _Look:
    stats: GuestStats
    cpu_percent: float


class Vitals:
    """The last look at each machine."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._looks: OrderedDict[MachineId, _Look] = OrderedDict()
        self._streams: Counter[TenantId] = Counter()

    async def look(self, principal: Principal, machine: MachineId) -> Vital:
        """A running machine now. Needs `machine:read`. `NotRunning`; `TimedOut`, `AgentUnavailable` of its guest."""
        entry = self._fleet.entry(principal, machine, "machine:read")
        _check_runs(entry)
        return await self._measure(entry, asyncio.Semaphore())

    async def glance(
        self, principal: Principal, machines: Iterable[MachineId], patience: float
    ) -> Mapping[MachineId, Vital]:
        """Those of them that run and answer within so many seconds in all. Needs `machine:read`."""
        principal.require("machine:read")
        entries = [self._fleet.entry(principal, machine, "machine:read") for machine in machines]
        return await self._of_all(entries, patience, self._measure)

    async def cpu_times(
        self, principal: Principal, machines: Iterable[MachineId], patience: float
    ) -> Mapping[MachineId, float]:
        """The same, for how many seconds all their vCPUs were busy since they booted; of what is gone nothing."""
        principal.require("machine:read")

        async def ask(entry: Entry, places: asyncio.Semaphore) -> float:
            return (await self._ask(entry.machine.id, places)).cpu_busy

        entries = [self._fleet.records.get(machine) for machine in machines]
        own = [it for it in entries if it is not None and it.machine.tenant == principal.tenant]
        return await self._of_all(own, patience, ask)

    async def _of_all(
        self, entries: Iterable[Entry], patience: float, ask: Callable[[Entry, asyncio.Semaphore], Awaitable[T]]
    ) -> Mapping[MachineId, T]:
        places, found = asyncio.Semaphore(AT_ONCE), dict[MachineId, T]()

        async def one(entry: Entry) -> None:
            found[entry.machine.id] = await ask(entry, places)

        asking = [asyncio.create_task(one(it)) for it in entries if it.machine.state is State.RUNNING]
        if asking:
            _, late = await asyncio.wait(asking, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return found

    async def stream(
        self, principal: Principal, machine: MachineId, interval: float = 1.0
    ) -> AsyncGenerator[Sample, None]:
        """A sample every `interval` seconds (0.1 to 10: beyond, the nearest), for as long as the machine runs.

        Needs `machine:read`. `NotRunning` if it does not, `TimedOut` or `AgentUnavailable` if its guest does not
        answer, both before the first sample; what goes wrong later ends the stream. Looking: it ends with a suspend,
        and wakes nothing. `RateLimited` beyond `STREAMS`.
        """
        entry = self._fleet.entry(principal, machine, "machine:read")
        _check_runs(entry)
        if self._streams[principal.tenant] >= STREAMS:
            raise errors.RateLimited(f"{STREAMS} streams of samples are open: end one of them")
        self._streams[principal.tenant] += 1
        try:
            async with contextlib.aclosing(self._samples(entry, interval)) as samples:
                async for sample in samples:
                    yield sample
        finally:
            self._streams[principal.tenant] -= 1

    async def _samples(self, entry: Entry, interval: float) -> AsyncGenerator[Sample, None]:
        machine = entry.machine.id
        interval, places = min(max(interval, INTERVALS[0]), INTERVALS[1]), asyncio.Semaphore()
        rate, before, has_told = 0.0, await self._ask(machine, places), False
        due = time.monotonic() + min(interval, BETWEEN)
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + interval, time.monotonic())  # what came too late is not made up for
            try:
                _check_runs(entry)
                now = await self._ask(machine, places)
            except errors.HutchError:
                if has_told:
                    return
                raise
            rate, before, has_told = _rate(before, now, rate), now, True
            used = max(0, now.memory_total - now.memory_available)
            yield Sample(rate, now.memory_total, used, now.memory_available, self._clock.now())

    async def _measure(self, entry: Entry, places: asyncio.Semaphore) -> Vital:
        machine = entry.machine.id
        stats = await self._ask(machine, places)
        if not self._goes_on(machine, stats):
            self._note(machine, stats)
            await asyncio.sleep(BETWEEN)
            stats = await self._ask(machine, places)
        return self._told(entry, stats)

    async def _ask(self, machine: MachineId, places: asyncio.Semaphore) -> GuestStats:
        try:
            async with asyncio.timeout(LIMIT), places:
                return await self._fleet.host.stats(machine)
        except TimeoutError:
            raise errors.TimedOut(f"the guest of machine {machine} did not answer within {LIMIT:g} s") from None

    def _goes_on(self, machine: MachineId, stats: GuestStats) -> bool:
        """Whether it was looked at before, and has not begun anew since."""
        before = self._looks.get(machine)
        return before is not None and stats.cpu_total >= before.stats.cpu_total and stats.uptime >= before.stats.uptime

    def _note(self, machine: MachineId, stats: GuestStats) -> float:
        before = self._looks.pop(machine, None) if self._goes_on(machine, stats) else None
        busy = stats.cpu_busy - (before.stats.cpu_busy if before else 0.0)
        total = stats.cpu_total - (before.stats.cpu_total if before else 0.0)
        look = _Look(stats, min(100.0, max(0.0, 100 * busy / total)) if total > 0 else 0.0)
        if before is not None and total < SHORTEST:
            look = before
        self._looks[machine] = look
        self._looks.move_to_end(machine)
        while len(self._looks) > REMEMBERED:
            self._looks.popitem(last=False)
        return look.cpu_percent

    def _told(self, entry: Entry, stats: GuestStats) -> Vital:
        machine, now = entry.machine, self._clock.now()
        began = machine.ready_at or now
        return Vital(
            cpu_percent=self._note(machine.id, stats),
            memory_used=max(0, stats.memory_total - stats.memory_available),
            disk_used=max(0, stats.disk_total - stats.disk_available),
            uptime=max(0.0, (now - began).total_seconds()),
            answered_at=now,
        )


def _check_runs(entry: Entry) -> None:
    it = entry.machine
    if it.state is not State.RUNNING:
        raise errors.NotRunning(f"machine {it.id} is {it.state}: only one that runs can be measured")


def _rate(before: GuestStats, now: GuestStats, last: float) -> float:
    """How busy its CPUs were between two looks; as `last` told if no time has passed, or the guest began anew."""
    total = now.cpu_total - before.cpu_total
    return min(100.0, max(0.0, 100 * (now.cpu_busy - before.cpu_busy) / total)) if total > 0 else last
