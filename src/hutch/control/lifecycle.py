"""The steps of every verb: what is recorded before the host acts, what after, and what when it fails.

                  create            start                       stop
    (nothing) ──► creating ──► stopped ──► starting ──► running ──► stopping ──► stopped
                     │            ▲           │ ended      │ died                   │ ephemeral
                     ▼ undo       └───────────┤            ▼                        ▼
                 destroying                   └──error──► failed              destroying ──► destroyed

`starting.py` draws what a start does, `stopping.py` a stop, `resizing.py` a resize, `freezing.py` what keeps a
machine's memory.

Only a machine's owner calls these, one at a time. The database is written before the host acts, and after: whatever
dies in between, `reconcile` says how to go on.
"""

import dataclasses

from hutch.control import policy, reconcile
from hutch.control.brood import Brood
from hutch.control.freezing import Freezing
from hutch.control.operation import (
    Amending,
    Copying,
    Creation,
    Death,
    Ended,
    Networking,
    Operation,
    Resize,
    Restart,
    Rollback,
    Setting,
)
from hutch.control.policy import Verb
from hutch.control.records import Entry
from hutch.control.resizing import Resizing
from hutch.control.starting import Starting
from hutch.control.steps import HAS_PROCESS, IN_MEMORY, Steps
from hutch.control.stopping import Stopping
from hutch.host.interface import HostMachine
from hutch.model import errors
from hutch.model.kinds import Kind
from hutch.model.machine import Level, MachineSpec, NetworkPolicy
from hutch.model.states import TRANSIENT, State


