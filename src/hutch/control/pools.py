"""Warm pools: machines kept restored, warmed and paused, so that a start that fits takes one instead of making one.

A first start of a machine takes a ready member of a pool of its tenant whose image, resources and network are exactly
its own; if there is none, it is an ordinary start. A checkout names the pool, and says whether it must have a member.
Members cost memory: they count in their tenant's quota as running machines do, are charged to it as paused ones are,
and are the first to go when a machine needs their place. They are made one at a time, in the background, and none
outlives the service: a new one makes new ones (`members.py`).
"""

import asyncio
import builtins
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hutch import settings
from hutch.control import names, requests
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.making import Making, OutOf
from hutch.control.metering import Meter
from hutch.control.requests import MachineRequest
from hutch.control.warm import Taken, Warm
from hutch.model import errors, ids
from hutch.model.ids import PoolId, TenantId
from hutch.model.machine import Checkout, CheckoutMode, CheckoutSource, Machine, Pool, PoolState
from hutch.store.interface import Store

MAX_MEMBERS = 64
MAX_WAIT = 30.0
"""Seconds that a checkout may wait for a member."""

WARM_UP = ("sh", "-c", "true")


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """What a caller asks for. Of `machine` only image, resources and network may be given."""

    machine: MachineRequest
    name: str | None = None
    min: int = 1
    max: int | None = None  # None: as many as `min`
    warm_up: Sequence[str] | None = None  # None: `sh -c true`
    mode: CheckoutMode = CheckoutMode.PREFER
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolChange:
    """What of a pool is to be otherwise; None: as it is. Its image, resources and network stay."""

    name: str | None = None
    min: int | None = None
    max: int | None = None
    warm_up: Sequence[str] | None = None
    state: PoolState | None = None
    mode: CheckoutMode | None = None
    labels: Mapping[str, str] | None = None
    metadata: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool and how it stands."""

    pool: Pool
    ready: int
    making: int
    claimed: int  # since the service began
    error: errors.HutchError | None = None  # why it is not full, if it should be

    @property
    def reason(self) -> str | None:
        """The same in words."""
        return None if self.error is None else self.error.message


class Pools:
    """The warm pools of all tenants."""

    def __init__(
        self,
        fleet: Fleet,
        making: Making,
        background: Background,
        meter: Meter,
        store: Store,
        clock: Clock,
        limits: settings.Machines,
    ) -> None:
        self._fleet = fleet
        self._members = fleet.members
        self._making = making
        self._background = background
        self._meter = meter
        self._store = store
        self._clock = clock
        self._limits = limits
        self._claimed: set[tuple[TenantId, str]] = set()  # names of pools that are being made
        self._changing = asyncio.Lock()

    async def create(self, principal: Principal, request: PoolRequest) -> PoolStatus:
        """Begin to keep machines ready. Needs `machine:create`. `Conflict` for a name that is taken."""
        principal.require("machine:create")
        check(request, self._limits)
        tenant = principal.tenant
        name = request.name or names.make_name(lambda it: self._is_taken(tenant, it))
        if self._is_taken(tenant, name):
            raise errors.Conflict(f"there is already a pool named {name}: choose another name, or delete it first")
        self._claimed.add((tenant, name))
        try:
            host = self._fleet.host
            image = await host.images.resolve(request.machine.image)
            spec = requests.plan(request.machine, name, image, self._limits, await host.capacity())
            most = request.min if request.max is None else request.max
            argv = tuple(request.warm_up or WARM_UP)
            pool = Pool(
                *(ids.new_pool_id(), tenant, name, spec, request.min, most, argv, self._clock.now()),
                mode=request.mode,
                labels=dict(request.labels),
                metadata=dict(request.metadata),
            )
            await self._store.add_pool(pool)
        finally:
            self._claimed.discard((tenant, name))
        return _status(self._members.add(pool))

    def _is_taken(self, tenant: TenantId, name: str) -> bool:
        return (tenant, name) in self._claimed or any(it.pool.name == name for it in self._of(tenant))

    def list(self, principal: Principal) -> builtins.list[PoolStatus]:
        """The tenant's, oldest first. Needs `machine:read`."""
        principal.require("machine:read")
        return [_status(it) for it in self._of(principal.tenant)]

    def find(self, principal: Principal, id_or_name: str) -> PoolStatus:
        """By id, else by name. Needs `machine:read`. `NotFound`."""
        principal.require("machine:read")
        return _status(self._find(principal, id_or_name))

    async def change(self, principal: Principal, id: PoolId, change: PoolChange) -> PoolStatus:
        """Needs `machine:create`; another name, sizes, warm-up, or whether it is enabled, disabled or drained.

        Members that are too many go, and so do those that were warmed by another command. `InvalidRequest`;
        `Conflict` for a name that is taken.
        """
        principal.require("machine:create")
        return await self._background.finish(self._change(principal, id, change))

    async def _change(self, principal: Principal, id: PoolId, change: PoolChange) -> PoolStatus:
        async with self._changing:
            warm = self._get(principal, id)
            pool = dataclasses.replace(changed(warm.pool, change), updated_at=self._clock.now())
            place = (pool.tenant, pool.name)
            if pool.name != warm.pool.name and self._is_taken(*place):
                raise errors.Conflict(f"there is already a pool named {pool.name}: choose another name")
            self._claimed.add(place)
            try:
                await self._store.save_pool(pool)
            finally:
                self._claimed.discard(place)
            await self._members.change(warm, pool)
            return _status(warm)

    async def checkout(
        self,
        principal: Principal,
        id_or_name: str | None,
        request: MachineRequest | None = None,
        mode: CheckoutMode | None = None,
        wait: float = 0.0,
    ) -> Machine:
        """A new running machine out of a pool, whose shape it has; of `request` name, env, labels, timers… count.

        Needs `machine:create`. `mode` None: the pool's. It waits up to `wait` seconds for a ready member, and has it
        alone. Without one it is made as any other (`prefer`), or `PoolUnavailable` and nothing is made (`require`).
        With `bypass` it takes none, even if one would fit: what the request leaves out is the pool's, and no pool need
        be named. What came of it is the machine's `checkout`. `NotFound`; `InvalidRequest` for another shape.
        """
        principal.require("machine:create")
        if not 0 <= wait <= MAX_WAIT:
            raise errors.InvalidRequest(f"wait is {wait:g} s: 0 to {MAX_WAIT:g}")
        request = request or MachineRequest("")
        if id_or_name is None:
            if mode is not CheckoutMode.BYPASS:
                raise errors.InvalidRequest("name a pool, or bypass them all")
            out_of = OutOf(Checkout(CheckoutSource.BYPASSED, mode))
            return await self._making.launch(principal.tenant, request, out_of)
        warm = self._find(principal, id_or_name)
        pool, mode = warm.pool, mode or warm.pool.mode
        if mode is CheckoutMode.BYPASS:
            out_of = OutOf(Checkout(CheckoutSource.BYPASSED, mode, pool.id))
            return await self._making.launch(principal.tenant, fill(request, pool), out_of)
        request = fit(request, pool)
        if request.mounts and mode is CheckoutMode.REQUIRE:
            raise errors.InvalidRequest("volumes: machines of a pool have none; prefer one, and it is made with them")
        member = None if request.mounts else await self._members.reserve(warm, wait)
        return await self._background.finish(self._launch(pool, request, mode, member))

    async def _launch(self, pool: Pool, request: MachineRequest, mode: CheckoutMode, member: Taken | None) -> Machine:
        if member is None and mode is CheckoutMode.REQUIRE:
            how = "ready" if pool.state is PoolState.ENABLED else f"to be had: it is {pool.state}"
            raise errors.PoolUnavailable(f"no machine of pool {pool.name} is {how}")
        out_of = OutOf(Checkout(CheckoutSource.COLD, mode, pool.id), pool.spec.image, member)
        try:
            return await self._making.launch(pool.tenant, request, out_of, f"claimed from pool {pool.name}")
        finally:
            self._members.settle(member)

    async def delete(self, principal: Principal, id: PoolId) -> None:
        """End it and its members; claimed machines live on. Needs `machine:delete`."""
        principal.require("machine:delete")
        await self._background.finish(self._delete(self._get(principal, id)))

    async def _delete(self, warm: Warm) -> None:
        # The record goes last: what it knows of, its members and their usage, the next service can end.
        try:
            await self._members.end(warm)
            await self._meter.beat()
            await self._store.remove_pool(warm.pool.id)
        except BaseException:
            self._members.go_on(warm)
            raise
        self._members.forget(warm)

    def _of(self, tenant: TenantId) -> builtins.list[Warm]:
        return [it for it in self._members.all() if it.pool.tenant == tenant and not it.is_ended]

    def _find(self, principal: Principal, id_or_name: str) -> Warm:
        named = [it for it in self._of(principal.tenant) if id_or_name in (it.pool.id, it.pool.name)]
        if not named:
            raise errors.NotFound("pool not found")
        return min(named, key=lambda it: it.pool.id != id_or_name)

    def _get(self, principal: Principal, id: PoolId) -> Warm:
        warm = self._members.get(id)
        if warm is None or warm.is_ended or warm.pool.tenant != principal.tenant:
            raise errors.NotFound("pool not found")
        return warm


