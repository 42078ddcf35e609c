"""The machines of one build: made, worked in, kept as snapshots, and gone when the build is over, however it ends.

Build machines are ordinary machines of the tenant, ephemeral, with a lifetime that ends soon after the build must have
ended: what a crash leaves goes by itself. They come out of no pool, whose members have run something else before.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from hutch.control.background import Background
from hutch.control.building.chronicle import Chronicle
from hutch.control.files import Files
from hutch.control.fleet import Fleet
from hutch.control.inside import Inside
from hutch.control.keys import Principal
from hutch.control.machines import Machines
from hutch.control.making import Making, OutOf
from hutch.control.operation import Amending
from hutch.control.processes import Processes
from hutch.control.requests import MachineRequest
from hutch.control.shelf import Shelf, last_use
from hutch.control.snapshots import Snapshots
from hutch.model import errors
from hutch.model.builds import Build
from hutch.model.ids import MachineId
from hutch.model.kinds import Kind
from hutch.model.machine import (
    Checkout,
    CheckoutMode,
    CheckoutSource,
    Defaults,
    ImageRef,
    Machine,
    Persistence,
    Resources,
    Snapshot,
    Timers,
)
from hutch.model.recipes import Credentials

log = structlog.get_logger(__name__)

LABEL = "hutch.build"
"""The label of a build's machines; its value is the build's id."""

SLACK = 120.0
"""Seconds beyond its budget after which a build's machines go by themselves."""

CLEAR_LIMIT = 15.0
"""Seconds a build waits for the end of its machines; they go all the same."""

_SCOPES = frozenset({"machine:create", "machine:read", "machine:exec", "machine:files", "machine:delete"})
_BYPASSED = Checkout(CheckoutSource.BYPASSED, CheckoutMode.BYPASS)


@dataclass(frozen=True)
class Tools:
    """What builds work with."""

    fleet: Fleet
    making: Making
    machines: Machines
    snapshots: Snapshots
    shelf: Shelf
    processes: Processes
    files: Files
    background: Background


@dataclass(frozen=True, slots=True)
class Result:
    """What the snapshot is to be, whatever is in it."""

    name: str | None
    persistence: Persistence
    priority: int
    defaults: Defaults

    def is_met_by(self, snapshot: Snapshot) -> bool:
        """Whether this one will do. What is kept for good will do for who would have had it removed."""
        is_kept = snapshot.persistence is Persistence.PERSISTENT
        is_as_long = is_kept or (self.persistence, self.priority) == (snapshot.persistence, snapshot.priority)
        return self.name in (None, snapshot.name) and self.defaults == snapshot.defaults and is_as_long


@dataclass(frozen=True, slots=True)
class Order:
    """What a workbench is to be for."""

    build: Build
    budget: float  # seconds the build may take in all
    resources: Resources  # of its machines
    credentials: Credentials | None = None  # of a registry
    is_fresh: bool = False  # nothing that is known is used


