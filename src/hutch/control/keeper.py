"""What has to be done now and then: timers, machines left in the middle of something, last uses to be written, pools
to be filled, the storage quota, and snapshots to be verified.
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from hutch.control import timers
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.keys import Keys
from hutch.control.operation import Operation
from hutch.control.policy import Verb
from hutch.control.records import Entry
from hutch.control.shelf import Shelf
from hutch.control.timers import Due
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.kinds import Kind
from hutch.model.machine import Machine
from hutch.store.interface import Store

log = structlog.get_logger(__name__)

FLUSH_INTERVAL = 5.0
"""Seconds between writes of last uses: what a killed service may forget of them."""

QUOTA_INTERVAL = timedelta(seconds=30)
"""How often it is counted what machines and snapshots take."""

RETRY_INTERVAL = timedelta(seconds=60)
"""How long after a timer's action has failed it is tried again."""


class Keeper:
    """The housekeeper of the control plane."""

    def __init__(self, fleet: Fleet, shelf: Shelf, keys: Keys, store: Store, clock: Clock, interval: float) -> None:
        self._fleet = fleet
        self._shelf = shelf
        self._keys = keys
        self._store = store
        self._clock = clock
        self._interval = interval
        self._enforcing: asyncio.Task[None] | None = None
        self._enforced_at = clock.now()
        self._failed: dict[MachineId, datetime] = {}  # when a machine's timer last acted in vain
        self._looked: dict[MachineId, datetime] = {}  # when it was last found out if traffic was its use
        self._looking: dict[MachineId, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """For ever; an error of one round is logged and the next one tries again."""
        flushed = self._clock.now()
        while True:
            await self._clock.sleep(self._interval)
            try:
                self.sweep()
                if not 0 <= (self._clock.now() - flushed).total_seconds() < FLUSH_INTERVAL:  # a clock may be set back
                    flushed = self._clock.now()
                    await self.flush()
            except Exception:
                log.exception("housekeeping failed")

    def sweep(self) -> None:
        """Act on every timer whose time has come, and on what was left in the middle."""
        now = self._clock.now()
        self._failed = {id: at for id, at in self._failed.items() if now < at + RETRY_INTERVAL}
        looked, self._looked = self._looked, {}
        for entry in self._fleet.records.timed():
            id = entry.machine.id
            self._look(entry, looked.get(id), now)
            due = timers.find_due(entry.machine, now, entry.busy > 0 or id in self._looking)
            if due is not None and id not in self._failed:
                self._act(entry, due)
        self._fleet.settle_leftovers()
        self._fleet.members.tick()
        self._shelf.tick()
        if self._enforcing is None and not timedelta() <= now - self._enforced_at < QUOTA_INTERVAL:
            self._enforced_at = now
            self._enforcing = asyncio.create_task(self._enforce())
            self._enforcing.add_done_callback(self._enforced)

    def _look(self, entry: Entry, looked_at: datetime | None, now: datetime) -> None:
        """Have it found out if need be; until that is known its idle time is not over."""
        id = entry.machine.id
        if id not in self._looking and timers.needs_look(entry.machine, looked_at, now):
            looked_at = now
            task = self._looking[id] = asyncio.create_task(self._watch(entry))
            task.add_done_callback(lambda _: self._looking.pop(id, None))
        if looked_at is not None:
            self._looked[id] = looked_at

    async def _watch(self, entry: Entry) -> None:
        try:
            await self._fleet.traffic.count(entry)
        except Exception:
            log.exception("traffic could not be looked at", machine=entry.machine.id)

    def _enforced(self, _: asyncio.Task[None]) -> None:
        self._enforcing = None

    async def _enforce(self) -> None:
        try:
            await self._fleet.eviction.enforce()
        except Exception:
            log.exception("the storage quota could not be looked after")

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [*self._looking.values(), *([] if self._enforcing is None else [self._enforcing])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _act(self, entry: Entry, due: Due) -> None:
        if due.verb is not Verb.DELETE and not self._fleet.is_idle(entry):
            return
        try:
            operation = self._fleet.submit(entry, Operation(due.verb, due.cause, Kind.TIMER))
        except errors.HutchError as error:
            log.warning("timer refused", machine=entry.machine.id, error=error.message)
            self._failed[entry.machine.id] = self._clock.now()
        else:
            if operation is not None:
                operation.done.add_done_callback(lambda done: self._note_end(entry, done))

    def _note_end(self, entry: Entry, done: asyncio.Future[Machine]) -> None:
        if not done.cancelled() and done.exception() is not None:
            self._failed[entry.machine.id] = self._clock.now()

    async def flush(self) -> None:
        """Write when machines, keys and snapshots were last used."""
        machines, keys = self._fleet.records.take_touched(), self._keys.take_touched()
        snapshots = self._shelf.take_touched()
        if machines or keys or snapshots:
            await self._store.touch(machines, keys, snapshots)
