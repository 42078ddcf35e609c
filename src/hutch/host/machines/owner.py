"""The one task that owns a machine: everything that changes it goes through its queue, one after the other.

    stopped ──start──▶ starting ──▶ waking ──▶ running ──stop──▶ stopping ──▶ stopped
       ▲                  ▲ │                  │  ▲ │died              destroy, from anywhere ──▶ gone
       │                  │ └──failed──────────┼──┼─┴──▶ stopped (powered itself off) or failed
       └──stop── suspended ◀── suspending ◀────┤  └─resume─ paused
                                               └──pause────────▲

Only the owner writes the journal and only it starts or ends the process, so no two requests can ever meet in the middle
of a change. What a request means in which phase is decided by `policy`. Conversations with the guest (processes,
files) do not go through the queue: they take the agent from here and run side by side.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import structlog

from hutch.host.agent.client import Agent
from hutch.host.consoles import Kept
from hutch.host.interface import Died, HostMachine, OnProgress, SavedState
from hutch.host.machines import bring_up, changes, ending, flatten, hardware, policy, shape, sleeping
from hutch.host.machines.body import Body
from hutch.host.machines.context import Context
from hutch.host.machines.held import AGENT_WAIT
from hutch.host.machines.journal import Journal, Phase
from hutch.host.machines.policy import Decision, Verb
from hutch.host.machines.requests import Requests, Work
from hutch.host.network.connection import Connection
from hutch.host.qemu import process, vm
from hutch.host.saved.manifest import Manifest
from hutch.model import errors
from hutch.model.ids import SnapshotId
from hutch.model.machine import NetworkPolicy
from hutch.model.network import Endpoint

log = structlog.get_logger(__name__)


class Owner:
    """One machine on this host."""

    def __init__(self, context: Context, journal: Journal) -> None:
        self._context = context
        self._body = Body(context, journal, lambda: self._requests.put(Verb.DIED, self._died))
        self._requests = Requests(journal.id, self._act)

    def __repr__(self) -> str:
        return f"<Owner {self.journal.id} {self.journal.phase}>"

    @property
    def journal(self) -> Journal:
        """What is written down of it."""
        return self._body.journal

    @property
    def state(self) -> HostMachine:
        """What really is."""
        pid = self.journal.process.pid if self.journal.process else None
        spec = self.journal.spec
        return HostMachine(self.journal.id, self.journal.life, self.journal.reason, pid, spec.network, spec.resources)

    @property
    def saved(self) -> SnapshotId:
        """What it is suspended in. `NotRunning` without; `Conflict` while it runs, or is about to."""
        journal = self.journal
        if journal.phase in (Phase.STOPPED, Phase.FAILED):
            raise errors.NotRunning(f"machine {journal.id} is {journal.phase}: there is no memory of it")
        if journal.phase is not Phase.SUSPENDED or journal.saved is None:
            raise errors.Conflict(f"machine {journal.id} is {journal.phase}: suspend it first")
        return journal.saved

    @property
    def console(self) -> Kept:
        """The end of the console, of what runs or of what ran last."""
        return self._body.console

    async def start(self, on_progress: OnProgress) -> None:
        """Returns when the agent has answered. A caller that is cancelled ends the start."""
        await self._requests.ask(Verb.START, lambda: self._start(on_progress))

    async def stop(self, grace: float) -> None:
        """Returns when the process has ended. Without `grace` it breaks off a stop that still waits."""
        await self._requests.ask(Verb.STOP if grace > 0 else Verb.KILL, lambda: self._stop(grace))

    async def destroy(self) -> None:
        """Returns when nothing is left."""
        await self._requests.ask(Verb.DESTROY, self._destroy)

    async def pause(self) -> None:
        """Returns when the guest stands still."""
        await self._requests.ask(Verb.PAUSE, lambda: sleeping.pause(self._body))

    async def resume(self) -> None:
        """Returns when the agent has answered."""
        await self._requests.ask(Verb.RESUME, lambda: sleeping.resume(self._body))

    async def suspend(self) -> None:
        """Returns when the process has ended and the state is on the platters."""
        await self._requests.ask(Verb.SUSPEND, lambda: sleeping.suspend(self._body))

    async def snapshot(self, state: SnapshotId, transient: bool) -> SavedState:
        """Returns when the state is whole; the guest goes on long before."""
        manifest: Manifest = await self._requests.ask(Verb.SNAPSHOT, lambda: self._snapshot(state, transient))
        return self._context.states.describe(manifest)

    async def rollback(self, state: SnapshotId) -> None:
        """Returns when it is suspended in the state."""
        await self._requests.ask(Verb.ROLLBACK, lambda: sleeping.rollback(self._body, state))

    async def resize(self, disk_gib: int) -> None:
        """Returns when the disk is as large, or will be at the next start."""
        await self._requests.ask(Verb.RESIZE, lambda: changes.resize(self._body, disk_gib))

    async def reshape(self, cpus: int, memory_mib: int) -> None:
        """Returns when its next start boots it with these. `Conflict` while it has a process."""
        await self._requests.ask(Verb.RESHAPE, lambda: changes.reshape(self._body, cpus, memory_mib))

    async def set_policy(self, policy: NetworkPolicy) -> None:
        """Returns when it is in force."""
        await self._requests.ask(Verb.CONNECT, lambda: changes.set_policy(self._body, policy))

    async def endpoint(self, port: int) -> Endpoint:
        """Where a port of the running guest is reached. `NotRunning`."""
        machine = self._body.running().machine
        return await machine.connection.endpoint(machine.monitor, port)

    @property
    def connection(self) -> Connection | None:
        """What joins its process to the network, while it has one."""
        return self._body.connection

    async def claim(self, spare: "Owner") -> None:
        """Go on with what runs under another owner, who has nothing then."""
        await self._requests.ask(Verb.CLAIM, lambda: self._claim(spare))

    @property
    def gone(self) -> bool:
        """Whether there is no machine any more."""
        return self._requests.ended

    async def agent(self) -> Agent:
        """The agent of a running machine. `NotRunning`, `AgentUnavailable`."""
        return await self._body.running().agent()

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator[Agent]:
        """The agent, for a call that should end before the machine is paused or suspended."""
        async with self._body.running().talking() as agent:
            yield agent

    async def adopt(self) -> None:
        """Take up a process that a former service left running. Raises if it cannot be reached."""
        assert self.journal.process is not None
        assert self.journal.run is not None
        identity, networks = self.journal.process, self._context.engine.launcher.networks
        connection = await networks.adopt(identity.slot, self.journal.spec.network)
        machine = await vm.Vm.attach(self._context.paths.run(self.journal.run), identity, connection)
        try:
            await flatten.cancel(machine)
            await self._find_layers(machine)
            if self.journal.phase is Phase.WAKING:
                stale = frozenset(mount.volume for mount in self.journal.spec.mounts if mount.readonly)  # it may be
                await bring_up.go_on(
                    self._context, self.journal, machine, self._body.record, self._body.hold, stale=stale
                )
                return
            if self.journal.phase is Phase.SUSPENDING and self.journal.was_paused:
                self._body.note(replace(self.journal, phase=Phase.PAUSED, saved=None))
            if self.journal.phase is not Phase.PAUSED:
                # A guest that stands still was in the middle of being frozen: it goes on without that.
                self._body.note(replace(self.journal, phase=Phase.RUNNING, saved=None))
                if not await machine.monitor.is_running():
                    await machine.monitor.execute("cont")
                await machine.connect_agent(AGENT_WAIT)
        except BaseException:
            await machine.close()
            raise
        self._body.hold(machine)

    async def _find_layers(self, machine: vm.Vm) -> None:
        """Take a layer off the journal that its process was not told of any more."""
        *below, top = self.journal.layers
        if below and await machine.monitor.top_layer() == hardware.node(below[-1]):
            self._body.note(replace(self.journal, layers=tuple(below)))
            with contextlib.suppress(errors.MachineFailed):
                await machine.monitor.drop_layers(hardware.node(top))

    def settle(self, phase: Phase, reason: str | None = None) -> None:
        """Write down what a restart found out about a machine without a process."""
        saved = self.journal.saved if phase is Phase.SUSPENDED else None
        self._body.note(replace(self.journal, phase=phase, reason=reason, process=None, saved=saved))

    async def close(self) -> None:
        """Let go; a running machine runs on."""
        await self._requests.stop()
        await self._body.release()

    async def _act(self, verb: Verb, work: Work) -> Any:
        match policy.decide(self.journal.phase, verb):
            case Decision.ACT:
                return await work()
            case Decision.REFUSE:
                phase = self.journal.phase
                raise errors.NotRunning(f"machine {self.journal.id} is {phase}: there is no memory of it")

    async def _start(self, on_progress: OnProgress) -> None:
        if self.journal.phase is Phase.PAUSED:
            await sleeping.resume(self._body)
            return
        await self._body.end_former()
        former_run = self.journal.run
        self._context.volumes.check_free(self.journal)  # and in the same breath they are ours
        self._body.record(replace(self.journal, phase=Phase.STARTING, reason=None, process=None))
        try:
            await bring_up.bring_up(self._context, self.journal, self._body.record, self._body.hold, on_progress)
        except asyncio.CancelledError:
            if self._body.held is None:
                self._rest(Phase.STOPPED)
            raise
        except Exception as error:
            self._rest(Phase.FAILED, error.message if isinstance(error, errors.HutchError) else repr(error))
            raise
        finally:
            self._body.drop_run(former_run)
        self._context.collect()
        self._context.spares.refill(self._context, self.journal)
        self._flatten_if_deep()

    def _rest(self, phase: Phase, reason: str | None = None) -> None:
        """Note that a start came to nothing; what was suspended still is."""
        if self.journal.saved is not None:
            phase, reason = Phase.SUSPENDED, None
        self._body.note(replace(self.journal, phase=phase, reason=reason, process=self._body.living))

    async def _stop(self, grace: float) -> None:
        if self.journal.phase is Phase.PAUSED and (grace > 0 or ending.writes_volumes(self.journal)):
            with contextlib.suppress(errors.HutchError):
                await sleeping.resume(self._body)  # to write what it has not written yet
        self._body.note(replace(self.journal, phase=Phase.STOPPING))
        if (machine := self._body.let_go()) is not None:
            await ending.shut_down(machine, self.journal, grace)
        else:
            await self._body.end_former()  # of a stop that was broken off
        self._body.note(replace(self.journal, phase=Phase.STOPPED, process=None, reason=None, saved=None))
        self._context.collect()

    async def _snapshot(self, state: SnapshotId, transient: bool) -> Manifest:
        made = await sleeping.snapshot(self._body, state, transient, self._flatten)
        self._flatten_if_deep()
        return made

    async def _claim(self, spare: "Owner") -> None:
        mine = self.journal
        if mine.booted or mine.phase is not Phase.STOPPED:
            raise errors.Conflict(f"machine {mine.id} was started before: only a new one can take over another")
        shape.check_same(mine.spec, spare.journal.spec)
        if spare.journal.phase not in (Phase.RUNNING, Phase.PAUSED):  # two that wait for each other would for ever
            raise errors.NotRunning(f"machine {spare.journal.id} is {spare.journal.phase}: there is nothing to take")
        machine = await spare.give()
        try:
            theirs = replace(spare.journal, id=mine.id, spec=mine.spec)
            self._body.record(replace(theirs, phase=Phase.WAKING, process=machine.watch.process))
        except BaseException:
            await machine.kill()
            raise
        try:
            await process.to_the_end(
                bring_up.go_on(self._context, self.journal, machine, self._body.record, self._body.hold)
            )
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._body.note(replace(mine, uid=theirs.uid))
            raise

    async def give(self) -> vm.Vm:
        """Let another owner have what runs; this one is gone then, but for its directory, which a restart removes."""
        machine: vm.Vm = await self._requests.ask(Verb.YIELD, self._yield)
        return machine

    async def _yield(self) -> vm.Vm:
        self._body.record(replace(self.journal, phase=Phase.DESTROYING, process=None))
        machine = self._body.take()
        await machine.disconnect_agent()
        self._requests.ended = True
        return machine

    def _flatten_if_deep(self) -> None:
        if len(self.journal.layers) >= flatten.DEPTH:
            self._requests.put(Verb.FLATTEN, self._flatten)

    async def _flatten(self) -> None:
        if self._body.held is None:
            return
        *below, top = self.journal.layers
        machine = self._body.held.machine
        await flatten.flatten(self._context, machine, self.journal)
        self._body.record(replace(self.journal, layers=(top,)))
        self._context.collect()
        # Whatever interrupts it now: what is left open is never closed by anybody else.
        await process.to_the_end(machine.monitor.drop_layers(*map(hardware.node, reversed(below))))

    async def _destroy(self) -> None:
        if self.journal.phase is Phase.PAUSED and ending.writes_volumes(self.journal):
            with contextlib.suppress(errors.HutchError):
                await sleeping.resume(self._body)
        self._body.note(replace(self.journal, phase=Phase.DESTROYING))
        if (machine := self._body.let_go()) is not None:
            if ending.writes_volumes(self.journal):
                await ending.write_out(machine, self.journal)
            await machine.kill()
        await self._body.end_former()
        # In one step it is no machine's directory any more: a disk without a journal is never removed by a restart.
        gone = self._body.where.root.with_name(f".gone-{self.journal.id}")
        with contextlib.suppress(FileNotFoundError):
            self._body.where.root.rename(gone)
        self._requests.ended = True
        if self.journal.run is not None:
            shutil.rmtree(self._context.paths.run(self.journal.run).root, ignore_errors=True)
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)

    async def _died(self) -> None:
        if self._body.held is None or not self._body.held.machine.watch.ended.is_set():
            return
        machine = self._body.held.machine
        clean = machine.monitor.shut_down
        reason = "the guest powered off" if clean else machine.last_words()
        await self._body.release()
        phase = Phase.STOPPED if clean else Phase.FAILED
        self._body.note(replace(self.journal, phase=phase, reason=None if clean else reason, process=None))
        log.info("machine died", machine=self.journal.id, reason=reason)
        self._context.on_death(Died(self.journal.id, reason, clean))