def check(request: PoolRequest, limits: settings.Machines) -> None:
    """`InvalidRequest`, naming the field, for a pool that cannot be."""
    machine = request.machine
    requests.check(dataclasses.replace(machine, labels=request.labels, metadata=request.metadata), limits)
    shape = MachineRequest(
        machine.image,
        cpus=machine.cpus,
        memory_mib=machine.memory_mib,
        disk_gib=machine.disk_gib,
        network=machine.network,
    )
    if machine != shape:
        raise errors.InvalidRequest("a pool has an image, resources and a network: give all else when one is claimed")
    if request.name is not None:
        requests.check_name(request.name)
    _check_size(request.min, request.min if request.max is None else request.max)
    if request.warm_up is not None:
        requests.check_argv("warm-up", tuple(request.warm_up))


def _check_size(least: int, most: int) -> None:
    if not 0 <= least <= most <= MAX_MEMBERS:
        raise errors.InvalidRequest(
            f"min is {least} and max is {most}: 0 to {MAX_MEMBERS} each, and max not less than min"
        )


def changed(pool: Pool, change: PoolChange) -> Pool:
    """A pool with a change. `InvalidRequest`, naming the field."""
    given = {field.name: getattr(change, field.name) for field in dataclasses.fields(change)}
    given = {name: value for name, value in given.items() if value is not None}
    if change.name is not None:
        requests.check_name(change.name)
    if change.warm_up is not None:
        given["warm_up"] = tuple(change.warm_up)
        requests.check_argv("warm-up", given["warm_up"])
    requests.check_labels(change.labels or {})
    requests.check_metadata(change.metadata or {})
    new = dataclasses.replace(pool, **given)
    _check_size(new.min, new.max)
    return new


