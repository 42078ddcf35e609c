"""From a request to a machine's record and its place on the host, by image or out of a snapshot, and to its start."""

import asyncio
import contextlib
import dataclasses
from dataclasses import dataclass

from hutch import settings
from hutch.control import admission, idempotency, names, quotas, requests
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.operation import Creation
from hutch.control.policy import Verb
from hutch.control.requests import MachineRequest
from hutch.control.shelf import Shelf
from hutch.control.volumes import Rack
from hutch.control.warm import Taken
from hutch.model import errors, ids
from hutch.model.ids import MachineId, TenantId
from hutch.model.machine import Checkout, ImageRef, Machine, MachineSpec, Resources, Snapshot
from hutch.model.states import State
from hutch.model.volumes import Mount


@dataclass(frozen=True, slots=True)
class OutOf:
    """How a pool is used for a new machine."""

    checkout: Checkout
    image: ImageRef | None = None  # what the request's means: the pool found out before
    member: Taken | None = None  # which it is to become


class Making:
    """Makes machines."""

    def __init__(
        self, fleet: Fleet, shelf: Shelf, rack: Rack, background: Background, clock: Clock, limits: settings.Machines
    ) -> None:
        self._fleet = fleet
        self._shelf = shelf
        self._rack = rack
        self._background = background
        self._clock = clock
        self._limits = limits
        self._remaking: dict[MachineId, asyncio.Task[Machine]] = {}

    async def make(self, tenant: TenantId, request: MachineRequest, out_of: OutOf | None = None) -> Machine:
        """See `Machines.create`."""
        requests.check(request, self._limits)
        records = self._fleet.records
        name = request.name or names.make_name(lambda name: records.is_taken(tenant, name))
        snapshot = None if request.snapshot is None else self._shelf.whole(tenant, request.snapshot)
        mounts = self._find_mounts(tenant, request)
        with records.claim(tenant, name):
            if snapshot is None:
                host = self._fleet.host
                image = (out_of and out_of.image) or await host.images.resolve(request.image)
                spec = requests.plan(request, name, image, self._limits, await host.capacity())
                spec = dataclasses.replace(spec, mounts=mounts)
            else:
                requests.check_copy(f"snapshot {snapshot.name}", snapshot.spec)
                spec = requests.plan_from(request, name, snapshot)
            return await self._background.finish(self._make(tenant, request, name, spec, snapshot, out_of))

    def _find_mounts(self, tenant: TenantId, request: MachineRequest) -> tuple[Mount, ...]:
        """`NotFound` for a volume that the tenant has not."""
        mounts = tuple(Mount(self._rack.find(tenant, it.volume).id, it.path, it.readonly) for it in request.mounts)
        if len({mount.volume for mount in mounts}) < len(mounts):
            raise errors.InvalidRequest("mounts: one volume is given twice, by its id and by its name")
        return mounts

    async def launch(
        self,
        tenant: TenantId,
        request: MachineRequest,
        out_of: OutOf | None = None,
        cause: str = "asked for",
        patience: float | None = None,
    ) -> Machine:
        """The same, and start it: it runs when this returns, or there is none.

        With `patience` it returns after so many seconds all the same: the start goes on, and one that fails then
        leaves a machine that has failed.
        """
        return await self._background.finish(self._launch(tenant, request, out_of, cause, patience))

    async def _launch(
        self, tenant: TenantId, request: MachineRequest, out_of: OutOf | None, cause: str, patience: float | None
    ) -> Machine:
        machine = await self.make(tenant, request, out_of)
        entry = self._fleet.records.get(machine.id)
        if entry is None:
            raise errors.Conflict(f"machine {machine.name} was deleted before it was started")
        starting = self._background.keep(self._fleet.do(entry, Verb.START, cause))
        done, _ = await asyncio.wait([starting], timeout=patience)
        if not done:
            return entry.machine
        try:
            return starting.result()
        except errors.HutchError:
            with contextlib.suppress(errors.HutchError):
                await self._fleet.do(entry, Verb.DELETE, "it was to run at once and could not be started")
            raise

    async def check_resize(
        self, has: Resources, disk_gib: int | None, cpus: int | None, memory_mib: int | None
    ) -> None:
        """`InvalidRequest` for what no machine that has this much can be given, `NoCapacity` if this box has less."""
        requests.check_resize(has, disk_gib, cpus, memory_mib, self._limits)
        asked = Resources(cpus or 0, memory_mib or 0, 0)
        admission.check_possible(asked, await self._fleet.host.capacity(), self._limits.max_cpus)

    async def remake(self, gone: Machine) -> Machine:
        """Make a destroyed machine anew: same id, same spec, of what it was made of; same name, if that is free.

        Calls at once make it once. `NotFound` if its snapshot or a volume of its is gone.
        """
        doing = self._remaking.get(gone.id)
        if doing is None:
            doing = self._remaking[gone.id] = self._background.keep(self._remake(gone))
            doing.add_done_callback(lambda _: self._remaking.pop(gone.id, None))
        return await asyncio.shield(doing)

    async def give_up(self, gone: Machine) -> None:
        """A destroyed machine is not to be made anew any more; what is just being made of it is deleted."""
        if (doing := self._remaking.get(gone.id)) is not None:
            await asyncio.wait([doing])
        if (entry := self._fleet.records.get(gone.id)) is not None:
            await self._fleet.do(entry, Verb.DELETE)
        await self._fleet.records.bury(gone.id)

    async def _remake(self, gone: Machine) -> Machine:
        records, tenant = self._fleet.records, gone.tenant
        if (living := records.get(gone.id)) is not None:
            return living.machine
        snapshot = self._find_origin(gone)
        name = gone.name
        if records.is_taken(tenant, name):
            name = next(names.number(name, lambda name: records.is_taken(tenant, name), requests.NAME_LENGTH))
        machine = self._anew(gone, name)
        claims = [mount.volume for mount in gone.spec.mounts]
        with records.claim(tenant, name):
            use = {machine.id: quotas.of_machine(machine)}
            with self._fleet.quotas.claim(tenant, use), self._rack.claim(claims):
                entry = await records.revive(machine, f"making it anew from {_source(machine.spec, snapshot)}")
        saved = None if snapshot is None else snapshot.spec.resources
        return await self._fleet.carry_out(entry, Creation(machine.snapshot, saved=saved))

    def _find_origin(self, gone: Machine) -> Snapshot | None:
        if gone.snapshot is None:
            return None
        found = self._shelf.get(gone.snapshot)
        if found is None:
            raise errors.NotFound(f"machine {gone.name} cannot be made anew: the snapshot it was made of is gone")
        self._shelf.touch(found.id)
        return self._shelf.whole(gone.tenant, found.id)

    def _anew(self, gone: Machine, name: str) -> Machine:
        """Its record: with the size it had, whatever its snapshot has."""
        now = self._clock.now()
        return dataclasses.replace(
            gone,
            name=name,
            spec=dataclasses.replace(gone.spec, hostname=requests.make_hostname(name)),
            state=State.CREATING,
            created_at=now,
            updated_at=now,
            reason=None,
            ready_at=None,
            last_activity_at=None,
            suspended_at=None,
            checkout=None,
            timers=dataclasses.replace(gone.timers, since=None),
        )

    async def _make(
        self,
        tenant: TenantId,
        request: MachineRequest,
        name: str,
        spec: MachineSpec,
        snapshot: Snapshot | None,
        out_of: OutOf | None,
    ) -> Machine:
        now = self._clock.now()
        machine = Machine(
            id=ids.new_machine_id(),
            tenant=tenant,
            name=name,
            spec=spec,
            state=State.CREATING,
            created_at=now,
            updated_at=now,
            labels=dict(request.labels),
            metadata=dict(request.metadata),
            persistence=request.persistence,
            priority=request.priority,
            timers=request.timers,
            ports=request.ports,
            wakes_on_traffic=request.wakes_on_traffic,
            starts_on_traffic=request.starts_on_traffic,
            private_traffic=request.private_traffic,
            ends_on=request.ends_on,
            build=request.build,
            is_recreated=request.is_recreated,
            parent=None if snapshot is None else snapshot.machine,
            snapshot=None if snapshot is None else snapshot.id,
            checkout=None if out_of is None else out_of.checkout,
        )
        claims = [mount.volume for mount in spec.mounts]
        with self._fleet.quotas.claim(tenant, {machine.id: quotas.of_machine(machine)}), self._rack.claim(claims):
            await idempotency.expect([machine.id])
            entry = await self._fleet.records.add(machine, f"creating from {_source(spec, snapshot)}")
            entry.member = None if out_of is None else out_of.member
        return await self._fleet.carry_out(entry, Creation(machine.snapshot))


def _source(spec: MachineSpec, snapshot: Snapshot | None) -> str:
    return spec.image.reference if snapshot is None else f"snapshot {snapshot.name}"
