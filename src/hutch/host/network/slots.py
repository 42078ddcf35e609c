"""This host's slots: some made ahead, so that a start takes one at once; each is used once, and then removed.

A slot that is given back is never used again: nothing of a machine's connections outlives it. What a dead service left,
in the kernel only, is found by its names: what runs keeps its slot, the rest is removed.
"""

import asyncio
import os
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from hutch import commands, settings
from hutch.host.network import kernel, policy, rules
from hutch.host.network.connection import GUEST
from hutch.host.network.resolver import Resolver
from hutch.host.network.slot import NAMESPACES, Plan, Slot, run_nft
from hutch.host.paths import Paths
from hutch.host.qemu import argv, guest_network
from hutch.host.qemu.monitor import Monitor
from hutch.model import errors
from hutch.model.machine import NetworkPolicy
from hutch.model.network import Endpoint, NetworkFacts, Traffic

log = structlog.get_logger(__name__)

T = TypeVar("T")

DELAY = 0.2
"""Seconds after the last one was taken until slots are made ahead again: starts go first."""

_NFT_TIMEOUT = 20.0

KERNEL_ERRORS = (OSError, NetlinkError)


@dataclass(eq=False)
class _Ready:
    slot: Slot
    tap: int


class SlotConnection:
    """Implements `hutch.host.network.connection.Connection`."""

    def __init__(self, slots: "Slots", slot: Slot, tap: int | None, enforced: NetworkPolicy | None) -> None:
        self._slots, self._slot = slots, slot
        self._tap = tap
        self._enforced = enforced

    @property
    def slot(self) -> int:
        """See the interface."""
        return self._slot.number

    @property
    def netdev(self) -> argv.Netdev:
        """See the interface."""
        assert self._tap is not None
        return argv.Tap(self._tap)

    def handed_over(self) -> None:
        """See the interface."""
        tap, self._tap = self._tap, None
        if tap is not None:
            os.close(tap)

    async def enforce(self, policy: NetworkPolicy) -> None:
        """See the interface."""
        if policy != self._enforced:
            self._enforced = None
            await self._slots.enforce(self._slot, policy)
            self._enforced = policy

    async def endpoint(self, _: Monitor, port: int) -> Endpoint:
        """See the interface."""
        return Endpoint(str(self._slot.outside), port)

    def facts(self) -> NetworkFacts:
        """See the interface."""
        outside = str(self._slot.outside)
        return NetworkFacts(self._slot.tap, guest_network.GATEWAY, GUEST, argv.MAC, outside)

    async def traffic(self) -> Traffic:
        """See the interface."""
        try:
            return Traffic(*kernel.traffic(self._slot))
        except OSError as error:
            raise errors.HutchError("the machine's network is gone from this host", cause=repr(error)) from error

    def end(self) -> None:
        """See the interface."""
        tap, self._tap = self._tap, None
        self._slots.give_back(self._slot.number, tap)


