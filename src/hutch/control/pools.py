"""Warm pools: machines kept restored, warmed and paused, so that a start that fits takes one instead of making one.

A start of a machine that never ran takes a ready member of a pool of its tenant whose image, resources and network
are exactly its own; if there is none, it is an ordinary start. Members cost memory and are the first to go when it is
needed. They are made one at a time, in the background, and none outlives the service: a new one makes new ones.
"""

import builtins
from collections.abc import Sequence
from dataclasses import dataclass

from hutch.control.keys import Principal
from hutch.control.requests import MachineRequest
from hutch.model.ids import PoolId
from hutch.model.machine import Machine, Pool


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """What a caller asks for. Of `machine` image, resources and network count."""

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

    async def create(self, principal: Principal, request: PoolRequest) -> PoolStatus:
        """Begin to keep machines ready. Needs `machine:create`. `Conflict` for a name that is taken."""
        raise NotImplementedError

    def list(self, principal: Principal) -> builtins.list[PoolStatus]:
        """The tenant's, oldest first. Needs `machine:read`."""
        raise NotImplementedError

    def find(self, principal: Principal, id_or_name: str) -> PoolStatus:
        """By id, else by name. Needs `machine:read`. `NotFound`."""
        raise NotImplementedError

    async def claim(self, principal: Principal, id: PoolId, request: MachineRequest | None = None) -> Machine:
        """A new running machine of the pool's shape; of `request` name, env, labels, timers… count. Needs
        `machine:create`. When no member is ready it is made as any other."""
        raise NotImplementedError

    async def delete(self, principal: Principal, id: PoolId) -> None:
        """End it and its members; claimed machines live on. Needs `machine:delete`."""
        raise NotImplementedError
