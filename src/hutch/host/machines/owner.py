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

from hutch.host import disks, mounts
from hutch.host.agent.client import Agent
from hutch.host.consoles import Kept
from hutch.host.interface import Died, HostMachine, OnProgress, SavedState
from hutch.host.machines import bring_up, ending, flatten, freeze, hardware, identity, policy, shape
from hutch.host.machines.context import Context
from hutch.host.machines.held import AGENT_WAIT, Held
from hutch.host.machines.journal import Journal, Phase
from hutch.host.machines.policy import Decision, Verb
from hutch.host.machines.requests import Requests, Work
from hutch.host.network.connection import Connection
from hutch.host.qemu import process, vm
from hutch.host.qemu.console import Tail
from hutch.host.qemu.process import Identity
from hutch.host.saved.manifest import Manifest
from hutch.model import errors, ids
from hutch.model.ids import SnapshotId
from hutch.model.machine import NetworkPolicy
from hutch.model.network import Endpoint

log = structlog.get_logger(__name__)


class Owner:
    """One machine on this host."""

    def __init__(self, context: Context, journal: Journal) -> None:
        self._context = context
        self.journal = journal
        self._where = context.paths.machine(journal.id)
        self._held: Held | None = None
        self._tail: Tail | None = None
        self._requests = Requests(journal.id, self._act)

    def __repr__(self) -> str:
        return f"<Owner {self.journal.id} {self.journal.phase}>"

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
        if self._tail is not None:
            return self._tail.kept
        data = b""
        if self.journal.run is not None:
            with contextlib.suppress(OSError):
                data = self._context.paths.run(self.journal.run).console_log.read_bytes()
        return Kept(self.journal.run or "", data, len(data))

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
        await self._requests.ask(Verb.PAUSE, self._pause)

    async def resume(self) -> None:
        """Returns when the agent has answered."""
        await self._requests.ask(Verb.RESUME, self._resume)

    async def suspend(self) -> None:
        """Returns when the process has ended and the state is on the platters."""
        await self._requests.ask(Verb.SUSPEND, self._suspend)

    async def snapshot(self, state: SnapshotId, transient: bool) -> SavedState:
        """Returns when the state is whole; the guest goes on long before."""
        manifest: Manifest = await self._requests.ask(Verb.SNAPSHOT, lambda: self._snapshot(state, transient))
        return self._context.states.describe(manifest)

    async def rollback(self, state: SnapshotId) -> None:
        """Returns when it is suspended in the state."""
        await self._requests.ask(Verb.ROLLBACK, lambda: self._rollback(state))

    async def resize(self, disk_gib: int) -> None:
        """Returns when the disk is as large, or will be at the next start."""
        await self._requests.ask(Verb.RESIZE, lambda: self._resize(disk_gib))

    async def reshape(self, cpus: int, memory_mib: int) -> None:
        """Returns when its next start boots it with these. `Conflict` while it has a process."""
        await self._requests.ask(Verb.RESHAPE, lambda: self._reshape(cpus, memory_mib))

    async def set_policy(self, policy: NetworkPolicy) -> None:
        """Returns when it is in force."""
        await self._requests.ask(Verb.CONNECT, lambda: self._set_policy(policy))

    async def endpoint(self, port: int) -> Endpoint:
        """Where a port of the running guest is reached. `NotRunning`."""
        machine = self._running().machine
        return await machine.connection.endpoint(machine.monitor, port)

    @property
    def connection(self) -> Connection | None:
        """What joins its process to the network, while it has one."""
        return None if self._held is None else self._held.machine.connection

    async def claim(self, spare: "Owner") -> None:
        """Go on with what runs under another owner, who has nothing then."""
        await self._requests.ask(Verb.CLAIM, lambda: self._claim(spare))

    @property
    def gone(self) -> bool:
        """Whether there is no machine any more."""
        return self._requests.ended

    async def agent(self) -> Agent:
        """The agent of a running machine. `NotRunning`, `AgentUnavailable`."""
        return await self._running().agent()

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator[Agent]:
        """The agent, for a call that should end before the machine is paused or suspended."""
        async with self._running().talking() as agent:
            yield agent

    def _running(self) -> Held:
        if self._held is None or self.journal.phase is not Phase.RUNNING:
            raise errors.NotRunning(f"machine {self.journal.id} is not running")
        return self._held

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
                await bring_up.go_on(self._context, self.journal, machine, self._record, self._hold, stale=stale)
                return
            if self.journal.phase is Phase.SUSPENDING and self.journal.was_paused:
                self._note(replace(self.journal, phase=Phase.PAUSED, saved=None))
            if self.journal.phase is not Phase.PAUSED:
                # A guest that stands still was in the middle of being frozen: it goes on without that.
                self._note(replace(self.journal, phase=Phase.RUNNING, saved=None))
                if not await machine.monitor.is_running():
                    await machine.monitor.execute("cont")
                await machine.connect_agent(AGENT_WAIT)
        except BaseException:
            await machine.close()
            raise
        self._hold(machine)

    async def _find_layers(self, machine: vm.Vm) -> None:
        """Take a layer off the journal that its process was not told of any more."""
        *below, top = self.journal.layers
        if below and await machine.monitor.top_layer() == hardware.node(below[-1]):
            self._note(replace(self.journal, layers=tuple(below)))
            with contextlib.suppress(errors.MachineFailed):
                await machine.monitor.drop_layers(hardware.node(top))

    def settle(self, phase: Phase, reason: str | None = None) -> None:
        """Write down what a restart found out about a machine without a process."""
        saved = self.journal.saved if phase is Phase.SUSPENDED else None
        self._note(replace(self.journal, phase=phase, reason=reason, process=None, saved=saved))

    async def close(self) -> None:
        """Let go; a running machine runs on."""
        await self._requests.stop()
        await self._release()

    async def _act(self, verb: Verb, work: Work) -> Any:
        match policy.decide(self.journal.phase, verb):
            case Decision.ACT:
                return await work()
            case Decision.REFUSE:
                phase = self.journal.phase
                raise errors.NotRunning(f"machine {self.journal.id} is {phase}: there is no memory of it")

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

    async def _end_former(self) -> None:
        """End a process that could not be ended when its time had come, if it still runs."""
        if (former := self._living()) is not None:
            await process.end(former)
            self._context.engine.launcher.networks.abandon(former.slot)

    async def _start(self, on_progress: OnProgress) -> None:
        if self.journal.phase is Phase.PAUSED:
            await self._resume()
            return
        await self._end_former()
        former_run = self.journal.run
        self._context.volumes.check_free(self.journal)  # and in the same breath they are ours
        self._record(replace(self.journal, phase=Phase.STARTING, reason=None, process=None))
        try:
            await bring_up.bring_up(self._context, self.journal, self._record, self._hold, on_progress)
        except asyncio.CancelledError:
            if self._held is None:
                self._rest(Phase.STOPPED)
            raise
        except Exception as error:
            self._rest(Phase.FAILED, error.message if isinstance(error, errors.HutchError) else repr(error))
            raise
        finally:
            self._drop_run(former_run)
        self._context.collect()
        self._context.spares.refill(self._context, self.journal)
        self._flatten_if_deep()

    def _rest(self, phase: Phase, reason: str | None = None) -> None:
        """Note that a start came to nothing; what was suspended still is."""
        if self.journal.saved is not None:
            phase, reason = Phase.SUSPENDED, None
        self._note(replace(self.journal, phase=phase, reason=reason, process=self._living()))

    async def _stop(self, grace: float) -> None:
        if self.journal.phase is Phase.PAUSED and (grace > 0 or ending.writes_volumes(self.journal)):
            with contextlib.suppress(errors.HutchError):
                await self._resume()  # to write what it has not written yet
        self._note(replace(self.journal, phase=Phase.STOPPING))
        if (machine := self._let_go()) is not None:
            await ending.shut_down(machine, self.journal, grace)
        else:
            await self._end_former()  # of a stop that was broken off
        self._note(replace(self.journal, phase=Phase.STOPPED, process=None, reason=None, saved=None))
        self._context.collect()

    async def _pause(self) -> None:
        await self._running().let_calls_end()
        machine = self._take()
        try:
            await machine.disconnect_agent()
            await machine.monitor.execute("stop")
            self._note(replace(self.journal, phase=Phase.PAUSED))
        except errors.HutchError:
            with contextlib.suppress(errors.HutchError):  # it runs on: nobody else begins the conversation anew
                await machine.monitor.go_on()
                await machine.connect_agent(AGENT_WAIT)
            raise
        finally:
            self._hold(machine)

    async def _resume(self) -> None:
        machine = self._take()
        try:
            await self._go_on(machine)
        except BaseException:
            await process.to_the_end(_stand_still(machine))  # as the journal says
            raise
        finally:
            self._hold(machine)

    async def _go_on(self, machine: vm.Vm) -> None:
        await machine.monitor.go_on()
        agent = await machine.connect_agent(AGENT_WAIT)
        await identity.set_clock(agent)
        if self.journal.grow:
            await agent.grow()
        self._note(replace(self.journal, phase=Phase.RUNNING, grow=False))

    async def _suspend(self) -> None:
        assert self._held is not None
        held, before = self._held, self.journal
        state = SnapshotId(ids.random_id())
        await held.let_calls_end()
        if before.phase is Phase.RUNNING:  # its disk alone is then worth something too, if the memory is not wanted
            with contextlib.suppress(errors.HutchError, TimeoutError):
                await asyncio.wait_for((await held.agent()).sync(), ending.limit(self.journal))
        was_paused = before.phase is Phase.PAUSED
        self._record(replace(before, phase=Phase.SUSPENDING, saved=state, was_paused=was_paused))
        try:
            with held.frozen():
                await freeze.suspend(self._context, self.journal, held.machine, state)
        except BaseException:
            self._note(replace(before, saved=None))
            raise
        await process.to_the_end(self._put_away(self._take()))

    async def _put_away(self, machine: vm.Vm) -> None:
        """End the process of a machine whose state is saved."""
        await machine.end()
        self._note(replace(self.journal, phase=Phase.SUSPENDED, process=None))

    async def _snapshot(self, state: SnapshotId, transient: bool) -> Manifest:
        context = self._context
        if context.states.is_there(state):
            raise errors.Conflict(f"there is already a snapshot {state}")
        mounts.check_copyable(self.journal.id, self.journal.spec)
        if self.journal.phase is Phase.SUSPENDED:
            made = await freeze.of_suspended(context, self.journal, state, self._record, transient)
        else:
            assert self._held is not None
            if len(self.journal.layers) >= flatten.MOST:
                await self._flatten()  # in the background it did not come to its end
            with self._held.frozen():
                machine = self._held.machine
                made = await freeze.snapshot(context, self.journal, machine, state, self._record, transient)
        if transient:
            context.states.hold(state)  # in the same breath as it became one: nothing is collected in between
        self._flatten_if_deep()
        return made

    async def _rollback(self, state: SnapshotId) -> None:
        manifest = self._context.states.snapshot(state)
        shape.check(self.journal.spec, manifest)
        with self._context.states.pinned(state):
            async with shape.standing_on(self._context, self.journal, manifest) as journal:
                machine = self._let_go()
                try:
                    if machine is not None:
                        await machine.kill()
                    await self._end_former()
                    self._record(journal)
                except BaseException:
                    if machine is not None:
                        reason = "it was ended to be put back to a snapshot, which failed"
                        self._note(replace(self.journal, phase=Phase.FAILED, reason=reason, process=self._living()))
                    raise
        self._context.collect()

    async def _resize(self, disk_gib: int) -> None:
        had = self.journal.spec.resources.disk_gib
        if disk_gib < had:
            raise errors.InvalidRequest(f"a disk of {had} GiB cannot be made smaller: {disk_gib} GiB asked for")
        spec = replace(self.journal.spec, resources=replace(self.journal.spec.resources, disk_gib=disk_gib))
        if self._held is None:
            self._record(replace(self.journal, spec=spec))
            return
        top = hardware.node(self.journal.layers[-1])
        await self._held.machine.monitor.execute("block_resize", node_name=top, size=disk_gib * disks.GIB)
        self._record(replace(self.journal, spec=spec, disk_gib=disk_gib, grow=True))
        if self.journal.phase is Phase.RUNNING:
            await (await self.agent()).grow()
            self._note(replace(self.journal, grow=False))

    async def _reshape(self, cpus: int, memory_mib: int) -> None:
        if self._held is not None:
            raise errors.Conflict(f"machine {self.journal.id} is {self.journal.phase}: stop it first")
        journal, has = self.journal, self.journal.spec.resources
        resources = replace(has, cpus=cpus, memory_mib=memory_mib)
        if resources == has:
            return
        phase = Phase.STOPPED if journal.phase is Phase.SUSPENDED else journal.phase
        self._record(replace(journal, spec=replace(journal.spec, resources=resources), phase=phase, saved=None))
        self._context.collect()

    async def _set_policy(self, policy: NetworkPolicy) -> None:
        self._context.engine.launcher.networks.base(policy)
        before, connection = self.journal, self.connection
        try:
            if connection is not None:
                await connection.enforce(policy)
            self._record(replace(before, spec=replace(before.spec, network=policy)))
        except BaseException:
            if connection is not None:
                with contextlib.suppress(errors.HutchError):
                    await connection.enforce(before.spec.network)
            raise

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
            self._record(replace(theirs, phase=Phase.WAKING, process=machine.watch.process))
        except BaseException:
            await machine.kill()
            raise
        try:
            await process.to_the_end(bring_up.go_on(self._context, self.journal, machine, self._record, self._hold))
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._note(replace(mine, uid=theirs.uid))
            raise

    async def give(self) -> vm.Vm:
        """Let another owner have what runs; this one is gone then, but for its directory, which a restart removes."""
        machine: vm.Vm = await self._requests.ask(Verb.YIELD, self._yield)
        return machine

    async def _yield(self) -> vm.Vm:
        self._record(replace(self.journal, phase=Phase.DESTROYING, process=None))
        machine = self._take()
        await machine.disconnect_agent()
        self._requests.ended = True
        return machine

    def _flatten_if_deep(self) -> None:
        if len(self.journal.layers) >= flatten.DEPTH:
            self._requests.put(Verb.FLATTEN, self._flatten)

    async def _flatten(self) -> None:
        if self._held is None:
            return
        *below, top = self.journal.layers
        machine = self._held.machine
        await flatten.flatten(self._context, machine, self.journal)
        self._record(replace(self.journal, layers=(top,)))
        self._context.collect()
        # Whatever interrupts it now: what is left open is never closed by anybody else.
        await process.to_the_end(machine.monitor.drop_layers(*map(hardware.node, reversed(below))))

    def _drop_run(self, run: str | None) -> None:
        """Remove what a former process left."""
        if run is not None and run != self.journal.run:
            shutil.rmtree(self._context.paths.run(run).root, ignore_errors=True)

    async def _destroy(self) -> None:
        if self.journal.phase is Phase.PAUSED and ending.writes_volumes(self.journal):
            with contextlib.suppress(errors.HutchError):
                await self._resume()
        self._note(replace(self.journal, phase=Phase.DESTROYING))
        if (machine := self._let_go()) is not None:
            if ending.writes_volumes(self.journal):
                await ending.write_out(machine, self.journal)
            await machine.kill()
        await self._end_former()
        # In one step it is no machine's directory any more: a disk without a journal is never removed by a restart.
        gone = self._where.root.with_name(f".gone-{self.journal.id}")
        with contextlib.suppress(FileNotFoundError):
            self._where.root.rename(gone)
        self._requests.ended = True
        if self.journal.run is not None:
            shutil.rmtree(self._context.paths.run(self.journal.run).root, ignore_errors=True)
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)

    async def _died(self) -> None:
        if self._held is None or not self._held.machine.watch.ended.is_set():
            return
        machine = self._held.machine
        clean = machine.monitor.shut_down
        reason = "the guest powered off" if clean else machine.last_words()
        await self._release()
        phase = Phase.STOPPED if clean else Phase.FAILED
        self._note(replace(self.journal, phase=phase, reason=None if clean else reason, process=None))
        log.info("machine died", machine=self.journal.id, reason=reason)
        self._context.on_death(Died(self.journal.id, reason, clean))

    def _hold(self, machine: vm.Vm) -> None:
        self._tail = machine.console
        self._held = Held(self.journal.id, machine, lambda: self._requests.put(Verb.DIED, self._died))

    def _let_go(self) -> vm.Vm | None:
        """What runs, if anything, to be looked after no more."""
        held, self._held = self._held, None
        return None if held is None else held.release()

    def _take(self) -> vm.Vm:
        """What runs, to be looked after no more."""
        machine = self._let_go()
        assert machine is not None
        return machine

    async def _release(self) -> None:
        if (machine := self._let_go()) is not None:
            await machine.close()


async def _stand_still(machine: vm.Vm) -> None:
    """Have a machine that could not go on stand still again; nothing if its process has ended."""
    await machine.disconnect_agent()
    with contextlib.suppress(errors.HutchError):
        await machine.monitor.execute("stop")
