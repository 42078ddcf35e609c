"""A build that is under way: its slot, its time, its end, and what is recorded of it.

pending ──► running ──► succeeded          running ⇄ pending: another build makes a layer of it
   └───────────┴──────► failed, cancelled
"""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import structlog

from hutch.control.building import plan
from hutch.control.building.builder import Builder, Turns
from hutch.control.building.chronicle import Chronicle
from hutch.control.building.plan import Plan
from hutch.control.building.workbench import Order, Result, Tools, Workbench
from hutch.control.clock import Clock
from hutch.control.dockerfile import Dockerfiles
from hutch.control.inside import TAIL
from hutch.control.keys import Principal
from hutch.control.services import Services
from hutch.model import errors
from hutch.model.builds import Build, BuildState
from hutch.model.machine import Snapshot
from hutch.model.recipes import Credentials
from hutch.store.interface import Store

log = structlog.get_logger(__name__)

OPTIMIZE_LIMIT = 300.0
"""Seconds that making a snapshot cheap to start from may take; it is whole without."""


@dataclasses.dataclass(frozen=True)
class Yard:
    """What all builds share."""

    tools: Tools
    services: Services
    dockerfiles: Dockerfiles
    store: Store
    clock: Clock
    turns: Turns


@dataclasses.dataclass(frozen=True, slots=True)
class Commission:
    """What one build is to do, for whom, and within what time."""

    build: Build
    principal: Principal
    plan: Plan
    result: Result
    budget: float  # seconds, from when it runs
    credentials: Credentials | None = dataclasses.field(default=None, repr=False)


class Flight:
    """`recorded` is done when the store knows of it, `done` when it has ended: with the snapshot, or the error."""

    def __init__(self, yard: Yard, its: Commission, slot: asyncio.Semaphore, on_end: Callable[["Flight"], None]):
        self.build = its.build
        self.chronicle = Chronicle(its.build.id, yard.store, yard.clock)
        self.recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._yard = yard
        self._its = its
        self._slot = slot
        self._on_end = on_end
        self._work: asyncio.Task[Any] | None = None
        self._cancelled_because: str | None = None
        for future in (self.recorded, self.done):
            future.add_done_callback(_retrieve)

    def __repr__(self) -> str:
        return f"<Flight {self.build.id} {self.build.state}>"

    def answers(self, its: Plan, result: Result, budget: float) -> bool:
        """Whether its end is the answer to another request of the same tenant."""
        mine = (self._its.plan.recipe, self._its.plan.first_forced(), self._its.result, self._its.budget)
        is_same = mine == (its.recipe, its.first_forced(), result, budget)
        return is_same and self._cancelled_because is None

    def cancel(self, because: str) -> None:
        """End it. Once is enough."""
        if self._cancelled_because is None:
            self._cancelled_because = because
            if self._work is not None:
                self._work.cancel()

    async def run(self) -> None:
        """From its record to its end. Raises nothing."""
        try:
            await self._yard.store.add_build(self.build)
        except Exception as error:
            self._on_end(self)
            self.recorded.set_exception(error)
            self.done.set_exception(error)
            return
        self.recorded.set_result(None)
        self._work = making = asyncio.create_task(self._make())
        if self._cancelled_because is not None:
            making.cancel()
        try:
            await asyncio.wait([making])
            await self._end(making)
        finally:  # who is dropped, as work that outlasts the service is, leaves nobody waiting
            self._work.cancel()
            self.done.cancel()

    async def _make(self) -> Snapshot:
        async with self._slot:
            await self._wait(False)
            yard, its = self._yard, self._its
            order = Order(its.build, its.budget, its.plan.resources, its.credentials, its.plan.is_fresh)
            bench = Workbench(yard.tools, its.principal, order, self.chronicle)
            builder = Builder(bench, its.plan, its.result, yard.turns, yard.services, yard.dockerfiles, self._wait)
            try:
                async with asyncio.timeout(its.budget) as limit:
                    return await builder.make()
            except TimeoutError as error:
                if not limit.expired():
                    raise
                at = self.chronicle.last(TAIL)
                message = f"the build took more than the {its.budget:g} s it may take, at {at}"
                raise errors.BuildTooLong(message, its.build.id) from error
            finally:
                await bench.close_all()

    async def _wait(self, must_wait: bool) -> None:
        await self._save(state=BuildState.PENDING if must_wait else BuildState.RUNNING)

    async def _save(self, **changes: Any) -> None:
        self.build = dataclasses.replace(self.build, updated_at=self._yard.clock.now(), **changes)
        await self._yard.store.save_build(self.build)

    async def _end(self, making: asyncio.Task[Snapshot]) -> None:
        snapshot, error = None, self._error(making)
        if error is None:
            snapshot = making.result()
            self._work = asyncio.create_task(self._optimize(snapshot))
            await asyncio.wait([self._work])
            changes: dict[str, Any] = {"state": BuildState.SUCCEEDED, "snapshot": snapshot.id}
        else:
            state = BuildState.CANCELLED if making.cancelled() else BuildState.FAILED
            changes = {"state": state, "reason": error.message}
        try:
            await self._save(finished_at=self._yard.clock.now(), **changes)
        except Exception:
            log.exception("the end of a build was not recorded", build=self.build.id)
        self.chronicle.end()
        self._on_end(self)
        if snapshot is not None:
            self.done.set_result(snapshot)
        else:
            assert error is not None
            self.done.set_exception(error)

    def _error(self, making: asyncio.Task[Snapshot]) -> errors.HutchError | None:
        """What its callers are told."""
        if making.cancelled():
            return errors.Conflict(f"the build was cancelled: {self._cancelled_because}")
        error = making.exception()
        if error is None or isinstance(error, errors.BuildFailed | errors.NoCapacity | errors.ImageUnavailable):
            return error
        if isinstance(error, errors.HutchError):
            return errors.BuildFailed(error.message, self.build.id)
        log.error("unexpected error of a build", build=self.build.id, exc_info=error)
        return errors.BuildFailed("something in Hutch itself failed; the service's log has the details", self.build.id)

    async def _optimize(self, snapshot: Snapshot) -> None:
        """Best effort: it is whole without."""
        if snapshot.id != self._its.build.snapshot or self._cancelled_because is not None:
            return
        try:
            await self.chronicle.phase(plan.OPTIMIZE, snapshot.id)
            async with asyncio.timeout(OPTIMIZE_LIMIT):
                await self._yard.tools.fleet.host.optimize(snapshot.id)
        except Exception as error:
            log.warning("a built snapshot was not optimized", snapshot=snapshot.id, error=repr(error))


def _retrieve(future: asyncio.Future[Any]) -> None:
    """An error that nobody waits for any more is no news: it is recorded."""
    if not future.cancelled():
        future.exception()
