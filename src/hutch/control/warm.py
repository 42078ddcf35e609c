"""A warm pool as it stands: how many members it should have, and what they count for. Pure."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hutch.control.quotas import Use
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Machine, Pool, PoolState

MEMORY = timedelta(seconds=60)
"""How long a claim makes its pool larger."""

RETRY = timedelta(seconds=1)
"""How long after a first failure a member is tried again; twice as long after each further one, at most `MAX_RETRY`."""

MAX_RETRY = timedelta(seconds=300)


@dataclass(frozen=True, slots=True)
class Taken:
    """A member that was taken, and its pool as it was then."""

    machine: MachineId
    pool: Pool


@dataclass(slots=True)
class Warm:
    """A pool, and how it stands."""

    pool: Pool
    ready: deque[MachineId] = field(default_factory=deque)  # oldest first
    waiting: deque[asyncio.Future[Taken | None]] = field(default_factory=deque)  # who wants the next ones, first first
    making: MachineId | None = None
    turn: int = 0  # when the last one was begun, as a number that grows
    claimed: int = 0
    error: errors.HutchError | None = None  # why it is not full
    claims: deque[datetime] = field(default_factory=deque)  # of the last minute
    failures: int = 0
    retry_at: datetime | None = None
    is_ended: bool = False  # it is being deleted

    @property
    def is_open(self) -> bool:
        """Whether members are made for it and taken out of it."""
        return self.pool.state is PoolState.ENABLED and not self.is_ended

    def target(self, now: datetime) -> int:
        """How many should be ready."""
        while self.claims and self.claims[0] <= now - MEMORY:
            self.claims.popleft()
        if self.pool.state is PoolState.DISABLED:
            return len(self.ready)
        return min(self.pool.max, self.pool.min + len(self.claims)) if self.is_open else 0

    def wants(self, now: datetime) -> int:
        """How many are missing, if one may be made now."""
        if not self.is_open or (self.retry_at is not None and now < self.retry_at <= now + MAX_RETRY):
            return 0
        return self.target(now) - len(self.ready)

    def fits(self, machine: Machine) -> bool:
        """Whether its members can become this machine."""
        its, ours = machine.spec, self.pool.spec
        return (machine.tenant, its.image.digest, its.resources, its.network, its.mounts) == (
            self.pool.tenant,
            ours.image.digest,
            ours.resources,
            ours.network,
            (),
        )

    def put_off(self, now: datetime, error: errors.HutchError) -> None:
        """No member could be made, or one was lost."""
        self.error = error
        self.retry_at = now + min(RETRY * 2 ** min(self.failures, 16), MAX_RETRY)
        self.failures += 1


def use(pool: Pool) -> Use:
    """What a ready member counts for in its tenant's quota: as a paused machine that nobody sees, without its disk."""
    its = pool.spec.resources
    return Use(running=1, cpus=its.cpus, memory_mib=its.memory_mib)
