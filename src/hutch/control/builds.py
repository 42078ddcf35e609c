"""Builds: a snapshot made of a recipe, layer upon layer, each made once.

What a build does is recorded as it happens, so that whoever comes later, or after a crash, can tell what became of it.
"""

import asyncio
import builtins
import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import structlog

from hutch import settings
from hutch.control import admission, names, requests
from hutch.control.building import checking, plan
from hutch.control.building.chronicle import Chronicle
from hutch.control.building.flight import Commission, Flight, Yard
from hutch.control.building.plan import Plan
from hutch.control.building.workbench import LABEL, Result
from hutch.control.dockerfile import Plan as DockerPlan
from hutch.control.dockerfile.plan import Resolve
from hutch.control.keys import Principal
from hutch.control.operation import Operation
from hutch.control.policy import Verb
from hutch.model import errors, ids
from hutch.model.builds import Build, BuildState, Phase
from hutch.model.ids import BuildId, TenantId
from hutch.model.machine import Defaults, ImageRef, Persistence, Resources, Snapshot, Timers
from hutch.model.recipes import Credentials, Recipe
from hutch.store.interface import Recorded

log = structlog.get_logger(__name__)

IMAGE = "debian"
"""What a recipe without a base stands on."""

MOST_AT_ONCE = 32
"""Builds of one tenant that are under way or wait for that."""

PLANNED_AT_ONCE = 4
"""Dockerfiles of one tenant that are read, and whose images are asked about, at the same time; more wait."""

MOST_LISTED = 1000

CLOSE_LIMIT = 20.0
"""Seconds that builds have to end in when the service does."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build, and what the snapshot is to be."""

    recipe: Recipe
    name: str | None = None
    is_label: bool = False  # a name that is taken is given a number, or what has it will do
    persistence: Persistence = Persistence.PERSISTENT
    priority: int = 5
    defaults: Defaults = field(default_factory=Defaults)
    credentials: Credentials | None = field(default=None, repr=False)  # of the registry the base comes from
    budget: float | None = None  # seconds it may take in all; None: the service's own limit