class Workbench:
    """Of one build. `close_all` ends it."""

    def __init__(self, tools: Tools, principal: Principal, order: Order, chronicle: Chronicle) -> None:
        self.build = order.build
        self.principal = dataclasses.replace(principal, scopes=principal.scopes | _SCOPES)
        self.credentials = order.credentials
        self._tools = tools
        self._order = order
        self._chronicle = chronicle
        self._count = 0
        self._making: set[asyncio.Task[Machine]] = set()
        self._open: set[MachineId] = set()

    def tell(self, data: bytes) -> None:
        """Output of a command, for those who follow the build."""
        self._chronicle.tell(data)

    async def phase(self, name: str, snapshot: Snapshot | None = None) -> None:
        """The build has begun this; `snapshot`: it found or made it."""
        await self._chronicle.phase(name, None if snapshot is None else snapshot.id)

    def find(self, recipe: str) -> Snapshot | None:
        """The layer that this recipe is the hash of, if the tenant has it."""
        return self._tools.shelf.known(self.build.tenant, recipe)

    def holding(self, source: object) -> contextlib.AbstractContextManager[None]:
        """Within, a snapshot that is still to be built on is there, unless its owner deletes it."""
        return self._tools.shelf.hold(source.id) if isinstance(source, Snapshot) else contextlib.nullcontext()

    async def known(self, key: str) -> Snapshot | None:
        """What was kept under this key (a hash) by a build of the same tenant, in machines of the same size."""
        found = self.find(self._sized(key))
        is_own = found is not None and found.build == self.build.id
        return found if is_own or not self._order.is_fresh else None

    async def keep(self, inside: Inside, key: str, title: str) -> Snapshot:
        """A snapshot of a machine, to be found under this key from now on. The machine goes on."""
        log.debug("keeping a step", build=self.build.id, title=title)
        return await self.snapshot(inside, self._sized(key))

    def _sized(self, key: str) -> str:
        return hashlib.sha256(f"{key} {self._order.resources}".encode()).hexdigest()

    async def snapshot(self, inside: Inside, recipe: str) -> Snapshot:
        """The same, as the layer that this recipe is the hash of. Removed when room is needed."""
        return await self._create(inside, recipe=recipe, persistence=Persistence.STICKY)

    async def keep_result(self, inside: Inside, result: Result) -> Snapshot:
        """The snapshot that the build makes."""
        return await self._create(
            inside,
            name=result.name,
            persistence=result.persistence,
            priority=result.priority,
            id=self.build.snapshot,
            recipe=self.build.recipe,
            defaults=result.defaults,
        )

    async def _create(self, inside: Inside, **its: Any) -> Snapshot:
        """At the quota of snapshots the tenant's sticky ones make room, as they would on a full disk."""
        while True:
            try:
                return await self._tools.snapshots.create(self.principal, inside.machine, build=self.build.id, **its)
            except errors.QuotaExceeded as error:
                sticky = [it for it in self._tools.shelf.sticky() if it.tenant == self.build.tenant]
                if error.context.get("limit") != "snapshots" or not sticky:
                    raise
                oldest = min(sticky, key=lambda it: (it.priority, last_use(it)))
                log.info("removing a sticky snapshot for the quota", snapshot=oldest.id, build=self.build.id)
                await self._tools.background.finish(self._tools.shelf.remove(oldest))

    async def open(
        self,
        source: ImageRef | Snapshot,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        command: tuple[str, ...] | None = None,
        user: str | None = None,
    ) -> Inside:
        """A running machine of an image, or of a snapshot. Raises what making and starting one does."""
        self._count += 1
        is_image, its = isinstance(source, ImageRef), self._order.resources
        request = MachineRequest(
            image=source.reference if isinstance(source, ImageRef) else "",
            snapshot=source.id if isinstance(source, Snapshot) else None,
            name=f"build-{self.build.id[:10]}-{self._count}",
            cpus=its.cpus if is_image else None,
            memory_mib=its.memory_mib if is_image else None,
            disk_gib=its.disk_gib if is_image else None,
            env=env or {},
            workdir=workdir,
            command=command,
            user=user,
            labels={LABEL: self.build.id},
            persistence=Persistence.EPHEMERAL,
            timers=Timers(lifetime=int(self._order.budget + SLACK)),
            build=self.build.id,
        )
        if isinstance(source, ImageRef):
            await self._tools.fleet.host.images.ensure(source, credentials=self.credentials)
        out_of = OutOf(_BYPASSED, image=source if isinstance(source, ImageRef) else None)
        making = self._tools.background.keep(self._tools.making.make(self.build.tenant, request, out_of))
        self._making.add(making)
        machine = await asyncio.shield(making)
        self._making.discard(making)
        self._open.add(machine.id)
        await self._tools.machines.start(self.principal, machine.id)
        return Inside(self._tools.processes, self._tools.files, self.principal, machine.id)

    async def resize(self, inside: Inside, has: Resources, wanted: Resources) -> None:
        """Other sizes for a machine; it has booted from its disk when its vCPUs or memory are others."""
        await self._tools.machines.resize(
            self.principal,
            inside.machine,
            disk_gib=None if wanted.disk_gib == has.disk_gib else wanted.disk_gib,
            cpus=None if wanted.cpus == has.cpus else wanted.cpus,
            memory_mib=None if wanted.memory_mib == has.memory_mib else wanted.memory_mib,
        )

    async def set_workdir(self, inside: Inside, workdir: str) -> None:
        """Of machines that are made of what is kept of this one from now on."""

        def change(machine: Machine) -> tuple[str, Mapping[str, object]]:
            spec = dataclasses.replace(machine.spec, workdir=workdir)
            return f"machines made of it work in {workdir}", {"spec": spec}

        entry = self._tools.fleet.entry(self.principal, inside.machine, "machine:exec")
        await self._tools.fleet.carry_out(entry, Amending(Kind.NOTED, change))

    async def close(self, inside: Inside) -> None:
        """Its machine is no more. No error if it went by itself."""
        with contextlib.suppress(errors.NotFound):
            await self._tools.machines.delete(self.principal, inside.machine)
        self._open.discard(inside.machine)

    async def close_all(self) -> None:
        """All machines of the build are gone, or about to go. Raises nothing."""
        going = self._tools.background.go_on("ending a build's machines", self._close_all())
        await asyncio.wait([going], timeout=CLEAR_LIMIT)

    async def _close_all(self) -> None:
        for made in await asyncio.gather(*self._making, return_exceptions=True):
            if isinstance(made, Machine):
                self._open.add(made.id)
        deleting = [self._tools.machines.delete(self.principal, machine) for machine in self._open]
        for ended in await asyncio.gather(*deleting, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, errors.NotFound):
                log.warning("a build's machine could not be deleted", build=self.build.id, error=repr(ended))
