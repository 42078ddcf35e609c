"""The steps of every verb: what is recorded before the host acts, what after, and what when it fails.

                  create            start                       stop
    (nothing) ──► creating ──► stopped ──► starting ──► running ──► stopping ──► stopped
                     │            ▲           │ ended      │ died                   │ ephemeral
                     ▼ undo       └───────────┤            ▼                        ▼
                 destroying                   └──error──► failed              destroying ──► destroyed

Only a machine's owner calls these, one at a time. The database is written before the host acts, and after: whatever
dies in between, `reconcile` says how to go on.
"""

import time

import structlog

from hutch.control import policy, reconcile
from hutch.control.admission import Admission
from hutch.control.clock import Clock
from hutch.control.operation import Ended, Operation
from hutch.control.policy import Verb
from hutch.control.records import Entry, Records
from hutch.host.interface import Died, Host, HostMachine, Life, Progress
from hutch.model import errors
from hutch.model.machine import Level, Persistence
from hutch.model.states import TRANSIENT, State

log = structlog.get_logger(__name__)

_HAS_PROCESS = (State.RUNNING, State.PAUSED)
_IN_MEMORY = (Life.RUNNING, Life.PAUSED)


class Death(Operation):
    """What the host told of a machine's end, in its place among the requests."""

    def __init__(self, died: Died) -> None:
        super().__init__(Verb.DIED, died.reason)
        self.died = died