class Builds:
    """The builds of all tenants. Another tenant's is `NotFound`."""

    def __init__(self, yard: Yard, limits: settings.Machines, its: settings.Builds) -> None:
        self._yard = yard
        self._tools = yard.tools
        self._store = yard.store
        self._clock = yard.clock
        self._limits = limits
        self._its = its
        self._flights: dict[BuildId, Flight] = {}
        self._slots: defaultdict[TenantId, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(max(its.at_once, 1))
        )
        self._planning: defaultdict[TenantId, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(PLANNED_AT_ONCE)
        )
        self._left: set[str] = set()  # those under way when the service died
        self._is_closing = False

    async def ensure(self, principal: Principal, request: BuildRequest) -> Snapshot:
        """The snapshot of a recipe: at once if it is there, else when it is built. Needs `machine:create`.

        The same recipe asked for by many at once is built once. A caller that goes away does not end the build.
        `InvalidRequest`, `Flawed`, `NotFound`; `BuildFailed` with the end of what the failing command wrote,
        `BuildTooLong`; `Conflict` when it is cancelled.
        """
        its = await self._plan(principal, request)
        request = self._labelled(principal.tenant, its, request)
        known = self._find(principal.tenant, its, request)
        if known is not None:
            return known
        return await asyncio.shield(self._join(principal, request, its).done)

    async def begin(self, principal: Principal, request: BuildRequest) -> Build:
        """The same without waiting for its end; what was built before is a build that has succeeded."""
        its = await self._plan(principal, request)
        request = self._labelled(principal.tenant, its, request)
        known = self._find(principal.tenant, its, request)
        if known is not None:
            return await self._record_known(principal, request, its, known)
        flight = self._join(principal, request, its)
        await asyncio.shield(flight.recorded)
        return flight.build

    async def get(self, principal: Principal, id: BuildId) -> Build:
        """Needs `machine:read`. `NotFound`."""
        principal.require("machine:read")
        return await self._get(principal, id)

    async def list(self, principal: Principal, limit: int = 100) -> builtins.list[Build]:
        """The tenant's last ones, newest first. Needs `machine:read`."""
        principal.require("machine:read")
        if not 1 <= limit <= MOST_LISTED:
            raise errors.InvalidRequest(f"limit is {limit}: 1 to {MOST_LISTED}")
        return builtins.list(await self._store.list_builds(principal.tenant, limit))

    async def phases(self, principal: Principal, id: BuildId) -> Sequence[Phase]:
        """Oldest first; the last one is what it is doing. Needs `machine:read`. `NotFound`."""
        principal.require("machine:read")
        await self._get(principal, id)
        return await self._store.list_phases(id)

    async def wait(self, principal: Principal, id: BuildId, timeout: float) -> Build:
        """When it has ended, however it did. `TimedOut` after `timeout` seconds. Needs `machine:read`."""
        principal.require("machine:read")
        build = await self._get(principal, id)
        flight = self._flights.get(id)
        if flight is not None:
            await asyncio.wait([flight.done], timeout=timeout)
            if not flight.done.done():
                raise errors.TimedOut(f"build {id} has not ended within {timeout:g} s: it is {flight.build.state}")
            return flight.build
        return build

    async def follow(self, principal: Principal, id: BuildId) -> AsyncGenerator[Phase | bytes, None]:
        """Its phases, and what its commands write, as they come, until it has ended; first the phases until now.

        What was written before is told as far as it is kept (the last 64 KiB of a running build). Needs `machine:read`.
        """
        principal.require("machine:read")
        await self._get(principal, id)
        flight = self._flights.get(id)
        if flight is None:
            for phase in await self._store.list_phases(id):
                yield phase
            return
        async with contextlib.aclosing(flight.chronicle.follow()) as told:
            async for item in told:
                yield item

    async def cancel(self, principal: Principal, id: BuildId) -> Build:
        """End it; its machines are gone then. One that has ended stays as it is. Needs `machine:create`."""
        principal.require("machine:create")
        build = await self._get(principal, id)
        flight = self._flights.get(id)
        if flight is None:
            return build
        flight.cancel("it was asked for")
        await asyncio.wait([flight.done])
        return flight.build

    async def _get(self, principal: Principal, id: BuildId) -> Build:
        flight = self._flights.get(id)
        build = flight.build if flight is not None else await self._store.get_build(id)
        if build is None or build.tenant != principal.tenant:
            raise errors.NotFound("build not found")
        return build

    # What is asked for, and whether it is there.

    async def _plan(self, principal: Principal, request: BuildRequest) -> Plan:
        principal.require("machine:create")
        recipe = request.recipe
        checking.check(recipe, self._limits)
        if request.name is not None:
            requests.check_name(request.name)
        requests.check_priority(request.priority)
        if request.persistence is Persistence.EPHEMERAL:
            raise errors.InvalidRequest("a snapshot is persistent or sticky")
        requests.check_timers(Timers(idle=request.defaults.idle))
        if request.defaults.ports is not None:
            requests.check_ports(request.defaults.ports)
        if request.budget is not None and request.budget <= 0:
            raise errors.InvalidRequest(f"the budget is {request.budget:g} s: more than 0 s")
        base, title = await self._resolve(principal, request)
        box = await self._tools.fleet.host.capacity()
        default = Resources(
            cpus=min(self._limits.default_cpus, box.cpus),
            memory_mib=min(self._limits.default_memory_mib, box.memory_mib),
            disk_gib=min(self._limits.default_disk_gib, box.disk_gib),
        )
        its = plan.make(base, title, default, recipe.layers)
        for link in its.links:
            admission.check_possible(link.resources, box, self._limits.max_cpus)
        return its

    async def _resolve(
        self, principal: Principal, request: BuildRequest
    ) -> tuple[ImageRef | Snapshot | DockerPlan, str]:
        """The base, and its name for people."""
        base = request.recipe.base
        if base.snapshot is not None:
            snapshot = self._tools.shelf.whole(principal.tenant, base.snapshot)
            return snapshot, f"snapshot {snapshot.name}"
        if base.dockerfile is not None:
            async with self._planning[principal.tenant]:
                return await self._yard.dockerfiles.plan(base.dockerfile, self._resolver(request)), "Dockerfile"
        image = base.image or IMAGE
        return await self._resolver(request)(image), image

    def _resolver(self, request: BuildRequest) -> Resolve:
        async def resolve(reference: str) -> ImageRef:
            return await self._tools.fleet.host.images.resolve(reference, request.credentials)

        return resolve

    def _find(self, tenant: TenantId, its: Plan, request: BuildRequest) -> Snapshot | None:
        """What was made of it before and is as it was asked for."""
        if its.first_forced() < len(its.links):
            return None
        result = _result(request)
        if not its.links and isinstance(its.base, Snapshot):
            return its.base if result.is_met_by(its.base) else None
        return self._tools.shelf.known(tenant, its.recipe, result.is_met_by)

    async def _record_known(self, principal: Principal, request: BuildRequest, its: Plan, known: Snapshot) -> Build:
        name = plan.cached(its.where(len(its.links) - 1)) if its.links else its.title
        build = self._make_record(principal, request, its, (name,))
        now = build.started_at
        build = dataclasses.replace(build, state=BuildState.SUCCEEDED, snapshot=known.id, finished_at=now)
        await self._store.add_build(build)
        await Chronicle(build.id, self._store, self._clock).phase(name, known.id)
        return build

    def _make_record(self, principal: Principal, request: BuildRequest, its: Plan, planned: tuple[str, ...]) -> Build:
        now = self._clock.now()
        return Build(
            id=ids.new_build_id(),
            tenant=principal.tenant,
            request=f"ri-{ids.random_id()}",
            state=BuildState.PENDING,
            snapshot=ids.new_snapshot_id(),
            name=request.name,
            recipe=its.recipe,
            planned=planned,
            started_at=now,
            updated_at=now,
        )

    def _labelled(self, tenant: TenantId, its: Plan, request: BuildRequest) -> BuildRequest:
        """The same, under a name that is free where its own is taken by something else and is only a label."""
        if not request.is_label or request.name is None or not self._is_taken(tenant, request.name):
            return request
        unnamed = dataclasses.replace(request, name=None)
        for wanted in (request, unnamed):
            if self._find(tenant, its, wanted) is not None or self._flight(tenant, its, wanted) is not None:
                return wanted
        free = names.number(request.name, lambda name: self._is_taken(tenant, name), requests.NAME_LENGTH)
        return dataclasses.replace(request, name=next(free))

    def _flight(self, tenant: TenantId, its: Plan, request: BuildRequest) -> Flight | None:
        """The build of this that is under way."""
        mine = (flight for flight in self._flights.values() if flight.build.tenant == tenant)
        budget = self._budget(request)
        return next((flight for flight in mine if flight.answers(its, _result(request), budget)), None)

    def _budget(self, request: BuildRequest) -> float:
        return min(self._its.budget, request.budget or self._its.budget)

    def _is_taken(self, tenant: TenantId, name: str) -> bool:
        under_way = (flight.build for flight in self._flights.values())
        is_to_be = any((build.tenant, build.name) == (tenant, name) for build in under_way)
        return is_to_be or self._tools.shelf.named(tenant, name) is not None

    # What is under way.

    def _join(self, principal: Principal, request: BuildRequest, its: Plan) -> Flight:
        """The build of this that is under way, or a new one."""
        mine = [flight for flight in self._flights.values() if flight.build.tenant == principal.tenant]
        if (flight := self._flight(principal.tenant, its, request)) is not None:
            return flight
        if self._is_closing:
            raise errors.HutchError("the service is shutting down")
        if len(mine) >= MOST_AT_ONCE:
            raise errors.QuotaExceeded(f"{len(mine)} builds are under way or wait, which is the limit: wait for one")
        if request.name is not None and self._is_taken(principal.tenant, request.name):
            message = f"there is already a snapshot named {request.name}, or one is being built: choose another name"
            raise errors.Conflict(message)
        known = self._tools.shelf.known
        first = next((at + 1 for at in its.beginnings() if known(principal.tenant, its.links[at].recipe)), 0)
        build = self._make_record(principal, request, its, its.phases(first))
        commission = Commission(build, principal, its, _result(request), self._budget(request), request.credentials)
        flight = Flight(self._yard, commission, self._slots[principal.tenant], self._note_end)
        self._flights[build.id] = flight
        self._tools.background.keep(flight.run())
        return flight

    def _note_end(self, flight: Flight) -> None:
        self._flights.pop(flight.build.id, None)

    async def load(self, recorded: Recorded) -> None:
        """What was under way when the service died is lost, unless its snapshot was made."""
        now = self._clock.now()
        for build in await self._store.list_unfinished_builds():
            self._left.add(build.id)
            if self._tools.shelf.get(build.snapshot) is not None:
                build = dataclasses.replace(build, state=BuildState.SUCCEEDED)
            else:
                build = dataclasses.replace(build, state=BuildState.LOST, reason="the service died meanwhile")
            await self._store.save_build(dataclasses.replace(build, updated_at=now, finished_at=now))

    async def serve(self) -> None:
        """Delete the machines that were left; end what is under way when the service ends."""
        try:
            await self._remove_left()
            await asyncio.get_running_loop().create_future()
        finally:
            self._is_closing = True
            flights = builtins.list(self._flights.values())
            for flight in flights:
                flight.cancel("the service was stopped")
            if flights:
                await asyncio.wait([flight.done for flight in flights], timeout=CLOSE_LIMIT)

    async def close(self) -> None:
        """Nothing is left to be done."""

    async def _remove_left(self) -> None:
        """What a crash has left goes at once, and not only when its lifetime is over."""
        fleet = self._tools.fleet
        for entry in fleet.records.all():
            if entry.machine.labels.get(LABEL) in self._left and entry.machine.build in self._left:
                try:
                    await fleet.carry_out(entry, Operation(Verb.DELETE, "the service died during its build"))
                except errors.HutchError as error:
                    log.warning("a build's machine was left", machine=entry.machine.id, error=error.message)


def _result(request: BuildRequest) -> Result:
    return Result(request.name, request.persistence, request.priority, request.defaults)
