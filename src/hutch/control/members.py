"""The members of warm pools: made one at a time, kept paused, taken by the machines that fit.

Of a pool as many are kept as its `min`, and as many more as were taken within the last minute, up to its `max`. When
a machine needs the memory they go, those of the newest pool first. One that cannot be made is tried again later, each
time after twice as long. They have no record: a service that is killed leaves them to its successor, which destroys
them.
"""

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from hutch.control.admission import Admission
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.host.interface import Host
from hutch.model import errors, guest, ids
from hutch.model.ids import MachineId, PoolId, TenantId
from hutch.model.machine import Machine, Pool

log = structlog.get_logger(__name__)

MEMORY = timedelta(seconds=60)
"""How long a claim makes its pool larger."""

RETRY = timedelta(seconds=1)
"""How long after a first failure a member is tried again; twice as long after each further one, at most `MAX_RETRY`."""

MAX_RETRY = timedelta(seconds=300)

WARM_UP_TIMEOUT = 120.0
"""Seconds a pool's command may run in a new member."""

_WARM_UP = "warm-up"


@dataclass(frozen=True, slots=True)
class Taken:
    """A member that was taken."""

    machine: MachineId
    pool: str  # its name


@dataclass(slots=True)
class Warm:
    """A pool, and how it stands."""

    pool: Pool
    ready: deque[MachineId] = field(default_factory=deque)  # oldest first
    making: MachineId | None = None
    claimed: int = 0
    reason: str | None = None  # why it is not full
    claims: deque[datetime] = field(default_factory=deque)  # of the last minute
    failures: int = 0
    retry_at: datetime | None = None
    is_ended: bool = False  # its pool is being deleted

    def target(self, now: datetime) -> int:
        """How many should be ready."""
        while self.claims and self.claims[0] <= now - MEMORY:
            self.claims.popleft()
        return min(self.pool.max, self.pool.min + len(self.claims))

    def wants(self, now: datetime) -> int:
        """How many are missing, if one may be made now."""
        if self.is_ended or (self.retry_at is not None and now < self.retry_at):
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

    def put_off(self, now: datetime, reason: str) -> None:
        """No member could be made."""
        self.reason = reason
        self.retry_at = now + min(RETRY * 2 ** min(self.failures, 16), MAX_RETRY)
        self.failures += 1


