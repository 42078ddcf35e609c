"""All machines with their owners: what the public nouns (`machines`, `processes`, `files`) and the timers work through.

Here a caller's right and tenant are checked, requests find their machine's owner, and use of a machine wakes it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence

import structlog

from hutch import settings
from hutch.control import policy
from hutch.control.admission import Admission
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.eviction import Eviction
from hutch.control.keys import Principal
from hutch.control.lifecycle import Lifecycle
from hutch.control.members import Members
from hutch.control.metering import Meter
from hutch.control.operation import Death, Operation
from hutch.control.owner import Owner
from hutch.control.policy import Verb
from hutch.control.quotas import Quotas
from hutch.control.records import Entry, Records
from hutch.control.shelf import Shelf
from hutch.control.steps import Steps
from hutch.control.traffic import TrafficMeter
from hutch.host.interface import Host, HostMachine
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.kinds import Kind
from hutch.model.machine import Machine
from hutch.model.states import TRANSIENT, State

log = structlog.get_logger(__name__)

_STARTS = frozenset({Verb.CREATE, Verb.START, Verb.WAKE, Verb.RESTART, Verb.RESHAPE, Verb.OPTIMIZE})


class Fleet:
    """The living machines, and the only way to change one."""

    def __init__(
        self,
        records: Records,
        shelf: Shelf,
        quotas: Quotas,
        host: Host,
        meter: Meter,
        clock: Clock,
        background: Background,
        limits: settings.Machines,
    ) -> None:
        self.records = records
        self.quotas = quotas
        self.host = host
        self.admission = Admission(host)
        self.members = Members(host, self.admission, quotas, meter, clock, background)
        self.eviction = Eviction(records, shelf, host, self._destroy_idle, limits.storage_quota_gib)
        self.traffic = TrafficMeter(host.networks, meter, records.touch)
        make_room, grace = self.eviction.make_room, limits.stop_grace
        self._lifecycle = Lifecycle(
            Steps(records, quotas, host, self.admission, clock, self.members, make_room, grace, self.traffic)
        )
        self._owners: dict[MachineId, Owner] = {}
        self._stop_grace = limits.stop_grace
        self._is_closed = False

    def entry(self, principal: Principal, id: str, scope: str) -> Entry:
        """The caller's machine of this id. `Forbidden` without the scope; another tenant's is `NotFound`."""
        principal.require(scope)
        entry = self.records.get(MachineId(id))
        if entry is None or entry.machine.tenant != principal.tenant:
            raise errors.NotFound("machine not found")
        return entry

    def submit(self, entry: Entry, operation: Operation) -> Operation | None:
        """To the machine's owner; see `Owner.submit`."""
        if self._is_closed:
            raise errors.HutchError("the service is shutting down")
        id = entry.machine.id
        owner = self._owners.get(id) or Owner(entry, self._lifecycle)
        accepted = owner.submit(operation)
        if accepted is operation:
            self._owners[id] = owner
            accepted.done.add_done_callback(lambda _: self._drop(id))
        return accepted

    def _drop(self, id: MachineId) -> None:
        owner = self._owners.get(id)
        if owner is not None and owner.is_idle:
            del self._owners[id]

    async def do(self, entry: Entry, verb: Verb, cause: str = "asked for") -> Machine:
        """Have it done, and wait for it. If the caller goes away it is done all the same."""
        return await self.carry_out(entry, Operation(verb, cause))

    async def carry_out(self, entry: Entry, operation: Operation) -> Machine:
        """The same for an operation that says more than its verb."""
        accepted = self.submit(entry, operation)
        return entry.machine if accepted is None else await asyncio.shield(accepted.done)

    async def _destroy_idle(self, entry: Entry, cause: str) -> bool:
        """Delete it, unless somebody works on it or uses it, or it cannot be done."""
        if not self.is_idle(entry) or entry.busy:
            return False
        try:
            await self.carry_out(entry, Operation(Verb.DELETE, cause, Kind.EVICTED))
        except errors.HutchError as error:
            log.warning("it could not be destroyed", machine=entry.machine.id, error=error.message)
            return False
        return True

    def is_idle(self, entry: Entry) -> bool:
        """Whether nobody works on it."""
        owner = self._owners.get(entry.machine.id)
        return owner is None or owner.is_idle

    @contextlib.asynccontextmanager
    async def awake(self, entry: Entry) -> AsyncIterator[MachineId]:
        """Use it: started if it is stopped, woken if it is paused or suspended, and never idle while in here."""
        with self._busy(entry):
            if not self._is_usable(entry):
                await self.do(entry, Verb.WAKE, "it is being used")
            yield entry.machine.id

    @contextlib.asynccontextmanager
    async def used(self, entry: Entry) -> AsyncIterator[MachineId]:
        """Use what runs in it: woken if it is paused or suspended, `NotRunning` if nothing can run in it."""
        if not entry.keeps_processes:
            raise errors.NotRunning(f"machine {entry.machine.id} is {entry.machine.state}: start it first")
        with self._busy(entry):
            if entry.machine.state is not State.RUNNING:
                await self.do(entry, Verb.WAKE, "it is being used")
            yield entry.machine.id

    def _is_usable(self, entry: Entry) -> bool:
        """Whether it runs, and nothing is under way that changes that."""
        owner = self._owners.get(entry.machine.id)
        return entry.machine.state is State.RUNNING and (owner is None or owner.is_only(policy.UNDISTURBING))

    @contextlib.contextmanager
    def busy(self, machine: MachineId) -> Iterator[None]:
        """It is used while in here, whatever it is doing; nothing if it is gone."""
        entry = self.records.get(machine)
        with contextlib.nullcontext() if entry is None else self._busy(entry):
            yield

    @contextlib.contextmanager
    def _busy(self, entry: Entry) -> Iterator[None]:
        entry.busy += 1
        self.records.touch(entry)
        try:
            yield
        finally:
            entry.busy -= 1
            self.records.touch(entry)

    async def reconcile(self, found: Sequence[HostMachine], is_new: bool) -> None:
        """Make records and host agree, as far as that needs no waiting; the rest is submitted.

        `Conflict` if a new database meets a host with machines: it is the wrong one, and would have them all destroyed.
        """
        snapshots = len(self.host.snapshots())
        if is_new and (found or snapshots):
            held = f"{len(found)} machines" + (f" and {snapshots} snapshots" if snapshots else "")
            raise errors.Conflict(
                f"the database is new, but this home holds {held}: check HUTCH_DATABASE and HUTCH_HOME, "
                "or remove the home's machines directory"
            )
        real = {machine.id: machine for machine in found}
        for entry in self.records.all():
            verb = await self._lifecycle.settle(entry, real.pop(entry.machine.id, None))
            if verb is not None:
                self.submit(entry, Operation(verb, "the service was restarted"))
        await asyncio.gather(*(self._destroy_stranger(stranger) for stranger in real))

    async def _destroy_stranger(self, machine: MachineId) -> None:
        log.warning("destroying a machine that no record tells of", machine=machine)
        try:
            await self.host.destroy(machine)
        except errors.HutchError as error:
            log.warning("it could not be destroyed", machine=machine, error=error.message)

    async def watch_deaths(self) -> None:
        """Take every unasked end of a machine to its owner, for ever."""
        async for died in self.host.deaths():
            entry = self.records.get(died.machine)
            if entry is None:
                self.members.note_death(died.machine, died.reason)
            else:
                with contextlib.suppress(errors.HutchError):
                    self.submit(entry, Death(died))

    def settle_leftovers(self) -> None:
        """Machines that a failed write has left in the middle of something: take them up again."""
        for entry in self.records.all():
            if entry.machine.state in TRANSIENT and self.is_idle(entry):
                self.submit(entry, Operation(Verb.SETTLE, "left in the middle"))

    async def close(self) -> None:
        """Starts are ended, stops and deletions finished; nothing is accepted any more."""
        self._is_closed = True
        owners = list(self._owners.values())
        for owner in owners:
            owner.end(_STARTS, "the service's end")
        await asyncio.gather(*(owner.wait_idle(self._stop_grace + 5) for owner in owners))
