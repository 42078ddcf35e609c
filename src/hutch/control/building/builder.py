"""One build: from the uppermost link that is there to the top, in as few machines as it takes.

found ──► start machine ──► steps ──► snapshot ──► steps ──► snapshot ──► …      (a machine goes on from link to link)

Each link is made by one build at a time. Who wanted the same one finds it when its turn comes, and goes on from there.
"""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import structlog

from hutch.control.building import layers, plan
from hutch.control.building.chain import Link
from hutch.control.building.plan import Plan
from hutch.control.building.site import Site
from hutch.control.building.workbench import Result, Workbench
from hutch.control.dockerfile import Dockerfiles
from hutch.control.dockerfile import Plan as DockerPlan
from hutch.control.inside import CommandFailed, Inside
from hutch.control.services import Services
from hutch.model import errors
from hutch.model.machine import ImageRef, Resources, Snapshot

log = structlog.get_logger(__name__)

_PASSED_ON = (errors.BuildFailed, errors.NoCapacity, errors.ImageUnavailable, errors.Forbidden)


class Turns:
    """Whose turn it is to make what has this hash."""

    def __init__(self) -> None:
        self._locks = weakref.WeakValueDictionary[str, asyncio.Lock]()

    def of(self, key: str) -> asyncio.Lock:
        """The lock of it, for as long as anybody holds or awaits it."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock


class Builder:
    """`wait` is called with True before a turn that must be waited for, and with False when it has come."""

    def __init__(
        self,
        bench: Workbench,
        its: Plan,
        result: Result,
        turns: Turns,
        services: Services,
        dockerfiles: Dockerfiles,
        wait: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._bench = bench
        self._plan = its
        self._result = result
        self._turns = turns
        self._services = services
        self._dockerfiles = dockerfiles
        self._wait = wait
        self._inside: Inside | None = None
        self._has = its.resources  # of the machine that is open

    async def make(self) -> Snapshot:
        """The snapshot; its machines are left to the workbench. `BuildFailed` tells where, and what went wrong."""
        its = self._plan
        first, source = self._beginning()
        if first > 0 and isinstance(source, Snapshot):
            await self._bench.phase(plan.cached(its.where(first - 1)), source)
        for index in range(first, len(its.links)):
            source = await self._make_link(index, source)
        if not isinstance(source, Snapshot):
            raise AssertionError("a base that is no snapshot has a link")
        if source.id == self._bench.build.snapshot or self._result.is_met_by(source):
            return source
        await self._start(source, its.where(len(its.links) - 1) if its.links else its.title)
        return await self._keep_result("snapshot")

    def _beginning(self) -> tuple[int, Snapshot | ImageRef | DockerPlan]:
        """The lowest link that is not there, and what it is to stand on."""
        for index in self._plan.beginnings():
            found = self._bench.find(self._plan.links[index].recipe)
            if found is not None:
                return index + 1, found
        return 0, self._plan.base

    async def _make_link(self, index: int, source: Snapshot | ImageRef | DockerPlan) -> Snapshot:
        link, where = self._plan.links[index], self._plan.where(index)
        async with self._turn(link.recipe, source):
            found = self._find_again(index)
            if found is not None:
                await self._stop()
                await self._bench.phase(plan.cached(where), found)
                return found
            if self._inside is None:
                below = self._plan.where(index - 1) if index else self._plan.title
                await self._start(await self._lay_base(source), below)
            await self._resize(link.resources, where)
            await self._do_steps(link, where)
            if index == len(self._plan.links) - 1:
                return await self._keep_result(f"{where}: snapshot")
            return await self._keep(link, where)

    def _find_again(self, index: int) -> Snapshot | None:
        """Another build may have made it meanwhile. Of the uppermost one only what will do as it is."""
        if index >= self._plan.first_forced():
            return None
        return self._bench.find(self._plan.links[index].recipe)

    async def _lay_base(self, source: Snapshot | ImageRef | DockerPlan) -> Snapshot | ImageRef:
        if isinstance(source, Snapshot | ImageRef):
            return source
        async with self._turn(source.hash):
            return await self._dockerfiles.run(source, self._bench)

    async def _start(self, source: Snapshot | ImageRef, title: str) -> None:
        name = plan.start(title)
        await self._bench.phase(name)
        with self._named(name):
            self._inside = await self._bench.open(source)
        self._has = source.spec.resources if isinstance(source, Snapshot) else self._plan.resources

    async def _stop(self) -> None:
        inside, self._inside = self._inside, None
        if inside is not None:
            await self._bench.close(inside)

    async def _resize(self, wanted: Resources, where: str) -> None:
        if wanted == self._has:
            return
        name = f"{where}: resize machine"
        await self._bench.phase(name)
        with self._named(name):
            await self._bench.resize(self._machine, self._has, wanted)
        self._has = wanted

    async def _do_steps(self, link: Link, where: str) -> None:
        site = Site(self._machine, self._services, self._bench.principal, self._bench.tell)
        for step in layers.steps_of(link.layer):
            name = f"{where}: {step.title}"
            await self._bench.phase(name)
            with self._named(name):
                await step.run(site)
        if link.layer.workdir is not None:
            await self._bench.set_workdir(self._machine, link.layer.workdir)

    async def _keep(self, link: Link, where: str) -> Snapshot:
        name = f"{where}: snapshot"
        await self._bench.phase(name)
        with self._named(name):
            return await self._bench.snapshot(self._machine, link.recipe)

    async def _keep_result(self, name: str) -> Snapshot:
        await self._bench.phase(name)
        with self._named(name):
            return await self._bench.keep_result(self._machine, self._result)

    @property
    def _machine(self) -> Inside:
        assert self._inside is not None, "it was started"
        return self._inside

    @contextlib.asynccontextmanager
    async def _turn(self, recipe: str, source: object = None) -> AsyncIterator[None]:
        """`source` is what is to be built on when it has come."""
        turn = self._turns.of(f"{self._bench.build.tenant} {recipe}")
        must_wait = turn.locked()
        if must_wait:
            await self._stop()  # it would have memory that the other one may need
            await self._wait(True)
        async with contextlib.AsyncExitStack() as stack:
            with self._bench.holding(source):
                await stack.enter_async_context(turn)
            if must_wait:
                await self._wait(False)
            yield

    @contextlib.contextmanager
    def _named(self, where: str) -> Iterator[None]:
        """What goes wrong within is told with where it did."""
        try:
            yield
        except _PASSED_ON:
            raise
        except CommandFailed as error:
            code = error.ran.exit.shell_code
            raise errors.BuildFailed(f"{where}: {error.message}", self._bench.build.id, code) from error
        except errors.HutchError as error:
            raise errors.BuildFailed(f"{where}: {error.message}", self._bench.build.id) from error
