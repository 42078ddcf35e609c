"""What a caller may ask about machines. Looking wakes none.

What is told of living ones (get, list, find, progress) never waits for the database.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from hutch.control import catalog, timers
from hutch.control.catalog import Page, Query
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.records import Entry
from hutch.control.shelf import Shelf
from hutch.control.timers import Remaining
from hutch.host.interface import START, Console, Cursor, Progress
from hutch.model import errors, guest
from hutch.model.facts import ProcessFacts
from hutch.model.ids import MachineId
from hutch.model.machine import Event, Machine
from hutch.model.network import NetworkFacts, Traffic
from hutch.model.states import State
from hutch.store.interface import Store


class Looking:
    """The half of `Machines` that changes nothing."""

    def __init__(self, fleet: Fleet, shelf: Shelf, store: Store, clock: Clock) -> None:
        self._fleet = fleet
        self._records = fleet.records
        self._host = fleet.host
        self._shelf = shelf
        self._store = store
        self._clock = clock

    def get(self, principal: Principal, id: MachineId) -> Machine:
        """The record as it is now. Needs `machine:read`. `NotFound`."""
        return self._entry(principal, id).machine

    def find(self, principal: Principal, id_or_name: str) -> Machine:
        """By id, else by name. Needs `machine:read`. `NotFound`."""
        principal.require("machine:read")
        entry = self._records.get(MachineId(id_or_name))
        if entry is None or entry.machine.tenant != principal.tenant:
            entry = self._records.named(principal.tenant, id_or_name)
        if entry is None:
            raise errors.NotFound("machine not found")
        return entry.machine

    def is_taken(self, principal: Principal, name: str) -> bool:
        """Whether a machine of the tenant, or one that is just being made, is called so. Needs `machine:create`."""
        principal.require("machine:create")
        return self._records.is_taken(principal.tenant, name)

    def list(self, principal: Principal, labels: Mapping[str, str] | None = None) -> list[Machine]:
        """The tenant's machines that have all these labels, newest first. Needs `machine:read`."""
        principal.require("machine:read")
        wanted = (labels or {}).items()
        return [entry.machine for entry in self._records.of(principal.tenant) if wanted <= entry.machine.labels.items()]

    def page(self, principal: Principal, query: Query) -> Page:
        """The tenant's machines that the query wants, newest first, at most `limit`. Needs `machine:read`.

        The next page's token stays right while machines come and go. `InvalidRequest` for another limit or token.
        """
        principal.require("machine:read")
        place = catalog.check(query)
        before = self._records.before(principal.tenant, place)
        snapshot = None if query.template is None else self._shelf.named(principal.tenant, query.template)
        return catalog.find_page(before, query, snapshot)

    def progress(self, principal: Principal, id: MachineId) -> Progress | None:
        """Where a start that is under way has got to. Needs `machine:read`."""
        return self._entry(principal, id).progress

    async def deleted(self, principal: Principal, id: MachineId) -> Machine | None:
        """The record of one that is gone; None if it lives, or never was. Needs `machine:read`."""
        principal.require("machine:read")
        return await self._find_gone(principal, id)

    async def _find_gone(self, principal: Principal, id: MachineId) -> Machine | None:
        if self._records.get(id) is not None:
            return None
        gone = await self._store.get_machine(id)
        is_gone = gone is not None and gone.tenant == principal.tenant and gone.state is State.DESTROYED
        return gone if is_gone else None

    def remaining(self, principal: Principal, id: MachineId) -> Remaining:
        """How long until each of its timers fires, computed now. Needs `machine:read`."""
        entry = self._entry(principal, id)
        return timers.find_remaining(entry.machine, self._clock.now(), entry.busy > 0)

    async def events(self, principal: Principal, id: MachineId, limit: int = 1000) -> Sequence[Event]:
        """The last `limit` things that happened to it, oldest first. Needs `machine:read`."""
        return await self._store.list_events(self._entry(principal, id).machine.id, limit)

    async def wait(self, principal: Principal, id: MachineId, states: Collection[State], timeout: float) -> Machine:
        """Returns when it is in one of these states. Needs `machine:read`.

        `TimedOut` after `timeout` seconds; `MachineFailed` or `NotFound` as soon as it fails or is gone,
        unless that was waited for.
        """
        told = " or ".join(sorted(states))
        return await self.wait_until(principal, id, lambda machine: machine.state in states, told, timeout)

    async def wait_until(
        self, principal: Principal, id: MachineId, is_so: Callable[[Machine], bool], told: str, timeout: float
    ) -> Machine:
        """The same for anything that its record tells; `told` is for the error's words."""
        entry = self._entry(principal, id)
        came: asyncio.Future[Machine] = asyncio.get_running_loop().create_future()

        def look(machine: Machine) -> None:
            if not came.done():
                _resolve(came, machine, is_so)

        look(entry.machine)
        entry.watchers.append(look)
        try:
            async with asyncio.timeout(timeout):
                return await came
        except TimeoutError:
            message = f"machine {entry.machine.id} was not {told} within {timeout:g} s: it is {entry.machine.state}"
            raise errors.TimedOut(message) from None
        finally:
            entry.watchers.remove(look)

    async def storage(self, principal: Principal, id: MachineId) -> int:
        """Bytes of the host's disk that are this machine's alone, its saved memory included. Needs `machine:read`."""
        return await self._host.storage(self._entry(principal, id).machine.id)

    async def console(self, principal: Principal, id: MachineId, since: Cursor = START) -> Console:
        """What the guest's kernel, init and its own command wrote since a cursor. Needs `machine:read`.

        Without one: the end of it that is kept.
        """
        return await self._host.console(self._entry(principal, id).machine.id, since)

    async def stats(self, principal: Principal, id: MachineId) -> guest.GuestStats:
        """What the guest's kernel says of itself. Needs `machine:read`. `NotRunning`."""
        return await self._host.stats(self._entry(principal, id).machine.id)

    async def traffic(self, principal: Principal, id: MachineId) -> Traffic:
        """What it has received and sent since its process was started. Needs `machine:read`."""
        return await self._host.networks.traffic(self._entry(principal, id).machine.id)

    def facts(self, principal: Principal, id: MachineId) -> tuple[ProcessFacts, NetworkFacts | None]:
        """What it is run with on its host, and how it is connected while it has a process. `NotFound`.

        Needs no scope of its own: it is told together with a machine that was made, changed or looked at.
        """
        entry = self._records.get(id)
        if entry is None or entry.machine.tenant != principal.tenant:
            raise errors.NotFound("machine not found")
        return self._host.facts(id), self._host.networks.facts(id)

    def _entry(self, principal: Principal, id: str) -> Entry:
        return self._fleet.entry(principal, id, "machine:read")


def _resolve(came: asyncio.Future[Machine], machine: Machine, is_so: Callable[[Machine], bool]) -> None:
    """What somebody who waits for this is told when the machine has become so."""
    if is_so(machine):
        came.set_result(machine)
    elif machine.state is State.FAILED:
        came.set_exception(errors.MachineFailed(f"machine {machine.id} has failed: {machine.reason}"))
    elif machine.state is State.DESTROYED:
        came.set_exception(errors.NotFound("machine not found"))
