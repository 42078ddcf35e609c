"""What runs behind the public nouns: opened in one order, closed in the other.

the home's lock → store → what it has recorded → host → reconciled → pools → deaths, timers → (serving)
"""

import asyncio
import contextlib
import time

import structlog

from hutch import settings
from hutch.control import follower
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.feed import Feed
from hutch.control.fleet import Fleet
from hutch.control.keeper import Keeper
from hutch.control.keys import Keys
from hutch.control.records import Records
from hutch.control.shelf import Shelf
from hutch.host.interface import Host
from hutch.model import errors
from hutch.model.ids import MachineId, TenantId
from hutch.store.interface import Store

log = structlog.get_logger(__name__)

Lock = contextlib.AbstractContextManager[object]

SPARES_GRACE = 10.0
"""Seconds that the members of warm pools may take to end; what is left then, the next service destroys."""

DEATHS_RETRY = 1.0
"""Seconds before the host is asked again when telling of deaths has failed."""


class Core:
    """The machinery of one control plane."""

    def __init__(self, store: Store, host: Host, limits: settings.Machines, clock: Clock, lock: Lock) -> None:
        self.store = store
        self.host = host
        self.clock = clock
        self.keys = Keys(store, clock)
        self.background = Background()
        self.shelf = Shelf(store, host, clock, limits.verify_interval)
        self.feed = Feed(clock, self._tenant_of)
        self.fleet = Fleet(Records(store, clock, self.feed.publish), host, clock, self.background, limits)
        self.keeper = Keeper(self.fleet, self.shelf, self.keys, store, clock, limits.sweep_interval)
        self.cluster = ""
        self.opened_at = 0.0
        self._lock = lock
        self._opened: contextlib.AsyncExitStack | None = None

    async def open(self) -> None:
        """All of it, or nothing."""
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._lock)
            stack.push_async_callback(self.store.close)
            await self.store.open()
            recorded = await self.store.load()
            self.cluster = recorded.cluster
            await self.keys.load(recorded.tenants, recorded.keys)
            self.fleet.records.load(recorded.machines)
            self.shelf.load(recorded.snapshots)
            stack.push_async_callback(self.host.close)
            found = await self.host.open()
            stack.push_async_callback(self.keeper.flush)
            stack.push_async_callback(self.background.close, follower.END_GRACE + 1)
            stack.callback(self.feed.close)
            stack.push_async_callback(self.fleet.spares.close, SPARES_GRACE)
            stack.push_async_callback(self.fleet.close)
            await self.fleet.reconcile(found, recorded.is_new)
            await self.shelf.reconcile()
            stack.push_async_callback(self.shelf.close)
            stack.push_async_callback(self.keeper.close)
            for pool in recorded.pools:
                self.fleet.spares.add(pool)
            stack.push_async_callback(_cancel, asyncio.create_task(self._watch_deaths()))
            stack.push_async_callback(_cancel, asyncio.create_task(self.keeper.run()))
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

    def _tenant_of(self, machine: MachineId) -> TenantId | None:
        entry = self.fleet.records.get(machine)
        return None if entry is None else entry.machine.tenant

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