class Slots:
    """Makes them, has them ready, removes them."""

    def __init__(self, paths: Paths, wanted: settings.Network) -> None:
        self._paths = paths
        self._wanted = wanted
        self._plan: Plan | None = None
        self._maker = ThreadPoolExecutor(1, "networks made")
        self._remover = ThreadPoolExecutor(1, "networks removed")  # many at once keep nobody waiting
        self._ready: deque[_Ready] = deque()
        self._taken: set[int] = set()  # of processes
        self._left: set[int] = set()  # by a former service, and not taken up yet
        self._used: set[int] = set()  # all numbers that there is something of
        self._next = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refilling: asyncio.Task[None] | None = None
        self._is_guarded = False  # against being a router for others
        self._bounds: policy.Bounds | None = None
        self._resolver: Resolver | None = None

    @property
    def is_ready(self) -> bool:
        """Whether one can be taken at once."""
        return bool(self._ready)

    async def open(self) -> None:
        """Take a network of the range, load this host's rules, and make one slot. `Unsupported` where that fails."""
        try:
            plan = await asyncio.shield(self._spawn(self._claim()))
            self._next = secrets.randbelow(plan.size)
            self._bounds = policy.Bounds.of(plan.resolver, plan.network, self._wanted.allow_private)
            await run_nft(None, rules.of_host(plan, os.geteuid()))
            self._resolver = Resolver(self._bounds)
            await self._resolver.open()
            await self._make_one()
            self._is_guarded = await _is_guarded()
        except BaseException as error:
            await self.close()
            if isinstance(error, errors.InvalidRequest) or not isinstance(error, (*KERNEL_ERRORS, errors.HutchError)):
                raise
            words = getattr(error, "stderr", "") or str(error)
            raise errors.Unsupported(f"network slots cannot be made: {words}") from error

    async def _claim(self) -> Plan:
        """Ours when it is known what is in it: else that would be taken for nothing, and given up."""
        paths = self._paths
        plan, gone = await self._in_thread(kernel.claim, paths.tag, paths.home, self._wanted.range)
        self._left = await self._in_thread(kernel.numbers, plan)
        self._used = {*self._left}
        self._plan = plan
        for tag in gone:
            log.info("removed the networks of a service whose directory is gone", tag=tag)
            await _delete_table(rules.table(tag))
            await _delete_table(tag)
        return plan

    async def collect(self, is_known: bool) -> None:
        """Remove what a former service left, if it `is_known` what runs, and begin to make slots ahead."""
        left = {*self._left} if is_known else set()
        self._left -= left
        if left:
            log.info("removing networks that nothing is in", slots=sorted(left))
        await asyncio.gather(*(self._remove(number) for number in left), self._remove_ready(self._wanted.ready))
        self._refill(0)

    async def put_back(self) -> None:
        """Load this host's rules anew, which somebody has removed with all others. `HutchError`."""
        await run_nft(None, rules.of_host(self._opened(), os.geteuid()) + (rules.GUARD if self._is_guarded else ""))

    async def take(self, policy: NetworkPolicy) -> SlotConnection:
        """One for a process, under a policy. `NoCapacity`, `HutchError`."""
        if self._ready:
            ready = self._ready.popleft()
        else:
            making = self._spawn(self._make())
            try:
                ready = await asyncio.shield(making)
            except asyncio.CancelledError:
                making.add_done_callback(self._keep)
                raise
            except KERNEL_ERRORS as error:
                raise errors.HutchError("a network for the machine cannot be made", cause=repr(error)) from error
        self._refill()
        self._taken.add(ready.slot.number)
        connection = SlotConnection(self, ready.slot, ready.tap, NetworkPolicy())
        try:
            assert self._resolver is not None
            self._resolver.register(ready.slot.outside, ready.slot, NetworkPolicy())
            await connection.enforce(policy)
        except BaseException:
            connection.end()
            raise
        return connection

    async def adopt(self, number: int, policy: NetworkPolicy) -> SlotConnection:
        """That of a process which runs. `MachineFailed` if it is not there any more."""
        if number not in self._left:
            raise errors.MachineFailed("the machine's network is gone")
        self._left.discard(number)
        self._taken.add(number)
        connection = SlotConnection(self, self._opened().slot(number), None, None)
        try:
            await connection.enforce(policy)
        except BaseException:
            self._taken.discard(number)
            self._left.add(number)  # its process runs yet
            raise
        return connection

    async def enforce(self, slot: Slot, wanted: NetworkPolicy) -> None:
        """Put a slot under a policy. The resolver is told first: it answers for nothing that is not allowed now."""
        assert self._resolver is not None
        assert self._bounds is not None
        self._resolver.register(slot.outside, slot, wanted)
        await policy.apply(slot, wanted, self._bounds)

    def give_back(self, number: int, tap: int | None = None) -> None:
        """Have a slot removed in the background, whose process has ended. No error if that is under way."""
        if number in self._taken:
            self._taken.discard(number)
            self._spawn(self._remove(number, tap))

    async def close(self) -> None:
        """Remove what is ready; of what runs everything stays, else nothing."""
        if self._refilling is not None:
            self._refilling.cancel()
            await asyncio.gather(self._refilling, return_exceptions=True)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._remove_ready()
        if self._resolver is not None:
            await self._resolver.close()
        if self._plan is not None and not self._used:
            await self._release(self._plan)
        self._maker.shutdown(wait=False)
        self._remover.shutdown(wait=False)

    async def _release(self, plan: Plan) -> None:
        await _delete_table(rules.table(plan.tag))
        try:
            held = await self._in_thread(kernel.lock)  # who takes a network now would forward without a guard
            try:
                is_last = await self._in_thread(kernel.release, plan)
                if is_last and await _is_guarded():
                    kernel.FORWARD.write_text("0\n")
                    await _delete_table(rules.FORWARDING)
            finally:
                os.close(held)
        except KERNEL_ERRORS as error:
            log.warning("what machines' networks needed cannot be removed", error=str(error))

    async def _forward(self) -> None:
        """Have this host forward; if it did not, only for machines."""
        if kernel.FORWARD.read_text().strip() == "0":
            await run_nft(None, rules.GUARD)
            kernel.FORWARD.write_text("1\n")

    def _opened(self) -> Plan:
        if self._plan is None:
            raise errors.HutchError("the host is not open")
        return self._plan

    def _number(self) -> int:
        """One that was not used for as long as possible: what others remember of it is forgotten by then."""
        size = self._opened().size
        for number in range(self._next, self._next + size):
            if number % size not in self._used:
                self._used.add(number % size)
                self._next = number % size + 1
                return number % size
        raise errors.NoCapacity(f"all {size} networks of HUTCH_NETWORK_RANGE={self._wanted.range} are in use")

    async def _make(self) -> _Ready:
        """A slot under the open policy."""
        await self._forward()  # somebody may have turned it off
        number = self._number()
        slot = self._opened().slot(number)
        try:
            ready = _Ready(slot, await self._in_thread(kernel.make, slot))
        except BaseException:
            self._used.discard(number)
            raise
        try:
            assert self._bounds is not None
            # All in one go, since starting a program is what costs; a new link sends as fast as it can.
            await run_nft(slot, rules.of_slot(slot, self._opened()) + policy.rules(NetworkPolicy(), self._bounds))
        except BaseException:
            await self._remove(number, ready.tap)
            raise
        return ready

    async def _remove(self, number: int, tap: int | None = None) -> None:
        slot = self._opened().slot(number)
        if self._resolver is not None:
            self._resolver.forget(slot.outside)
        try:
            await self._in_thread(kernel.remove, slot, tap, executor=self._remover)
        except KERNEL_ERRORS as error:  # its number is not used again before a restart
            log.warning("a network cannot be removed", slot=number, error=str(error))
        else:
            self._used.discard(number)

    async def _remove_ready(self, keep: int = 0) -> None:
        while len(self._ready) > keep:
            ready = self._ready.pop()
            await self._remove(ready.slot.number, ready.tap)

    def _refill(self, delay: float = DELAY) -> None:
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.create_task(self._make_ahead(delay), name="networks")

    async def _make_ahead(self, delay: float) -> None:
        await asyncio.sleep(delay)
        while len(self._ready) < self._wanted.ready:
            try:
                await self._make_one()
            except (*KERNEL_ERRORS, errors.HutchError) as error:
                log.warning("no network can be made ahead", error=str(error))
                return

    async def _make_one(self) -> None:
        """One that is ready, also if we are cancelled."""
        making = self._spawn(self._make())
        making.add_done_callback(self._keep)
        await asyncio.shield(making)

    def _keep(self, making: "asyncio.Task[_Ready]") -> None:
        if not making.cancelled() and making.exception() is None:
            self._ready.append(making.result())

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _in_thread(
        self, function: Callable[..., T], *arguments: object, executor: ThreadPoolExecutor | None = None
    ) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor or self._maker, function, *arguments)


def has_left(tag: str) -> bool:
    """Whether a former service has left slots, which machines may run in."""
    return any(NAMESPACES.glob(f"{tag}-*"))


async def _is_guarded() -> bool:
    listed = await commands.run(["nft", "list", "tables", "inet"], timeout=_NFT_TIMEOUT, check=False)
    return f"table inet {rules.FORWARDING}" in listed.stdout.decode().splitlines()


async def _delete_table(name: str) -> None:
    await commands.run(["nft", "delete", "table", "inet", name], timeout=_NFT_TIMEOUT, check=False)
