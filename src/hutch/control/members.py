"""The members of warm pools: made one at a time, kept paused, taken by the machines that fit.

Of a pool as many are kept as its `min`, and as many more as were asked for within the last minute, up to its `max`.
When a machine needs the memory they go, the one that is being made first, then those of the newest pool, and so they do
when its tenant's quota needs their place. One that cannot be made is tried again later, each time after twice as long.
Pools take turns. They have no record: a service that is killed leaves them to its successor, which destroys them.

A ready member belongs to its pool, a taken one to whoever took it, until a machine has become it or it is given back:

    making ──► ready ──► taken ──► a machine
                 ▲─────────┘ given back
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator

import structlog

from hutch.control import warm, warming
from hutch.control.admission import Admission
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.metering import Meter
from hutch.control.quotas import NOTHING, Quotas
from hutch.control.warm import Taken, Warm
from hutch.host.interface import Host, Life
from hutch.model import errors, ids
from hutch.model.ids import MachineId, PoolId, TenantId
from hutch.model.machine import Machine, Pool

log = structlog.get_logger(__name__)


class Members:
    """The members of all pools."""

    def __init__(
        self, host: Host, admission: Admission, quotas: Quotas, meter: Meter, clock: Clock, background: Background
    ) -> None:
        self._host = host
        self._admission = admission
        self._quotas = quotas
        self._meter = meter
        self._clock = clock
        self._background = background
        self._pools: dict[PoolId, Warm] = {}
        self._counted: dict[MachineId, TenantId] = {}  # in whose quota they are
        self._taken: set[MachineId] = set()  # and neither given back nor become a machine
        self._leaving: dict[MachineId, asyncio.Task[None]] = {}
        self._making: asyncio.Task[None] | None = None
        self._turns = itertools.count(1)
        self._is_closed = False
        self.is_barred: Callable[[TenantId], bool] = lambda _: False  # whether a tenant's pools are kept empty
        admission.give_way = self._give_way
        quotas.give_way = self._give_place

    def all(self) -> list[Warm]:
        """Every pool, oldest first."""
        return list(self._pools.values())

    def get(self, pool: PoolId) -> Warm | None:
        """By id."""
        return self._pools.get(pool)

    def add(self, pool: Pool) -> Warm:
        """Begin to keep members of it."""
        it = self._pools[pool.id] = Warm(pool)
        self.tick()
        return it

    async def change(self, it: Warm, pool: Pool) -> None:
        """It is to be so from now on. Members that were warmed in another way go."""
        is_stale, it.pool = pool.warm_up != it.pool.warm_up, pool
        it.retry_at, it.failures, it.error = None, 0, None
        if is_stale or not it.is_open:
            await self._stop_making(it)
        if is_stale:
            self._drop_all(it)
        if not it.is_open:
            self._dismiss(it)
        self.tick()

    async def end(self, it: Warm) -> None:
        """No more of it; its members are destroyed when this returns. Behind it comes `forget`, or `go_on`."""
        it.is_ended = True
        self._dismiss(it)
        await self._stop_making(it)
        await asyncio.gather(*(self._destroy(member) for member in self._take_out(it)))

    def forget(self, it: Warm) -> None:
        """There is no such pool any more."""
        self._pools.pop(it.pool.id, None)
        self.tick()

    def go_on(self, it: Warm) -> None:
        """It could not be deleted, so it is filled again."""
        it.is_ended = False
        self.tick()

    async def _stop_making(self, it: Warm) -> None:
        if it.making is not None and self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])

    def _dismiss(self, it: Warm) -> None:
        """Nobody need wait for it any more."""
        while it.waiting:
            it.waiting.popleft().set_result(None)

    async def reserve(self, it: Warm, wait: float) -> Taken | None:
        """A ready member, or the first that is for the caller within `wait` seconds; None: there was none.

        Whoever has it gives it to a machine (`hand_over`) or back (`settle`). First come, first served.
        """
        if not it.is_open:
            return None
        it.claims.append(self._clock.now())
        if it.ready:
            return self._take(it)
        if wait <= 0:
            return None
        waiter: asyncio.Future[Taken | None] = asyncio.get_running_loop().create_future()
        it.waiting.append(waiter)
        self.tick()
        try:
            await asyncio.wait([waiter], timeout=wait)
        except asyncio.CancelledError:
            if waiter.done():
                self.settle(waiter.result())
            raise
        finally:
            if not waiter.done():
                it.waiting.remove(waiter)
        return waiter.result() if waiter.done() else None

    def take(self, machine: Machine) -> Taken | None:
        """A ready member that can become this machine, as by `reserve`.

        The next one is not begun before the next `tick`: it would take the CPU from the one that is wanted now.
        """
        for it in self._pools.values():
            if it.is_open and it.fits(machine):
                it.claims.append(self._clock.now())
                if it.ready:
                    return self._take(it)
        return None

    def _take(self, it: Warm) -> Taken:
        taken = Taken(it.ready.popleft(), it.pool)
        self._taken.add(taken.machine)
        it.claimed += 1
        self._meter.note_pool(it.pool, len(it.ready))
        return taken

    def hand_over(self, taken: Taken, machine: Machine) -> None:
        """This machine is to become it: its place in the quota is free, its memory the machine's."""
        self._taken.discard(taken.machine)
        self._uncount(taken.machine)
        self._admission.transfer(taken.machine, machine.id)

    def settle(self, taken: Taken | None) -> None:
        """Who has it needs it no more: unless a machine has it, it is its pool's again, as far as that can be."""
        if taken is None or taken.machine not in self._taken:
            return
        self._taken.discard(taken.machine)
        it, real = self._pools.get(taken.pool.id), self._host.get(taken.machine)
        is_whole = real is not None and real.life is Life.PAUSED and not self._is_closed
        if it is not None and is_whole and not it.is_ended and it.pool.warm_up == taken.pool.warm_up:
            it.claimed -= 1
            self._offer(it, taken.machine)
        else:
            self.let_go(taken)

    def _offer(self, it: Warm, member: MachineId) -> None:
        """It is ready, for whoever waits longest."""
        it.ready.append(member)
        self._meter.note_pool(it.pool, len(it.ready))
        if it.waiting:
            it.waiting.popleft().set_result(self._take(it))

    def let_go(self, taken: Taken) -> None:
        """A machine has become it, or could not: nothing may be left of it either way."""
        self._remove(taken.machine)

    def note_death(self, machine: MachineId, reason: str) -> None:
        """It may have been a member."""
        for it in self._pools.values():
            if machine in it.ready:
                it.ready.remove(machine)
                self._lose(it, machine, errors.MachineFailed(f"a member died: {reason}"))

    def _lose(self, it: Warm, member: MachineId, error: errors.HutchError) -> None:
        """One that was ready is so no more."""
        it.put_off(self._clock.now(), error)
        self._meter.note_pool(it.pool, len(it.ready))
        self._remove(member)

    def _drop_all(self, it: Warm) -> None:
        for member in self._take_out(it):
            self._remove(member)

    def tick(self) -> None:
        """Begin to make the next member that is missing, and drop those that are too many."""
        if self._is_closed:
            return
        now = self._clock.now()
        for it in self._pools.values():
            if self.is_barred(it.pool.tenant):
                self._dismiss(it)
                self._drop_all(it)
            while len(it.ready) > max(it.target(now), 0):
                self._remove(it.ready.pop())
                self._meter.note_pool(it.pool, len(it.ready))
        if self._making is None:
            wanting = [it for it in self._pools.values() if it.wants(now) > 0 and not self.is_barred(it.pool.tenant)]
            if wanting:
                self._begin(min(wanting, key=lambda it: it.turn))

    def _begin(self, it: Warm) -> None:
        it.turn, it.making = next(self._turns), ids.new_machine_id()
        self._making = asyncio.create_task(self._make(it, it.making))
        self._making.add_done_callback(lambda making: self._made(it, making))

    def _made(self, it: Warm, making: asyncio.Task[None]) -> None:
        it.making = self._making = None
        if not making.cancelled():
            self.tick()

    async def close(self, limit: float) -> None:
        """Destroy all members; what is not gone within `limit` seconds is left to the next service."""
        self._is_closed = True
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])
        for it in self._pools.values():
            self._dismiss(it)
        members = [member for it in self._pools.values() for member in self._take_out(it)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await asyncio.gather(*(self._destroy(member) for member in members))

    def _take_out(self, it: Warm) -> Iterator[MachineId]:
        while it.ready:
            member = it.ready.popleft()
            self._meter.note_pool(it.pool, len(it.ready))
            yield member

    async def _make(self, it: Warm, member: MachineId) -> None:
        try:
            with self._place(it, member):
                pass  # it is not begun if there is no place for it
            await self._admission.admit_member(member, it.pool.spec.resources.memory_mib)
            await warming.make(self._host, it.pool, member)
            with self._place(it, member):
                self._counted[member] = it.pool.tenant
                self._quotas.note(it.pool.tenant, member, warm.use(it.pool))
        except asyncio.CancelledError:
            await self._destroy(member)
            raise
        except Exception as error:
            await self._destroy(member)
            told = error if isinstance(error, errors.HutchError) else errors.HutchError()
            it.put_off(self._clock.now(), told)
            log.warning("no member was made", pool=it.pool.name, reason=told.message, exc_info=told is not error)
        else:
            it.error, it.retry_at, it.failures = None, None, 0
            self._offer(it, member)

    def _place(self, it: Warm, member: MachineId) -> contextlib.AbstractContextManager[None]:
        """In the quota: only what is free. What is being made has none, so that it is in no machine's way."""
        return self._quotas.claim(it.pool.tenant, {member: warm.use(it.pool)}, is_yielding=True)

    async def _give_way(self, memory_mib: int) -> int:
        """Destroy members for so much memory, as far as what is leaving already is not enough."""
        why = errors.NoCapacity("its memory was needed by a machine")
        given = sum(map(self._admission.promised, self._leaving))
        if given < memory_mib:
            given += await self._give_up_making(why)
        for it in reversed(self.all()):
            while it.ready and given < memory_mib:
                given += self._admission.promised(it.ready[0])
                self._lose(it, it.ready.popleft(), why)
        if given and self._leaving:
            await asyncio.wait(list(self._leaving.values()))
        return given

    async def _give_up_making(self, why: errors.HutchError) -> int:
        """What it was promised, in MiB."""
        given = 0
        for it in self.all():
            if it.making is not None and (given := self._admission.promised(it.making)):
                it.put_off(self._clock.now(), why)
                await self._stop_making(it)
                break
        return given

    def _give_place(self, tenant: TenantId, limit: str) -> bool:
        """Give up a ready member of the tenant's newest pool; False: there is none that counts for this limit."""
        for it in reversed(self.all()):
            if it.ready and it.pool.tenant == tenant and warm.use(it.pool)._asdict()[limit]:
                why = errors.QuotaExceeded("its place in the quota was needed by a machine", limit=limit)
                self._lose(it, it.ready.popleft(), why)
                return True
        return False

    def _uncount(self, member: MachineId) -> None:
        tenant = self._counted.pop(member, None)
        if tenant is not None:
            self._quotas.note(tenant, member, NOTHING)

    async def _destroy(self, member: MachineId) -> None:
        """Whoever waits for it may go away: nothing of it is left either way."""
        await asyncio.shield(self._remove(member))

    def _remove(self, member: MachineId) -> asyncio.Task[None]:
        """Its place is free at once; it is destroyed in the background."""
        self._uncount(member)
        leaving = self._leaving[member] = self._background.go_on("removing a member", self._end(member))
        leaving.add_done_callback(lambda _: self._leaving.pop(member, None))
        return leaving

    async def _end(self, member: MachineId) -> None:
        try:
            await self._host.destroy(member)
        except errors.HutchError as error:
            log.warning("a member could not be destroyed", machine=member, error=error.message)
        finally:
            self._admission.release(member)
