"""The one task that owns a machine: everything that changes it goes through its queue, one after the other.

    stopped ──start──▶ starting ──▶ running ──stop──▶ stopping ──▶ stopped
                          │            │died                 destroy, from anywhere ──▶ gone
                          └──failed────┴──▶ stopped (powered itself off) or failed

Only the owner writes the journal and only it starts or ends the process, so no two requests can ever meet in the middle
of a change. What a request means in which phase is decided by `policy`. Conversations with the guest (processes,
files) do not go through the queue: they take the agent from here and run side by side.
"""

import asyncio
import contextlib
import shutil
import time
from dataclasses import dataclass, field, replace

import structlog

from hutch.host.agent.client import Agent
from hutch.host.interface import Died, HostMachine, OnProgress, ignore_progress
from hutch.host.machines import bring_up, policy
from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal, Phase
from hutch.host.machines.policy import Verb
from hutch.host.qemu import process, vm
from hutch.host.qemu.process import Identity
from hutch.model import errors

log = structlog.get_logger(__name__)

AGENT_WAIT = 10.0
"""Seconds a guest whose conversation broke has to answer again, before it is given up."""


@dataclass(eq=False)
class _Request:
    verb: Verb
    grace: float = 0.0
    on_progress: OnProgress = ignore_progress
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Owner:
    """One machine on this host."""

    def __init__(self, context: Context, journal: Journal) -> None:
        self._context = context
        self.journal = journal
        self._where = context.paths.machine(journal.id)
        self._vm: vm.Vm | None = None
        self._answering = asyncio.Event()
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        self._current: tuple[_Request, asyncio.Task[None]] | None = None
        self._guard: asyncio.Task[None] | None = None
        self._loop = asyncio.create_task(self._serve(), name=f"owner {journal.id}")
        self.gone = False

    def __repr__(self) -> str:
        return f"<Owner {self.journal.id} {self.journal.phase} {self._vm!r}>"

    @property
    def state(self) -> HostMachine:
        """What really is."""
        pid = self.journal.process.pid if self.journal.process else None
        return HostMachine(self.journal.id, self.journal.life, self.journal.reason, pid)

    @property
    def console(self) -> bytes:
        """The end of the console."""
        if self._vm is not None:
            return self._vm.console.text
        with contextlib.suppress(OSError):
            return self._where.console_log.read_bytes()
        return b""

    async def start(self, on_progress: OnProgress) -> None:
        """Returns when the agent has answered. A caller that is cancelled ends the start."""
        await self._ask(_Request(Verb.START, on_progress=on_progress))

    async def stop(self, grace: float) -> None:
        """Returns when the process has ended."""
        await self._ask(_Request(Verb.STOP, grace=grace))

    async def destroy(self) -> None:
        """Returns when nothing is left."""
        await self._ask(_Request(Verb.DESTROY))

    async def agent(self) -> Agent:
        """The agent of a running machine; waits a little while a broken conversation is taken up again."""
        machine = self._vm
        if machine is None or self.journal.phase is not Phase.RUNNING:
            raise errors.NotRunning(f"machine {self.journal.id} is not running")
        if machine.agent is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._answering.wait(), AGENT_WAIT)
        if machine.agent is None:
            raise errors.AgentUnavailable(f"the agent of machine {self.journal.id} does not answer")
        return machine.agent

    async def adopt(self) -> None:
        """Take up a process that a former service left running. Raises if it cannot be reached."""
        assert self.journal.process is not None
        machine = await vm.Vm.attach(self._where, self.journal.process)
        try:
            await machine.connect_agent(AGENT_WAIT)
        except BaseException:
            await machine.close()
            raise
        self._hold(machine)

    def settle(self, phase: Phase, reason: str | None = None) -> None:
        """Write down what a restart found out about a machine without a process."""
        self._note(replace(self.journal, phase=phase, reason=reason, process=None))

    async def close(self) -> None:
        """Let go; a running machine runs on."""
        self._loop.cancel()
        if self._current is not None:
            self._current[1].cancel()
            await asyncio.gather(self._current[1], return_exceptions=True)
        await self._release()
        await asyncio.gather(self._loop, return_exceptions=True)

    async def _ask(self, request: _Request) -> None:
        if self.gone:
            if request.verb is Verb.DESTROY:
                return
            raise errors.NotFound("machine not found")
        if self._current is not None and policy.interrupts(self._current[0].verb, request.verb):
            self._current[1].cancel()
        self._queue.put_nowait(request)
        try:
            await asyncio.shield(request.done)
        except asyncio.CancelledError:
            if request.verb is Verb.START:
                request.done.cancel()
                if self._current is not None and self._current[0] is request:
                    self._current[1].cancel()
                    await asyncio.gather(self._current[1], return_exceptions=True)
            raise

    async def _serve(self) -> None:
        while not self.gone:
            request = await self._queue.get()
            if request.done.cancelled():
                continue
            task = asyncio.create_task(self._act(request))
            self._current = (request, task)
            await asyncio.wait({task})
            self._current = None
            self._answer(request, task)
        while not self._queue.empty():
            left = self._queue.get_nowait().done
            if not left.done():
                left.set_exception(errors.NotFound("machine not found"))

    def _answer(self, request: _Request, task: asyncio.Task[None]) -> None:
        if request.done.done():
            if not task.cancelled():
                task.exception()
        elif task.cancelled():
            request.done.set_exception(errors.Conflict("the machine was stopped or deleted meanwhile"))
            request.done.exception()
        elif error := task.exception():
            request.done.set_exception(error)
            request.done.exception()  # the caller may have gone away: then nobody else reads it
        else:
            request.done.set_result(None)

    async def _act(self, request: _Request) -> None:
        if policy.decide(self.journal.phase, request.verb) is policy.Decision.NOTHING:
            return
        match request.verb:
            case Verb.START:
                await self._start(request.on_progress)
            case Verb.STOP:
                await self._stop(request.grace)
            case Verb.DESTROY:
                await self._destroy()
            case Verb.DIED:
                await self._died()

    def _record(self, journal: Journal) -> None:
        """Write down a step before it is taken; an error means that it must not be."""
        journal.write(self._where.journal)
        self.journal = journal

    def _note(self, journal: Journal) -> None:
        """Write down what is so already. On a full disk it is so all the same: a restart finds it out again."""
        self.journal = journal
        try:
            journal.write(self._where.journal)
        except (errors.DiskFull, OSError) as error:
            log.warning("journal not written", machine=journal.id, phase=journal.phase, error=str(error))

    def _living(self) -> Identity | None:
        """The process in the journal, if it still runs: it has the disk open."""
        identity = self.journal.process
        return identity if identity is not None and process.is_alive(identity) else None

    async def _start(self, on_progress: OnProgress) -> None:
        if (former := self._living()) is not None:
            await process.end(former)  # could not be ended when its time had come
        self._record(replace(self.journal, phase=Phase.STARTING, reason=None, process=None))
        try:
            machine = await bring_up.bring_up(self._context, self.journal, self._record, on_progress)
            try:
                self._record(replace(self.journal, phase=Phase.RUNNING))
            except BaseException:
                await machine.kill()
                raise
        except asyncio.CancelledError:
            self._note(replace(self.journal, phase=Phase.STOPPED, process=self._living()))
            raise
        except Exception as error:
            reason = error.message if isinstance(error, errors.HutchError) else repr(error)
            self._note(replace(self.journal, phase=Phase.FAILED, reason=reason, process=self._living()))
            raise
        self._hold(machine)

    async def _stop(self, grace: float) -> None:
        self._note(replace(self.journal, phase=Phase.STOPPING))
        machine = self._vm
        if machine is not None:
            self._end_guard()
            await self._shut_down(machine, grace)
            self._vm = None
        self._note(replace(self.journal, phase=Phase.STOPPED, process=None, reason=None))

    async def _shut_down(self, machine: vm.Vm, grace: float) -> None:
        began = time.monotonic()
        try:
            with contextlib.suppress(errors.HutchError, TimeoutError):
                if machine.agent is not None and grace > 0:
                    await asyncio.wait_for(machine.agent.shutdown(), grace)
                    await machine.watch.wait(max(0.0, grace - (time.monotonic() - began)))
            if not machine.watch.ended.is_set() and machine.agent is not None:
                with contextlib.suppress(errors.HutchError, TimeoutError):
                    await asyncio.wait_for(machine.agent.sync(), 3.0)
        finally:
            await machine.end()

    async def _destroy(self) -> None:
        self._note(replace(self.journal, phase=Phase.DESTROYING))
        machine = self._vm
        if machine is not None:
            self._end_guard()
            await machine.kill()
            self._vm = None
        if (former := self._living()) is not None:
            await process.end(former)
        # In one step it is no machine's directory any more: a disk without a journal is never removed by a restart.
        gone = self._where.root.with_name(f".gone-{self.journal.id}")
        with contextlib.suppress(FileNotFoundError):
            self._where.root.rename(gone)
        self.gone = True
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)

    async def _died(self) -> None:
        machine = self._vm
        if machine is None or not machine.watch.ended.is_set():
            return
        clean = machine.monitor.shut_down
        reason = "the guest powered off" if clean else machine.last_words()
        await self._release()
        phase = Phase.STOPPED if clean else Phase.FAILED
        self._note(replace(self.journal, phase=phase, reason=None if clean else reason, process=None))
        log.info("machine died", machine=self.journal.id, reason=reason)
        self._context.on_death(Died(self.journal.id, reason, clean))

    def _hold(self, machine: vm.Vm) -> None:
        self._vm = machine
        self._answering.set()
        self._guard = asyncio.create_task(self._watch_over(machine))

    async def _release(self) -> None:
        self._end_guard()
        machine, self._vm = self._vm, None
        if machine is not None:
            await machine.close()

    def _end_guard(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None

    async def _watch_over(self, machine: vm.Vm) -> None:
        """Look after a running machine until its process ends, and have that dealt with."""
        try:
            await self._keep_talking(machine)
        except Exception:
            log.exception("looking after a machine failed", machine=self.journal.id)
            await machine.give_up("the service could not look after it; its log has the details")
        self._queue.put_nowait(_Request(Verb.DIED))

    async def _keep_talking(self, machine: vm.Vm) -> None:
        """Take up a broken conversation again; end a guest that no longer answers."""
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
            log.warning("conversation lost", machine=self.journal.id)
            try:
                await machine.connect_agent(AGENT_WAIT)
                self._answering.set()
            except errors.HutchError:
                if not machine.watch.ended.is_set():
                    await machine.give_up("the guest's agent stopped answering")


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