def fit(request: MachineRequest, pool: Pool) -> MachineRequest:
    """The same with the pool's shape. `InvalidRequest` if it asks for another."""
    its = pool.spec
    for what, asked, default, has in (
        ("image", request.image, "", its.image.reference),
        ("cpus", request.cpus, None, its.resources.cpus),
        ("memory", request.memory_mib, None, its.resources.memory_mib),
        ("disk", request.disk_gib, None, its.resources.disk_gib),
        ("network", request.network, None, its.network),
        ("snapshot", request.snapshot, None, None),
    ):
        if asked not in (default, has):
            raise errors.InvalidRequest(f"{what}: machines of pool {pool.name} have their own, leave it out")
    return fill(request, pool)


def fill(request: MachineRequest, pool: Pool) -> MachineRequest:
    """The same; of an image's shape and network what is left out is the pool's."""
    its = pool.spec.resources
    if request.snapshot is not None:
        return request
    return dataclasses.replace(
        request,
        image=request.image or pool.spec.image.reference,
        cpus=its.cpus if request.cpus is None else request.cpus,
        memory_mib=its.memory_mib if request.memory_mib is None else request.memory_mib,
        disk_gib=its.disk_gib if request.disk_gib is None else request.disk_gib,
        network=request.network or pool.spec.network,
    )


def _status(warm: Warm) -> PoolStatus:
    is_short = len(warm.ready) < warm.pool.min
    return PoolStatus(
        warm.pool,
        len(warm.ready),
        int(warm.making is not None),
        warm.claimed,
        warm.error if is_short else None,
    )
