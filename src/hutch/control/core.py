"""What runs behind the public nouns: opened in one order, closed in the other.

the home's lock → store → what it has recorded → host → reconciled → pools → deaths, timers → (serving)
"""

import asyncio
import contextlib
import time
from typing import Protocol

import structlog

from hutch import settings
from hutch.control import follower
from hutch.control.accounts import Accounts
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.feed import Feed
from hutch.control.fleet import Fleet
from hutch.control.idempotency import Idempotency
from hutch.control.keeper import Keeper
from hutch.control.keys import Keys
from hutch.control.metering import Meter
from hutch.control.quotas import Quotas
from hutch.control.records import Records
from hutch.control.sanctions import Sanctions
from hutch.control.shelf import Shelf
from hutch.control.traffic_tokens import TrafficTokens
from hutch.control.upkeep import Upkeep
from hutch.control.volumes import Rack
from hutch.host.interface import Host
from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId, TenantId, VolumeId
from hutch.model.states import State
from hutch.store.interface import Recorded, Store

log = structlog.get_logger(__name__)

Lock = contextlib.AbstractContextManager[object]


class Attendant(Protocol):
    """Something that has work of its own for as long as the control plane is open."""

    async def load(self, recorded: Recorded) -> None:
        """Take up what the store has, before anything happens."""

    async def serve(self) -> None:
        """Work, until cancelled."""

    async def close(self) -> None:
        """Let go; nothing happens any more."""


MEMBERS_GRACE = 10.0
"""Seconds that the members of warm pools may take to end; what is left then, the next service destroys."""

DEATHS_RETRY = 1.0
"""Seconds before the host is asked again when telling of deaths has failed."""


class Core:
    """The machinery of one control plane."""

    def __init__(self, store: Store, host: Host, limits: settings.Settings, clock: Clock, lock: Lock) -> None:
        self.store = store
        self.host = host
        self.clock = clock
        self.accounts = Accounts(store, clock)
        self.keys = Keys(store, clock, self.accounts)
        self.meter = Meter(store, clock)
        self.background = Background()
        self.quotas = Quotas(self.accounts)
        self.shelf = Shelf(store, host, clock, self.quotas, limits.machines.verify_interval)
        self.feed = Feed(clock, self._tenant_of)
        records = Records(store, clock, self.meter, self.quotas, self.feed.publish)
        self.rack = Rack(store, host, records, self.quotas, clock)
        its = limits.machines
        self.fleet = Fleet(records, self.shelf, self.quotas, host, self.meter, clock, self.background, its)
        self.keeper = Keeper(self.fleet, self.shelf, self.keys, store, clock, limits.machines.sweep_interval)
        self.idempotency = Idempotency(store, clock, self.background, self._is_made)
        self.sanctions = Sanctions(self.accounts, self.fleet, clock)
        self.upkeep = Upkeep(self.fleet, self.meter, self.sanctions, store, clock, limits.tenants)
        self.tokens = TrafficTokens()
        self.cluster = ""
        self.opened_at = 0.0
        self._attendants: list[Attendant] = []
        self._lock = lock
        self._opened: contextlib.AsyncExitStack | None = None

    def attend(self, *attendants: Attendant) -> None:
        """Have these opened and closed with it."""
        self._attendants += attendants

    async def open(self) -> None:
        """All of it, or nothing."""
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._lock)
            stack.push_async_callback(self.store.close)
            await self.store.open()
            recorded = await self.store.load()
            self.cluster = recorded.cluster
            self.tokens.load(recorded.secret)
            await self.accounts.load(recorded.tenants)
            self.keys.load(recorded.keys)
            self.fleet.records.load(recorded.machines)
            self.shelf.load(recorded.snapshots)
            self.rack.load(recorded.volumes)
            for attendant in self._attendants:
                await attendant.load(recorded)
            stack.push_async_callback(self.host.close)
            found = await self.host.open()
            stack.push_async_callback(self.keeper.flush)
            stack.push_async_callback(self._count_all)
            for attendant in self._attendants:
                stack.push_async_callback(attendant.close)
            stack.push_async_callback(self.background.close, follower.END_GRACE + 1)
            stack.callback(self.feed.close)
            stack.push_async_callback(self.fleet.members.close, MEMBERS_GRACE)
            stack.push_async_callback(self.fleet.close)
            with self.meter.resuming():
                await self.fleet.reconcile(found, recorded.is_new)
            await self.fleet.traffic.adopt(self.fleet.records.all())
            for pool in recorded.pools:
                self.meter.resume_pool(pool.id)
            await self.meter.beat()
            await self.shelf.reconcile()
            await self.rack.reconcile(recorded.is_new)
            await self.idempotency.settle(recorded.attempts)
            stack.push_async_callback(self.shelf.close)
            stack.push_async_callback(self.keeper.close)
            for pool in recorded.pools:
                self.fleet.members.add(pool)
            stack.push_async_callback(_cancel, asyncio.create_task(self._watch_deaths()))
            stack.push_async_callback(_cancel, asyncio.create_task(self.keeper.run()))
            stack.push_async_callback(_cancel, asyncio.create_task(self.upkeep.run()))
            for attendant in self._attendants:
                stack.push_async_callback(_cancel, asyncio.create_task(attendant.serve()))
            self.opened_at = time.monotonic()
            self._opened = stack.pop_all()

    async def close(self) -> None:
        """No error if not open."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    async def is_ready(self) -> bool:
        """Whether it is open and the database answers."""
        try:
            await self.store.ping()
        except errors.HutchError as error:
            log.warning("not ready", error=error.message, **error.context)
            return False
        return self._opened is not None

    async def _count_all(self) -> None:
        await self.fleet.traffic.count_all(self.fleet.records.all())
        await self.meter.beat()

    def _tenant_of(self, machine: MachineId) -> TenantId | None:
        entry = self.fleet.records.get(machine)
        return None if entry is None else entry.machine.tenant

    def _is_made(self, id: str) -> bool:
        entry = self.fleet.records.get(MachineId(id))
        if entry is not None:
            return entry.machine.state not in (State.CREATING, State.DESTROYING)
        return self.rack.get(VolumeId(id)) is not None or self.shelf.get(SnapshotId(id)) is not None

    async def _watch_deaths(self) -> None:
        while True:
            try:
                await self.fleet.watch_deaths()
            except Exception:
                log.exception("the host cannot tell of deaths")
            await self.clock.sleep(DEATHS_RETRY)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
