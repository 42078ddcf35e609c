"""Warm pools: machines kept restored, warmed and paused, so that a start that fits takes one instead of making one.

A start of a machine that never ran takes a ready member of a pool of its tenant whose image, resources and network
are exactly its own; if there is none, it is an ordinary start. Members cost memory and are the first to go when it is
needed. They are made one at a time, in the background, and none outlives the service: a new one makes new ones
(`members.py`).
"""

import builtins
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from hutch import settings
from hutch.control import names, requests
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.making import Making
from hutch.control.members import Warm
from hutch.control.requests import MachineRequest
from hutch.model import errors, ids
from hutch.model.ids import PoolId, TenantId
from hutch.model.machine import Machine, NetworkPolicy, Pool
from hutch.store.interface import Store

MAX_MEMBERS = 64
WARM_UP = ("sh", "-c", "true")


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """What a caller asks for. Of `machine` only image, resources and network may be given."""

    machine: MachineRequest
    name: str | None = None
    min: int = 1
    max: int | None = None  # None: as many as `min`
    warm_up: Sequence[str] | None = None  # None: `sh -c true`


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool and how it stands."""

    pool: Pool
    ready: int
    making: int
    claimed: int  # since the service began
    reason: str | None = None  # why it is not full, if it should be


class Pools:
    """The warm pools of all tenants."""

    def __init__(
        self,
        fleet: Fleet,
        making: Making,
        background: Background,
        store: Store,
        clock: Clock,
        limits: settings.Machines,
    ) -> None:
        self._fleet = fleet
        self._members = fleet.members
        self._making = making
        self._background = background
        self._store = store
        self._clock = clock
        self._limits = limits
        self._claimed: set[tuple[TenantId, str]] = set()  # names of pools that are being made

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
            pool = Pool(ids.new_pool_id(), tenant, name, spec, request.min, most, argv, self._clock.now())
            await self._store.add_pool(pool)
        finally:
            self._claimed.discard((tenant, name))
        return _status(self._members.add(pool))

    def _is_taken(self, tenant: TenantId, name: str) -> bool:
        return (tenant, name) in self._claimed or any(warm.pool.name == name for warm in self._of(tenant))

    def list(self, principal: Principal) -> builtins.list[PoolStatus]:
        """The tenant's, oldest first. Needs `machine:read`."""
        principal.require("machine:read")
        return [_status(warm) for warm in self._of(principal.tenant)]

    def find(self, principal: Principal, id_or_name: str) -> PoolStatus:
        """By id, else by name. Needs `machine:read`. `NotFound`."""
        principal.require("machine:read")
        named = [warm for warm in self._of(principal.tenant) if id_or_name in (warm.pool.id, warm.pool.name)]
        if not named:
            raise errors.NotFound("pool not found")
        return _status(min(named, key=lambda warm: warm.pool.id != id_or_name))

    async def claim(self, principal: Principal, id: PoolId, request: MachineRequest | None = None) -> Machine:
        """A new running machine of the pool's shape; of `request` name, env, labels, timers… count. Needs
        `machine:create`. When no member is ready it is made as any other. `InvalidRequest` for another shape."""
        principal.require("machine:create")
        pool = self._get(principal, id).pool
        request = fit(request or MachineRequest(""), pool)
        cause = f"claimed from pool {pool.name}"
        return await self._making.launch(principal.tenant, request, pool.spec.image, cause)

    async def delete(self, principal: Principal, id: PoolId) -> None:
        """End it and its members; claimed machines live on. Needs `machine:delete`."""
        principal.require("machine:delete")
        await self._background.finish(self._delete(self._get(principal, id)))

    async def _delete(self, warm: Warm) -> None:
        # The record goes last: a database without pools and machines would not know a home with members as its own.
        await self._members.end(warm)
        await self._store.remove_pool(warm.pool.id)

    def _of(self, tenant: TenantId) -> builtins.list[Warm]:
        return [warm for warm in self._members.all() if warm.pool.tenant == tenant]

    def _get(self, principal: Principal, id: PoolId) -> Warm:
        warm = self._members.get(id)
        if warm is None or warm.pool.tenant != principal.tenant:
            raise errors.NotFound("pool not found")
        return warm


def check(request: PoolRequest, limits: settings.Machines) -> None:
    """`InvalidRequest`, naming the field, for a pool that cannot be."""
    machine = request.machine
    requests.check(machine, limits)
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
    most = request.min if request.max is None else request.max
    if not 0 <= request.min <= most <= MAX_MEMBERS:
        raise errors.InvalidRequest(
            f"min is {request.min} and max is {most}: 0 to {MAX_MEMBERS} each, and max not less than min"
        )
    if request.warm_up is not None:
        requests.check_argv("warm-up", tuple(request.warm_up))


def fit(request: MachineRequest, pool: Pool) -> MachineRequest:
    """The same with the pool's shape. `InvalidRequest` if it asks for another."""
    its = pool.spec
    for what, asked, default, has in (
        ("image", request.image, "", its.image.reference),
        ("cpus", request.cpus, None, its.resources.cpus),
        ("memory", request.memory_mib, None, its.resources.memory_mib),
        ("disk", request.disk_gib, None, its.resources.disk_gib),
        ("network", request.network, NetworkPolicy(), its.network),
        ("snapshot", request.snapshot, None, None),
    ):
        if asked not in (default, has):
            raise errors.InvalidRequest(f"{what}: machines of pool {pool.name} have their own, leave it out")
    return dataclasses.replace(
        request,
        image=its.image.reference,
        cpus=its.resources.cpus,
        memory_mib=its.resources.memory_mib,
        disk_gib=its.resources.disk_gib,
        network=its.network,
    )


def _status(warm: Warm) -> PoolStatus:
    is_short = len(warm.ready) < warm.pool.min
    return PoolStatus(
        warm.pool,
        len(warm.ready),
        int(warm.making is not None),
        warm.claimed,
        warm.reason if is_short else None,
    )
