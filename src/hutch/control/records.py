"""Every living machine's record, in memory, written through to the store.

A transition is in the store before it is seen here, and only the machine's owner makes one. Two things change without
it and without a write: what a start has got to, and when a machine was last used (written in batches by `flush`).
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import structlog

from hutch.control.catalog import Catalog, Place
from hutch.control.clock import Clock
from hutch.control.metering import Meter
from hutch.control.quotas import Quotas
from hutch.control.warm import Taken
from hutch.host.interface import Progress
from hutch.model import errors, ids, kinds, states
from hutch.model.ids import MachineId, SnapshotId, TenantId
from hutch.model.kinds import Kind
from hutch.model.machine import Event, Level, Machine, Timers
from hutch.model.states import State
from hutch.store.interface import Store

log = structlog.get_logger(__name__)


class Entry:
    """One machine: its record, and what is known of it only now."""

    __slots__ = ("accepted", "busy", "interruptions", "machine", "member", "progress", "rollbacks", "watchers")

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.progress: Progress | None = None
        self.accepted: object = None  # since when it runs, and with which ports, when they last were seen to accept
        self.member: Taken | None = None  # of a pool, which its first start is to take
        self.busy = 0  # calls that use it at this moment
        self.interruptions = 0  # how often a running one was paused or suspended
        self.rollbacks = 0  # how often what was in its memory was exchanged
        self.watchers: list[Callable[[Machine], None]] = []  # told of every transition, plainly and at once

    def __repr__(self) -> str:
        return f"<Entry {self.machine.name} {self.machine.state} busy={self.busy}>"

    @property
    def keeps_processes(self) -> bool:
        """Whether what runs in it goes on, now or when it is woken."""
        is_waking = self.machine.state is State.STARTING and self.machine.suspended_at is not None
        return is_waking or self.machine.state in states.KEEPS_MEMORY

    def was_interrupted(self, before: int) -> bool:
        """Whether a call that failed may have done so because the machine was paused or suspended, and can go on.

        `before`: its `interruptions` when the call began.
        """
        is_away = self.machine.state is not State.RUNNING and self.keeps_processes
        return is_away or self.interruptions != before

    async def wait_back(self, rollbacks: int) -> None:
        """Return when it runs, with the memory it had at so many `rollbacks`. `NotRunning` once that is lost."""
        back: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look(machine: Machine) -> None:
            if back.done():
                return
            if not self.keeps_processes or self.rollbacks != rollbacks:
                back.set_exception(errors.NotRunning(f"machine {machine.id} lost its processes: {self._loss}"))
            elif machine.state is State.RUNNING:
                back.set_result(None)

        self.watchers.append(look)
        try:
            look(self.machine)
            await back
        finally:
            self.watchers.remove(look)

    @property
    def _loss(self) -> str:
        machine = self.machine
        if self.keeps_processes:
            return "it was put back to a snapshot"
        return f"it is {machine.state}" + (f" ({machine.reason})" if machine.reason else "")


class Records:
    """The living machines of all tenants. `publish` is told of every event that is written."""

    def __init__(
        self, store: Store, clock: Clock, meter: Meter, quotas: Quotas, publish: Callable[[TenantId, Event], None]
    ) -> None:
        self._quotas = quotas
        self._catalog = Catalog()
        self._meter = meter
        self._publish = publish
        self._store = store
        self._clock = clock
        self._entries: dict[MachineId, Entry] = {}
        self._tenants: dict[TenantId, dict[str, Entry | None]] = {}  # by name, oldest first; None: claimed
        self._timed: dict[MachineId, Entry] = {}
        self._touched: dict[MachineId, datetime] = {}

    def load(self, machines: Iterable[Machine]) -> None:
        """Take up what the store has; oldest first."""
        for machine in machines:
            self._insert(Entry(machine))

    def get(self, machine: MachineId) -> Entry | None:
        """By id."""
        return self._entries.get(machine)

    def named(self, tenant: TenantId, name: str) -> Entry | None:
        """By name."""
        return self._tenants.get(tenant, {}).get(name)

    def named_anywhere(self, name: str) -> list[Entry]:
        """Everybody's of this name."""
        return [entry for names in self._tenants.values() if (entry := names.get(name)) is not None]

    def of(self, tenant: TenantId) -> Iterator[Entry]:
        """A tenant's, newest first."""
        return (entry for entry in reversed(self._tenants.get(tenant, {}).values()) if entry is not None)

    def before(self, tenant: TenantId, place: Place | None) -> Iterator[Machine]:
        """A tenant's machines older than this place, or all, newest first."""
        return (self._entries[id].machine for id in self._catalog.before(tenant, place))

    def all(self) -> list[Entry]:
        """Everybody's, oldest first."""
        return list(self._entries.values())

    def timed(self) -> list[Entry]:
        """Those that have a timer."""
        return list(self._timed.values())

    def is_taken(self, tenant: TenantId, name: str) -> bool:
        """Whether a living machine has this name, or one that is just being made."""
        return name in self._tenants.get(tenant, {})

    @contextlib.contextmanager
    def claim(self, tenant: TenantId, name: str) -> Iterator[None]:
        """Keep a name for a machine that is to be made within. `Conflict` if it is taken."""
        names = self._tenants.setdefault(tenant, {})
        if name in names:
            raise errors.Conflict(f"there is already a machine named {name}: choose another name, or delete it first")
        names[name] = None
        try:
            yield
        finally:
            if name in names and names[name] is None:
                del names[name]

    async def add(self, machine: Machine, message: str) -> Entry:
        """A new one, under a claimed name."""
        return (await self.add_all([machine], message))[0]

    async def add_all(self, machines: Sequence[Machine], message: str, kind: Kind = Kind.CREATING) -> list[Entry]:
        """New ones, under claimed names; all or none."""
        made = [(machine, self._event(machine.id, message, Level.INFO, kind)) for machine in machines]
        try:
            await self._store.add_machines(made)
        except errors.HutchError:
            if await self._store.get_machine(machines[0].id) is None:
                raise
        entries = [Entry(machine) for machine in machines]
        for entry in entries:
            self._insert(entry)
        for machine, event in made:
            self._publish(machine.tenant, event)
        return entries

    async def revive(self, machine: Machine, message: str) -> Entry:
        """One that was destroyed, and that is made anew under its id and a claimed name."""
        event = self._event(machine.id, message, Level.INFO, Kind.CREATING)
        try:
            await self._store.save_machine(machine, State.DESTROYED, event)
        except errors.HutchError:
            if not _is_same(await self._store.get_machine(machine.id), machine):
                raise
        entry = Entry(machine)
        self._insert(entry)
        self._publish(machine.tenant, event)
        return entry

    async def bury(self, machine: MachineId) -> None:
        """One that was destroyed is not made anew any more."""
        gone = await self._store.get_machine(machine)
        if gone is None or gone.state is not State.DESTROYED or not gone.is_recreated:
            return
        event = self._event(machine, "deleted for good: it is not made anew any more", Level.INFO, Kind.NOTED)
        await self._store.save_machine(dataclasses.replace(gone, is_recreated=False), State.DESTROYED, event)
        self._publish(gone.tenant, event)

    async def transition(
        self,
        entry: Entry,
        state: State,
        message: str,
        level: Level = Level.INFO,
        kind: Kind | None = None,
        **changes: Any,
    ) -> None:
        """Into another state, with the event that tells of it; `changes` are other fields of the record."""
        was = entry.machine.state
        states.check_transition(entry.machine.id, was, state)
        changes |= {"state": state, "updated_at": self._clock.now(), "suspended_at": self._suspended_at(entry, state)}
        event = self._event(entry.machine.id, message, level, kind or kinds.OF_STATE[state])
        machine = dataclasses.replace(entry.machine, **changes)
        turn = self._meter.turn(entry.machine, machine)
        try:
            await self._store.save_machine(machine, was, event, turn)
        except errors.HutchError:
            if not await self._is_written_all_the_same(entry, state):
                raise
        self._become(entry, dataclasses.replace(entry.machine, **changes), event)

    def _become(self, entry: Entry, machine: Machine, event: Event) -> None:
        if entry.machine.state is State.RUNNING and machine.state in (State.PAUSING, State.SUSPENDING):
            entry.interruptions += 1
        entry.machine = machine
        self._quotas.note_machine(machine)
        self._note_timers(entry)
        if machine.state is State.DESTROYED:
            self._remove(entry)
        for watcher in list(entry.watchers):
            watcher(machine)
        self._publish(machine.tenant, event)

    async def transition_all(self, entries: Sequence[Entry], state: State, message: str, **changes: Any) -> None:
        """Several into one state, all or none."""
        changes |= {"state": state, "updated_at": self._clock.now(), "suspended_at": None}
        saved, turns = [], []
        for entry in entries:
            states.check_transition(entry.machine.id, entry.machine.state, state)
            event = self._event(entry.machine.id, message, Level.INFO, kinds.OF_STATE[state])
            machine = dataclasses.replace(entry.machine, **changes)
            turns.append(self._meter.turn(entry.machine, machine))
            saved.append((machine, entry.machine.state, event))
        try:
            await self._store.save_machines(saved, [turn for turn in turns if turn is not None])
        except errors.HutchError:
            if not all([await self._is_written_all_the_same(entry, state) for entry in entries]):
                raise
        for entry, (_, _, event) in zip(entries, saved, strict=True):
            self._become(entry, dataclasses.replace(entry.machine, **changes), event)

    async def update(self, entry: Entry, message: str, kind: Kind, **changes: Any) -> None:
        """Other fields of its record, with the event that tells of it; its state stays."""
        machine = dataclasses.replace(entry.machine, updated_at=self._clock.now(), **changes)
        event = self._event(machine.id, message, Level.INFO, kind)
        try:
            await self._store.save_machine(machine, machine.state, event, self._meter.turn(entry.machine, machine))
        except errors.HutchError:
            if not _is_same(await self._store.get_machine(machine.id), machine):
                raise
        self._become(entry, dataclasses.replace(machine, last_activity_at=entry.machine.last_activity_at), event)

    def _suspended_at(self, entry: Entry, state: State) -> datetime | None:
        """Since when it is suspended; a wake that is undone does not begin that time anew."""
        known = entry.machine.suspended_at
        if state is State.SUSPENDED:
            return known or self._clock.now()
        return known if state in (State.STARTING, State.DESTROYING) else None

    async def _is_written_all_the_same(self, entry: Entry, state: State) -> bool:
        """After a write that failed: a commit may have been done though nobody could tell us.

        The record is what the store says, so that the next transition starts from there.
        """
        stored = await self._store.get_machine(entry.machine.id)
        if stored is None or stored.state is entry.machine.state:
            return False
        if stored.state is state:
            return True
        entry.machine = dataclasses.replace(stored, last_activity_at=entry.machine.last_activity_at)
        self._quotas.note_machine(stored)
        return False

    async def note(
        self,
        entry: Entry,
        message: str,
        level: Level = Level.INFO,
        kind: Kind = Kind.NOTED,
        snapshot: SnapshotId | None = None,
    ) -> None:
        """An event without a transition. Only told, so a failure to write it changes nothing else."""
        event = dataclasses.replace(self._event(entry.machine.id, message, level, kind), snapshot=snapshot)
        try:
            await self._store.add_event(event)
        except errors.HutchError as error:
            log.warning("an event was not written", machine=entry.machine.id, message=message, error=error.message)
        else:
            self._publish(entry.machine.tenant, event)

    def touch(self, entry: Entry) -> None:
        """It is being used now."""
        now = self._clock.now()
        entry.machine = dataclasses.replace(entry.machine, last_activity_at=now)
        self._touched[entry.machine.id] = now

    def take_touched(self) -> dict[MachineId, datetime]:
        """Those used since the last call, and when."""
        touched, self._touched = self._touched, {}
        return touched

    def _event(self, machine: MachineId, message: str, level: Level, kind: Kind) -> Event:
        return Event(ids.random_id(), machine, level, message, self._clock.now(), kind)

    def _insert(self, entry: Entry) -> None:
        machine = entry.machine
        self._entries[machine.id] = entry
        names = self._tenants.setdefault(machine.tenant, {})
        names.pop(machine.name, None)  # a claim: its place is that of the moment it was made
        names[machine.name] = entry
        self._catalog.add(machine)
        self._quotas.note_machine(machine)
        self._note_timers(entry)

    def _note_timers(self, entry: Entry) -> None:
        if entry.machine.timers != Timers():
            self._timed[entry.machine.id] = entry
        else:
            self._timed.pop(entry.machine.id, None)

    def _remove(self, entry: Entry) -> None:
        machine = entry.machine
        self._entries.pop(machine.id, None)
        self._timed.pop(machine.id, None)
        self._touched.pop(machine.id, None)
        self._tenants.get(machine.tenant, {}).pop(machine.name, None)
        self._catalog.remove(machine)


def _is_same(stored: Machine | None, machine: Machine) -> bool:
    """Whether this is what is stored; the last use is written at other times."""
    if stored is None:
        return False
    return stored == dataclasses.replace(machine, last_activity_at=stored.last_activity_at)
