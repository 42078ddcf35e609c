"""What machines and volumes are charged for, and the meter that keeps count. The rules are pure.

                creating   stopped, suspended, failed,   running   paused   destroying, destroyed
                           and on the way to a state
    vCPUs          –                  –                     x         –               –
    memory         –                  –                     x         x               –
    disk           –                  x                     x         x               –

The ready members of a pool are charged to it for their memory, as paused machines are.

Every change of charge is written in the transaction of the transition that brings it, so record and usage never
disagree, whatever dies. What runs when the service dies has no seen end: its interval goes on if it is adopted
running, and ends at its last heartbeat if it is not.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.model import errors, ids
from hutch.model.ids import MachineId, PoolId
from hutch.model.machine import Machine, Pool
from hutch.model.states import State
from hutch.model.usage import Charge, Day, ExecCount, Interval, Rate, Turn, Usage, floor_day
from hutch.model.volumes import Volume
from hutch.store.interface import Store

HOUR = 3600.0
_WITHOUT_DISK = frozenset({State.CREATING, State.DESTROYING, State.DESTROYED})


def find_charges(machine: Machine) -> dict[Charge, Rate]:
    """What a machine is charged for in its state."""
    its, charges = machine.spec.resources, {}
    if machine.state not in _WITHOUT_DISK:
        charges[Charge.DISK] = Rate(disk_gib=its.disk_gib)
    if machine.state is State.RUNNING:
        charges[Charge.RUNNING] = Rate(its.cpus, its.memory_mib)
    elif machine.state is State.PAUSED:
        charges[Charge.PAUSED] = Rate(memory_mib=its.memory_mib)
    return charges


def find_turn(before: Machine, after: Machine, at: datetime, is_seen: bool = True) -> Turn | None:
    """How its usage changes with its record; None: it does not.

    `is_seen` False: nobody was there when it ended, so what ran ends at its last heartbeat. Disks are kept either way.
    """
    old, new = find_charges(before), find_charges(after)
    ends = frozenset(charge for charge, rate in old.items() if new.get(charge) != rate)
    begins = tuple(
        Interval(after.id, after.tenant, charge, at, at, is_open=True, rate=rate)
        for charge, rate in new.items()
        if old.get(charge) != rate
    )
    if not ends and not begins:
        return None
    ended_at = at if is_seen or Charge.DISK in ends else None
    return Turn(after.id, ends, ended_at, begins)


def begin_volume(volume: Volume) -> Turn:
    """It is charged from its creation…"""
    at, rate = volume.created_at, Rate(disk_gib=volume.size_gib)
    begun = Interval(volume.id, volume.tenant, Charge.VOLUME, at, at, is_open=True, rate=rate)
    return Turn(volume.id, frozenset(), None, (begun,))


def end_volume(volume: Volume, at: datetime) -> Turn:
    """… to its deletion."""
    return Turn(volume.id, frozenset({Charge.VOLUME}), at, ())


def find_pool_turn(pool: Pool, ready: int, at: datetime) -> Turn:
    """So many of its members are ready from now on."""
    rate = Rate(memory_mib=ready * pool.spec.resources.memory_mib)
    begun = Interval(pool.id, pool.tenant, Charge.POOL, at, at, is_open=True, rate=rate)
    return Turn(pool.id, frozenset({Charge.POOL}), at, (begun,) if ready else ())


def sum_up(
    intervals: Iterable[Interval],
    execs: Iterable[ExecCount],
    days: Collection[Day],
    start: datetime,
    end: datetime,
    now: datetime,
) -> Usage:
    """Usage from `start` to `end`. An interval counts for the part that lies within; an open one lasts until `now`.

    Of what is kept by the day, the day in which the period begins and that in which it ends count whole.
    """
    first = floor_day(start)
    within = [it for it in days if first <= it.day < end]
    seconds = sum(it.uptime_seconds for it in within)
    cpus = sum(it.cpu_seconds for it in within)
    memory = sum(it.memory_mib_seconds for it in within) / 1024
    disk = sum(it.disk_gib_seconds for it in within)
    machines = {it.subject for it in within if it.machines}
    forgotten = sum(it.begun for it in days if it.day < end) - sum(it.ended for it in days if it.day < first)
    for it in intervals:
        until = max(it.until, now) if it.is_open else it.until
        if it.start >= end or until < it.start or (until <= start and it.start < start):
            continue
        took = (min(until, end) - max(it.start, start)).total_seconds()
        seconds += took if it.charge is Charge.RUNNING else 0.0
        cpus += took * it.rate.cpus
        memory += took * it.rate.memory_mib / 1024
        disk += took * it.rate.disk_gib
        if it.charge is Charge.DISK:
            machines.add(it.subject)
    counts = list(execs)
    return Usage(
        uptime_seconds=seconds,
        cpu_hours=cpus / HOUR,
        memory_gib_hours=memory / HOUR,
        disk_gib_hours=disk / HOUR,
        machines=len(machines) + forgotten,
        execs=sum(count.count for count in counts) + sum(it.execs for it in within),
        exec_seconds=sum(count.seconds for count in counts) + sum(it.exec_seconds for it in within),
        sent_bytes=sum(count.sent_bytes for count in counts) + sum(it.sent_bytes for it in within),
    )


def floor_minute(moment: datetime) -> datetime:
    """The minute it is in."""
    return moment.replace(second=0, microsecond=0)


class Meter:
    """Counts execs and traffic in memory, and writes them with the heartbeat."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._run = ids.random_id()
        self._counts: dict[tuple[MachineId, datetime], ExecCount] = {}
        self._unwritten: set[tuple[MachineId, datetime]] = set()
        self._turns: list[Turn] = []  # of pools, to be written with the next heartbeat
        self._unsure: list[Turn] = []  # of before those: a heartbeat failed, and may be written all the same
        self._background = Background()
        self.books = asyncio.Lock()  # held while they are read and while they are folded: nothing is read twice
        self._beating = asyncio.Lock()
        self._is_resuming = False

    @contextlib.contextmanager
    def resuming(self) -> Iterator[None]:
        """While in here records and host are made to agree: what has ended did so unseen."""
        self._is_resuming = True
        try:
            yield
        finally:
            self._is_resuming = False

    def turn(self, before: Machine, after: Machine) -> Turn | None:
        """How its usage changes now, if it does; see `find_turn`."""
        return find_turn(before, after, self._clock.now(), is_seen=not self._is_resuming)

    def note_pool(self, pool: Pool, ready: int) -> None:
        """So many of its members are ready now."""
        self._turns.append(find_pool_turn(pool, ready, self._clock.now()))

    def resume_pool(self, pool: PoolId) -> None:
        """Its members of before were seen last with the last heartbeat."""
        self._turns.append(Turn(pool, frozenset({Charge.POOL}), None, ()))

    def count_exec(self, machine: Machine, seconds: float) -> None:
        """One exec has ended, after so long."""
        self._add(machine, count=1, seconds=seconds)

    def count_sent(self, machine: Machine, sent_bytes: int) -> None:
        """It has sent so much more."""
        self._add(machine, sent_bytes=sent_bytes)

    def _add(self, machine: Machine, count: int = 0, seconds: float = 0.0, sent_bytes: int = 0) -> None:
        minute = floor_minute(self._clock.now())
        key = (machine.id, minute)
        it = self._counts.get(key) or ExecCount(machine.id, machine.tenant, minute, self._run, 0, 0.0)
        more = (it.count + count, it.seconds + seconds, it.sent_bytes + sent_bytes)
        self._counts[key] = ExecCount(it.machine, it.tenant, it.minute, it.run, *more)
        self._unwritten.add(key)

    async def beat(self) -> None:
        """What runs has run until now. What cannot be written is written with the next one.

        A caller that goes away cuts none short: nobody would know then what is written.
        """
        await self._background.finish(self._beat())

    async def _beat(self) -> None:
        async with self._beating:  # turns are written in the order in which they were taken
            if await self._is_written(self._unsure):
                self._unsure = []
            now, keys = self._clock.now(), self._unwritten
            self._unsure, self._turns, self._unwritten = self._unsure + self._turns, [], set()
            try:
                await self._store.beat(now, [self._counts[key] for key in keys], self._unsure)
            except errors.HutchError:
                self._unwritten |= keys
                raise
            self._unsure = []
            self._forget(keys - self._unwritten, floor_minute(now))

    async def _is_written(self, turns: Sequence[Turn]) -> bool:
        """All are or none: they were one transaction."""
        for it in (begun for turn in turns for begun in turn.begins):
            found = await self._store.list_intervals(it.start, it.start + timedelta(microseconds=1), subject=it.subject)
            return any((one.charge, one.start, one.rate) == (it.charge, it.start, it.rate) for one in found)
        return False

    def _forget(self, written: Iterable[tuple[MachineId, datetime]], minute: datetime) -> None:
        """Counts of minutes that are over. If the clock is set back such a minute is counted anew, beside this."""
        over = [key for key in written if key[1] < minute]
        for key in over:
            self._counts.pop(key, None)
        if over:
            self._run = ids.random_id()

    async def fold(self, before: datetime) -> None:
        """What ended before is kept by the day alone, and of what is deleted only its tenant's sums."""
        is_more = True
        while is_more:
            async with self.books:
                is_more = await self._store.fold(before)