class Lifecycle:
    """Carries out what `policy` has accepted."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._records = steps.records
        self._host = steps.host
        self._starting = Starting(steps)
        self._stopping = Stopping(steps)
        self._resizing = Resizing(steps, self._starting, self._stopping)
        self._freezing = Freezing(steps, self._starting)

    async def perform(self, entry: Entry, operation: Operation) -> None:
        """Do it. Raises what its callers are to be told; the machine is then in the state that tells the same."""
        verb = operation.verb
        if verb not in (Verb.CREATE, Verb.DELETE) and entry.machine.state in TRANSIENT:
            await self._settle_first(entry, operation)
        machine = entry.machine
        answer = policy.decide(verb, machine.state, ())
        refused = policy.refusal(answer, verb, machine.id, machine.state, machine.reason)
        if refused is not None:
            raise refused
        if operation.prelude is not None:
            await self._records.note(entry, operation.cause, kind=operation.prelude)
        await self._carry_out(entry, operation)

    async def _carry_out(self, entry: Entry, operation: Operation) -> None:
        match operation.verb, operation:
            case Verb.CREATE, Creation():
                await self._create(entry, operation)
            case Verb.START | Verb.WAKE, _:
                await self._starting.start(entry, operation)
            case Verb.PAUSE, _:
                await self._freezing.pause(entry, operation)
            case Verb.SUSPEND, _:
                await self._freezing.suspend(entry, operation)
            case Verb.SNAPSHOT, Copying():
                await self._freezing.copy(entry, operation)
            case Verb.ROLLBACK, Rollback():
                await self._freezing.roll_back(entry, operation)
            case Verb.RESTART, Restart():
                await self._restart(entry, operation)
            case Verb.RESIZE | Verb.RESHAPE, Resize():
                await self._resizing.resize(entry, operation)
            case Verb.OPTIMIZE, _:
                await self._freezing.optimize(entry, operation)
            case Verb.NETWORK, Networking():
                await self._set_network(entry, operation)
            case Verb.SET, Setting():
                await self._records.update(entry, operation.message, operation.kind, **operation.changes)
            case Verb.SET, Amending():
                message, changes = operation.change(entry.machine)
                await self._records.update(entry, message, operation.kind, **changes)
            case Verb.STOP | Verb.KILL, _:
                await self._stopping.stop(entry, operation)
            case Verb.DELETE, _:
                await self._steps.remove(entry, f"deleting: {operation.cause}")
            case Verb.DIED, Death():
                await self._died(entry, operation)
            case Verb.SETTLE, _:
                pass
            case _:
                raise AssertionError(operation)

    async def settle(self, entry: Entry, real: HostMachine | None) -> Verb | None:
        """Record what the host says of a machine that nobody works on; what is left to do is returned."""
        while True:
            finding = reconcile.find(entry.machine.state, real)
            if finding.state is not None:
                ready_at = self._steps.clock.now() if finding.state is State.RUNNING else entry.machine.ready_at
                await self._records.transition(
                    entry, finding.state, finding.message, finding.level, reason=finding.reason, ready_at=ready_at
                )
            elif finding.message:
                await self._records.note(entry, finding.message, finding.level, finding.kind)
            if not finding.again:
                break
        if real is not None and entry.machine.state not in (State.CREATING, State.DESTROYING):
            await self._settle_spec(entry, real)
        self._steps.count(entry, real)
        return finding.then

    async def _settle_spec(self, entry: Entry, real: HostMachine) -> None:
        """A policy or a size that the host had taken when the service died is the machine's."""
        its = entry.machine.spec
        if real.network is not None and real.network != its.network:
            await self._record_network(entry, its, real.network)
        await self._steps.settle_size(entry, real)

    async def _record_network(self, entry: Entry, its: MachineSpec, policy: NetworkPolicy) -> None:
        message = f"its network policy is {policy.mode} now"
        await self._records.update(entry, message, Kind.NETWORK_SET, spec=dataclasses.replace(its, network=policy))

    async def _settle_first(self, entry: Entry, operation: Operation) -> None:
        match await self.settle(entry, self._steps.real(entry)):
            case Verb.STOP if operation.verb not in (Verb.STOP, Verb.KILL):  # these do it themselves
                await self._stopping.stop(entry, operation)
            case Verb.DELETE:
                await self._steps.remove(entry, f"deleting: {operation.cause}")

    async def _create(self, entry: Entry, operation: Creation) -> None:
        machine, snapshot, spec = entry.machine, operation.snapshot, entry.machine.spec
        if operation.saved is not None:
            resources = dataclasses.replace(operation.saved, disk_gib=spec.resources.disk_gib)
            spec = dataclasses.replace(spec, resources=resources)
        is_resized = spec != machine.spec
        try:
            await self._steps.with_disk_room(lambda: operation.act(self._host.create(machine.id, spec, snapshot)))
            if is_resized:
                await self._resizing.outgrow(entry, operation, spec.resources)
            if operation.brood is not None:
                await self._run_with(operation.brood, entry, operation)
        except Ended:
            raise  # the deletion that ended it undoes it, or the next start of the service
        except Exception as error:
            told = self._steps.told(entry, error)
            await self._steps.remove(entry, f"could not be created: {told.message}", Level.ERROR)
            raise told from error
        if operation.brood is None:
            state = State.STOPPED if snapshot is None or is_resized else State.SUSPENDED
            await self._records.transition(entry, state, "created", kind=Kind.CREATED)

    async def _run_with(self, brood: Brood, entry: Entry, operation: Operation) -> None:
        """Start it, and wait until all of its brood are recorded as running."""

        async def start() -> None:
            async with brood.turn:
                brood.check()
                await self._host.start(entry.machine.id)
            brood.note_running()
            await brood.wait_all_run()

        await operation.act(start())
        await brood.wait_recorded()

    async def _restart(self, entry: Entry, operation: Restart) -> None:
        """In one turn, so that nobody finds it stopped meanwhile, and an ephemeral one is kept.

        A service that dies in between leaves it stopped.
        """
        if not (operation.resumes and entry.machine.state in (State.PAUSED, State.SUSPENDED)):
            await self._stopping.shut_down(entry, operation)
            await self._stopping.note_stopped(entry)
        await self._starting.start(entry, operation)

    async def _set_network(self, entry: Entry, operation: Networking) -> None:
        """On an error both host and record are as they were."""
        machine, wanted, its = entry.machine.id, operation.policy, entry.machine.spec
        try:
            await operation.act(self._host.networks.set_policy(machine, wanted))
        except Ended:
            raise
        except Exception as error:
            told = self._steps.told(entry, error)
            await self._records.note(entry, f"its network is as it was: {told.message}", Level.WARNING, Kind.REFUSED)
            raise told from error
        try:
            await self._record_network(entry, its, wanted)
        except errors.HutchError:
            await self._host.networks.set_policy(machine, its.network)
            raise

    async def _died(self, entry: Entry, operation: Death) -> None:
        real = self._steps.real(entry)
        if entry.machine.state not in HAS_PROCESS or (real is not None and real.life in IN_MEMORY):
            return  # told late: it has been stopped or started again since
        self._steps.admission.release(entry.machine.id)
        if operation.died.clean:
            await self._records.transition(entry, State.STOPPING, f"it shut itself down: {operation.died.reason}")
            await self._stopping.stop(entry, operation)
        else:
            await self._steps.fail(entry, "died", errors.MachineFailed(operation.died.reason))
