"""What the steps of all verbs share: the collaborators, and how a failure is told and recorded."""

import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from hutch.control.admission import Admission
from hutch.control.clock import Clock
from hutch.control.members import Members
from hutch.control.quotas import Quotas
from hutch.control.records import Entry, Records
from hutch.control.traffic import TrafficMeter
from hutch.host.interface import Host, HostMachine, Life
from hutch.model import errors
from hutch.model.kinds import Kind
from hutch.model.machine import Level
from hutch.model.states import TRANSITIONS, State

log = structlog.get_logger(__name__)

T = TypeVar("T")

IN_MEMORY = (Life.RUNNING, Life.PAUSED)
HAS_PROCESS = (State.RUNNING, State.PAUSED)


@dataclass(frozen=True)
class Steps:
    """Only a machine's owner takes steps, one at a time."""

    records: Records
    quotas: Quotas
    host: Host
    admission: Admission
    clock: Clock
    members: Members
    make_disk_room: Callable[[], Awaitable[bool]]  # destroys a sticky machine; False: there is none to be destroyed
    stop_grace: float
    traffic: TrafficMeter

    def real(self, entry: Entry) -> HostMachine | None:
        """What its host says of it, at once."""
        return self.host.get(entry.machine.id)

    def count(self, entry: Entry, real: HostMachine | None) -> None:
        """A machine is promised its memory for as long as it really has any."""
        if real is not None and real.life in IN_MEMORY:
            self.admission.hold(entry.machine.id, entry.machine.spec.resources.memory_mib)
        else:
            self.admission.release(entry.machine.id)

    async def with_disk_room(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do it; on a full disk once more, if something sticky could be destroyed to make room."""
        try:
            return await work()
        except errors.DiskFull:
            if not await self.make_disk_room():
                raise
        return await work()

    async def fall_back(self, entry: Entry, what: str, error: errors.HutchError, kind: Kind = Kind.REFUSED) -> None:
        """After a step that failed: the record is again what the host says, and the event tells why."""
        real = self.real(entry)
        self.count(entry, real)
        state = None if real is None or real.life is Life.FAILED else State(real.life.value)
        if entry.machine.state in (state, State.FAILED):
            await self.records.note(entry, f"{what}: {error.message}", Level.WARNING, kind)
        elif state is not None and state in TRANSITIONS[entry.machine.state]:
            await self.records.transition(entry, state, f"{what}: {error.message}", Level.WARNING, kind)
        else:
            await self.fail(entry, what, error)

    async def fail(self, entry: Entry, what: str, error: errors.HutchError, kind: Kind = Kind.FAILED) -> None:
        """It has failed; the reason is kept in its record."""
        self.count(entry, self.real(entry))
        await self.records.transition(
            entry, State.FAILED, f"{what}: {error.message}", Level.ERROR, kind, reason=error.message
        )

    async def settle_size(self, entry: Entry, real: HostMachine) -> None:
        """A size that its host has taken is the machine's, whatever came in between."""
        its, has = entry.machine.spec, real.resources
        if has is not None and has != its.resources:
            size = f"{has.cpus} vCPUs, {has.memory_mib} MiB and {has.disk_gib} GiB"
            spec = dataclasses.replace(its, resources=has)
            await self.records.update(entry, f"it was resized: it has {size} now", Kind.RESIZED, spec=spec)

    async def remove(self, entry: Entry, message: str, level: Level = Level.INFO) -> None:
        """End it and all it has, whatever it is doing."""
        await self.traffic.count(entry)
        if entry.machine.state is not State.DESTROYING:
            await self.records.transition(entry, State.DESTROYING, message, level)
        try:
            await self.host.destroy(entry.machine.id)
            self.traffic.forget(entry.machine.id)
        except Exception as error:
            told = self.told(entry, error)
            await self.fail(entry, "could not be deleted", told)
            raise told from error
        self.admission.release(entry.machine.id)
        await self.records.transition(entry, State.DESTROYED, "deleted")

    def told(self, entry: Entry, error: Exception) -> errors.HutchError:
        """What a caller may know of it: a typed error as it is, anything else only that it happened."""
        if isinstance(error, errors.HutchError):
            return error
        log.exception("unexpected error of the host", machine=entry.machine.id, exc_info=error)
        return errors.HutchError()
