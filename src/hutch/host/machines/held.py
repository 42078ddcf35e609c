"""A process that is looked after: its conversation is taken up again when it breaks, and its end is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import structlog

from hutch.host.agent.client import Agent
from hutch.host.qemu import vm
from hutch.model import errors

log = structlog.get_logger(__name__)

AGENT_WAIT = 10.0
"""Seconds a guest whose conversation broke has to answer again, before it is given up."""

QUIET = 1.0
"""Seconds that calls under way have to end before a machine is paused or suspended."""


class Held:
    """One running machine's process; a paused one need not answer."""

    def __init__(self, name: str, machine: vm.Vm, on_end: Callable[[], None]) -> None:
        self.machine = machine
        self._name = name
        self._on_end = on_end
        self._answering = asyncio.Event()
        self._quiet = asyncio.Event()
        self._is_frozen = False
        self._calls = 0  # in the guest at this moment, but for reads
        self._guard = asyncio.create_task(self._watch_over(), name=f"guard {name}")

    async def agent(self) -> Agent:
        """The agent; waits a little while a broken conversation is taken up again. `AgentUnavailable`."""
        if self.machine.agent is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._answering.wait(), AGENT_WAIT)
        if self.machine.agent is None:
            raise errors.AgentUnavailable(f"the agent of machine {self._name} does not answer")
        return self.machine.agent

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator[Agent]:
        """The agent, for a call that should end before the machine is paused or suspended."""
        agent = await self.agent()
        self._calls += 1
        try:
            yield agent
        finally:
            self._calls -= 1
            if not self._calls:
                self._quiet.set()

    async def let_calls_end(self) -> None:
        """Wait for the calls that are under way in the guest, for a while."""
        if self._calls:
            self._quiet.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), QUIET)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Within, the guest may stand still for as long as it takes: that it does not answer is no fault of its."""
        self._is_frozen = True
        try:
            yield
        finally:
            self._is_frozen = False

    def release(self) -> vm.Vm:
        """Look after it no more."""
        self._guard.cancel()
        return self.machine

    async def _watch_over(self) -> None:
        """Until its process ends, and have that dealt with."""
        try:
            if self.machine.agent is None:
                await self.machine.watch.ended.wait()
            else:
                await self._keep_talking()
        except Exception:
            log.exception("looking after a machine failed", machine=self._name)
            await self.machine.give_up("the service could not look after it; its log has the details")
        self._on_end()

    async def _keep_talking(self) -> None:
        """Take up a broken conversation again; end a guest that no longer answers."""
        machine = self.machine
        while not machine.watch.ended.is_set():
            agent = machine.agent
            assert agent is not None
            await _first(machine.watch.ended, agent.closed, machine.monitor.disk_failed)
            if machine.monitor.disk_failed.is_set():
                await machine.give_up("the host could not write its disk: the host's disk is full or failing")
            if await machine.watch.wait(vm.DEATH_DELAY):
                break
            self._answering.clear()
            machine.agent = None
            log.warning("conversation lost", machine=self._name)
            await self._talk_again()

    async def _talk_again(self) -> None:
        machine = self.machine
        while not machine.watch.ended.is_set():
            was_frozen = self._is_frozen
            try:
                await machine.connect_agent(AGENT_WAIT)
                self._answering.set()
                return
            except errors.HutchError:
                if not (was_frozen or self._is_frozen or machine.watch.ended.is_set()):
                    await machine.give_up("the guest's agent stopped answering")


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