class Lifecycle:
    """Carries out what `policy` has accepted."""

    def __init__(self, records: Records, host: Host, admission: Admission, clock: Clock, stop_grace: float) -> None:
        self._records = records
        self._host = host
        self._admission = admission
        self._clock = clock
        self._stop_grace = stop_grace

    async def perform(self, entry: Entry, operation: Operation) -> None:
        """Do it. Raises what its callers are to be told; the machine is then in the state that tells the same."""
        verb = operation.verb
        if verb not in (Verb.CREATE, Verb.DELETE) and entry.machine.state in TRANSIENT:
            await self._settle_first(entry, operation)
        refused = policy.refusal(
            policy.decide(verb, entry.machine.state, ()),
            verb,
            entry.machine.id,
            entry.machine.state,
            entry.machine.reason,
        )
        if refused is not None:
            raise refused
        match verb:
            case Verb.CREATE:
                await self._create(entry, operation)
            case Verb.START | Verb.WAKE:
                await self._start(entry, operation)
            case Verb.STOP:
                await self._stop(entry, operation)
            case Verb.DELETE:
                await self._delete(entry, operation)
            case Verb.DIED:
                assert isinstance(operation, Death)
                await self._died(entry, operation)
            case Verb.SETTLE:
                pass

    async def settle(self, entry: Entry, real: HostMachine | None) -> Verb | None:
        """Record what the host says of a machine that nobody works on; what is left to do is returned."""
        while True:
            finding = reconcile.find(entry.machine.state, real)
            if finding.state is not None:
                changes = {"ready_at": self._clock.now()} if finding.state is State.RUNNING else {}
                await self._records.transition(
                    entry, finding.state, finding.message, finding.level, reason=finding.reason, **changes
                )
            elif finding.message:
                await self._records.note(entry, finding.message, finding.level)
            if not finding.again:
                break
        self._count(entry, real)
        return finding.then

    def _count(self, entry: Entry, real: HostMachine | None) -> None:
        """A machine is promised its memory for as long as it really runs."""
        if real is not None and real.life in _IN_MEMORY:
            self._admission.hold(entry.machine.id, entry.machine.spec.resources.memory_mib)
        else:
            self._admission.release(entry.machine.id)

    async def _settle_first(self, entry: Entry, operation: Operation) -> None:
        match await self.settle(entry, self._host.get(entry.machine.id)):
            case Verb.STOP:
                await self._stop(entry, operation)
            case Verb.DELETE:
                await self._delete(entry, operation)

    async def _create(self, entry: Entry, operation: Operation) -> None:
        machine = entry.machine
        try:
            await operation.act(self._host.create(machine.id, machine.spec))
        except Ended:
            raise  # the deletion that ended it undoes it, or the next start of the service
        except Exception as error:
            told = self._told(entry, error)
            await self._remove(entry, f"could not be created: {told.message}", Level.ERROR)
            raise told from error
        await self._records.transition(entry, State.STOPPED, "created")

    async def _start(self, entry: Entry, operation: Operation) -> None:
        machine = entry.machine
        if machine.state is State.RUNNING:
            return
        try:
            await self._admission.admit(machine.id, machine.spec.resources.memory_mib)
        except errors.NoCapacity as error:
            await self._records.note(entry, f"not started: {error.message}", Level.WARNING)
            raise
        try:
            await self._bring_up(entry, operation)
        finally:
            entry.progress = None
            self._count(entry, self._host.get(machine.id))

    async def _bring_up(self, entry: Entry, operation: Operation) -> None:
        def tell(progress: Progress) -> None:
            entry.progress = progress

        records, began = self._records, time.monotonic()
        await records.transition(entry, State.STARTING, f"starting: {operation.cause}", reason=None)
        try:
            await operation.act(self._host.start(entry.machine.id, tell))
        except Ended:
            await records.transition(entry, State.STOPPED, f"stopped: the start was ended by {operation.ended_by}")
            raise
        except Exception as error:
            told = self._told(entry, error)
            if isinstance(told, errors.NoCapacity) and not isinstance(told, errors.DiskFull):
                await records.transition(entry, State.STOPPED, f"not started: {told.message}", Level.WARNING)
            else:
                await self._fail(entry, "could not be started", told)
            raise told from error
        now, took = self._clock.now(), time.monotonic() - began
        await records.transition(
            entry, State.RUNNING, f"running after {took:.2f} s", ready_at=now, last_activity_at=now
        )

    async def _stop(self, entry: Entry, operation: Operation) -> None:
        machine, records = entry.machine.id, self._records
        if entry.machine.state in _HAS_PROCESS:
            await records.transition(entry, State.STOPPING, f"stopping: {operation.cause}")
        try:
            await operation.act(self._host.stop(machine, self._stop_grace))
        except Ended:
            raise  # only a deletion ends it, and that goes on from here
        except Exception as error:
            told = self._told(entry, error)
            if entry.machine.state is State.STOPPING:
                await self._fail(entry, "could not be stopped", told)
            raise told from error
        self._admission.release(machine)
        if entry.machine.persistence is Persistence.EPHEMERAL:
            await self._remove(entry, "deleting: it is ephemeral and has stopped")
        elif entry.machine.state is not State.STOPPED:
            await records.transition(entry, State.STOPPED, "stopped", reason=None)

    async def _delete(self, entry: Entry, operation: Operation) -> None:
        await self._remove(entry, f"deleting: {operation.cause}")

    async def _remove(self, entry: Entry, message: str, level: Level = Level.INFO) -> None:
        machine = entry.machine.id
        if entry.machine.state is not State.DESTROYING:
            await self._records.transition(entry, State.DESTROYING, message, level)
        try:
            await self._host.destroy(machine)
        except Exception as error:
            told = self._told(entry, error)
            await self._fail(entry, "could not be deleted", told)
            raise told from error
        self._admission.release(machine)
        await self._records.transition(entry, State.DESTROYED, "deleted")

    async def _died(self, entry: Entry, operation: Death) -> None:
        machine, records = entry.machine, self._records
        real = self._host.get(machine.id)
        if machine.state not in _HAS_PROCESS or (real is not None and real.life is Life.RUNNING):
            return  # told late: it has been stopped or started again since
        self._admission.release(machine.id)
        if operation.died.clean:
            await records.transition(entry, State.STOPPING, f"it shut itself down: {operation.died.reason}")
            await self._stop(entry, operation)
        else:
            await self._fail(entry, "died", errors.MachineFailed(operation.died.reason))

    async def _fail(self, entry: Entry, what: str, error: errors.HutchError) -> None:
        self._count(entry, self._host.get(entry.machine.id))
        await self._records.transition(
            entry, State.FAILED, f"{what}: {error.message}", Level.ERROR, reason=error.message
        )

    def _told(self, entry: Entry, error: Exception) -> errors.HutchError:
        """What a caller may know of it: a typed error as it is, anything else only that it happened."""
        if isinstance(error, errors.HutchError):
            return error
        log.exception("unexpected error of the host", machine=entry.machine.id, exc_info=error)
        return errors.HutchError()