class Members:
    """The members of all pools."""

    def __init__(self, host: Host, admission: Admission, clock: Clock, background: Background) -> None:
        self._host = host
        self._admission = admission
        self._clock = clock
        self._background = background
        self._pools: dict[PoolId, Warm] = {}
        self._making: asyncio.Task[None] | None = None
        self._is_closed = False
        self.is_barred: Callable[[TenantId], bool] = lambda _: False  # whether a tenant's pools are kept empty
        admission.give_way = self._give_way

    def all(self) -> list[Warm]:
        """Every pool, oldest first."""
        return list(self._pools.values())

    def get(self, pool: PoolId) -> Warm | None:
        """By id."""
        return self._pools.get(pool)

    def add(self, pool: Pool) -> Warm:
        """Begin to keep members of it."""
        warm = self._pools[pool.id] = Warm(pool)
        self.tick()
        return warm

    async def end(self, warm: Warm) -> None:
        """No more of it; its members are destroyed when this returns."""
        warm.is_ended = True
        if warm.making is not None and self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])
        await asyncio.gather(*(self._destroy(member) for member in self._take_out(warm)))
        self._pools.pop(warm.pool.id, None)
        self.tick()

    def take(self, machine: Machine) -> Taken | None:
        """A ready member that can become this machine; it is the caller's.

        The next one is not begun before the next `tick`: it would take the CPU from the one that is wanted now.
        """
        fitting = [warm for warm in self._pools.values() if warm.fits(machine) and not warm.is_ended]
        for warm in fitting:
            warm.claims.append(self._clock.now())
            if warm.ready:
                warm.claimed += 1
                return Taken(warm.ready.popleft(), warm.pool.name)
        return None

    def let_go(self, taken: Taken) -> None:
        """It was claimed, or could not be: nothing may be left of it either way."""
        self._background.go_on("removing a claimed member", self._destroy(taken.machine))

    def note_death(self, machine: MachineId, reason: str) -> None:
        """It may have been a member."""
        for warm in self._pools.values():
            if machine in warm.ready:
                warm.ready.remove(machine)
                warm.put_off(self._clock.now(), f"a member died: {reason}")
                self._background.go_on("removing a dead member", self._destroy(machine))

    def tick(self) -> None:
        """Begin to make the member that is missing most, and drop those that are too many."""
        if self._is_closed:
            return
        now = self._clock.now()
        for warm in self._pools.values():
            while len(warm.ready) > self._target(warm, now):
                self._background.go_on("removing a member too many", self._destroy(warm.ready.pop()))
        if self._making is None:
            open_ones = [warm for warm in self._pools.values() if not self.is_barred(warm.pool.tenant)]
            neediest = max(open_ones, key=lambda warm: warm.wants(now), default=None)
            if neediest is not None and neediest.wants(now) > 0:
                self._begin(neediest)

    def _target(self, warm: Warm, now: datetime) -> int:
        return 0 if self.is_barred(warm.pool.tenant) else max(warm.target(now), 0)

    def _begin(self, warm: Warm) -> None:
        warm.making = ids.new_machine_id()
        self._making = asyncio.create_task(self._make(warm, warm.making))
        self._making.add_done_callback(lambda making: self._made(warm, making))

    def _made(self, warm: Warm, making: asyncio.Task[None]) -> None:
        warm.making = self._making = None
        if not making.cancelled():
            self.tick()

    async def close(self, limit: float) -> None:
        """Destroy all members; what is not gone within `limit` seconds is left to the next service."""
        self._is_closed = True
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])
        members = [member for warm in self._pools.values() for member in self._take_out(warm)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await asyncio.gather(*(self._destroy(member) for member in members))

    def _take_out(self, warm: Warm) -> Iterator[MachineId]:
        while warm.ready:
            yield warm.ready.popleft()

    async def _make(self, warm: Warm, member: MachineId) -> None:
        try:
            await self._make_member(warm, member)
        except asyncio.CancelledError:
            await self._destroy(member)
            raise
        except Exception as error:
            await self._destroy(member)
            known = isinstance(error, errors.HutchError)
            reason = str(error) if known else str(errors.HutchError())
            warm.put_off(self._clock.now(), reason)
            log.warning("no member was made", pool=warm.pool.name, reason=reason, exc_info=None if known else error)
        else:
            warm.ready.append(member)
            warm.reason, warm.retry_at, warm.failures = None, None, 0

    async def _make_member(self, warm: Warm, member: MachineId) -> None:
        spec = dataclasses.replace(warm.pool.spec, hostname=f"member-{member}")
        await self._admission.admit_member(member, spec.resources.memory_mib)
        await self._host.create(member, spec)
        await self._host.start(member)
        if warm.pool.warm_up is not None:
            await self._warm_up(member, warm.pool.warm_up)
        await self._host.pause(member)

    async def _warm_up(self, member: MachineId, argv: tuple[str, ...]) -> None:
        processes, at, words = self._host.processes, (0, 0), b""
        spec = guest.ProcessSpec(argv, timeout=WARM_UP_TIMEOUT)
        await processes.start(member, _WARM_UP, spec)
        while True:
            page = await processes.read(member, _WARM_UP, *at, wait=20.0)
            at = (page.stdout_at + len(page.stdout), page.stderr_at + len(page.stderr))
            words = (words + page.stdout + page.stderr)[-200:]
            if page.exit is not None:
                break
        await processes.forget(member, _WARM_UP)
        if page.exit.shell_code != 0:
            told = words.decode(errors="replace").strip()
            raise errors.MachineFailed(f"its warm-up command ended with {page.exit.shell_code}: {told or 'no output'}")

    async def _give_way(self, memory_mib: int) -> int:
        """Destroy ready members for so much memory, those of the newest pool first."""
        given = 0
        for warm in reversed(self.all()):
            while warm.ready and given < memory_mib:
                member = warm.ready.popleft()
                warm.put_off(self._clock.now(), "its memory was needed by a machine")
                await self._destroy(member)
                given += warm.pool.spec.resources.memory_mib
        return given

    async def _destroy(self, member: MachineId) -> None:
        try:
            await self._host.destroy(member)
        except errors.HutchError as error:
            log.warning("a member could not be destroyed", machine=member, error=error.message)
        finally:
            self._admission.release(member)
