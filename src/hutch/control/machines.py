"""Machines: what a caller may ask about them and of them.

Looking (get, list, find, progress, console) never wakes a machine and never waits for the database.
Every change is made by the machine's one owner (`owner.py`), so calls may come at once and in any order. Another
tenant's machine is `NotFound`.
"""

import asyncio
import builtins
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

from hutch.control import catalog, egress, policy, requests, timers
from hutch.control.catalog import Page as Page
from hutch.control.catalog import Query as Query
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.forks import Forks
from hutch.control.keys import Principal
from hutch.control.making import Making
from hutch.control.operation import Networking, Resize, Restart, Rollback, Setting
from hutch.control.policy import Verb
from hutch.control.records import Entry
from hutch.control.requests import ForkRequest as ForkRequest
from hutch.control.requests import MachineRequest as MachineRequest
from hutch.control.requests import MountRequest as MountRequest
from hutch.control.shelf import Shelf
from hutch.control.timers import Remaining as Remaining
from hutch.host.interface import START
from hutch.host.interface import Console as Console
from hutch.host.interface import Cursor as Cursor
from hutch.host.interface import Progress as Progress
from hutch.model import errors, guest
from hutch.model.facts import ProcessFacts
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.kinds import Kind
from hutch.model.machine import Event, Machine, NetworkPolicy, Timers
from hutch.model.network import NetworkFacts, Traffic
from hutch.model.states import State
from hutch.store.interface import Store

States = Collection[State] | None
"""In which states a change is allowed; None: wherever the tables of `policy` allow it."""


class Machines:
    """The machines of all tenants."""

    def __init__(self, fleet: Fleet, making: Making, forks: Forks, shelf: Shelf, store: Store, clock: Clock) -> None:
        self._fleet = fleet
        self._records = fleet.records
        self._host = fleet.host
        self._making = making
        self._forks = forks
        self._shelf = shelf
        self._store = store
        self._clock = clock

    async def create(self, principal: Principal, request: MachineRequest) -> Machine:
        """Make a machine, stopped; it costs no memory until it is started. Needs `machine:create`.

        One made of a snapshot is suspended there: its first use goes on with the snapshot's processes. Else the
        image's name is resolved to a digest now.

        `InvalidRequest` names the field; `ImageUnavailable` has the registry's words; `NotFound` or `Damaged` of the
        snapshot; `Conflict` for a name that a living machine of the tenant has; `NoCapacity` if the box could never
        run it.
        """
        principal.require("machine:create")
        return await self._making.make(principal.tenant, request)

    async def launch(self, principal: Principal, request: MachineRequest, patience: float | None = None) -> Machine:
        """Make a machine and start it: it runs when this returns, or there is none. Needs `machine:create`.

        With `patience` this returns after so many seconds all the same, while the machine is still on its way; it
        stays then, failed, if it cannot be started. Raises what `create` and `start` do. If the caller goes away it is
        done all the same.
        """
        principal.require("machine:create")
        return await self._making.launch(principal.tenant, request, patience=patience)

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

    async def recreate(self, principal: Principal, id: MachineId) -> Machine:
        """Make one anew that was destroyed and `is_recreated`: same id, same spec, of the image or snapshot it was of.

        It is stopped, or suspended in the snapshot; one that lives is left as it is. Needs `machine:exec` and
        `machine:create`. `NotFound` for any other, and if its snapshot is gone; `QuotaExceeded`, `ImageUnavailable`.
        """
        principal.require("machine:exec")
        gone = await self._find_gone(principal, id)
        if gone is None or not gone.is_recreated:
            return self._fleet.entry(principal, id, "machine:exec").machine
        principal.require("machine:create")
        return await self._making.remake(gone)

    async def _find_gone(self, principal: Principal, id: MachineId) -> Machine | None:
        if self._records.get(id) is not None:
            return None
        gone = await self._store.get_machine(id)
        is_gone = gone is not None and gone.tenant == principal.tenant and gone.state is State.DESTROYED
        return gone if is_gone else None

    async def start(self, principal: Principal, id: MachineId, only_in: States = None) -> Machine:
        """Returns when the machine runs; one that was destroyed is made anew before, see `recreate`.

        Needs `machine:exec`.

        A running one is left alone, calls at once start it once, and a caller that goes away does not stop the start.
        `NoCapacity` (not free now), `ImageUnavailable`, `DiskFull`, `MachineFailed`; `Conflict` if a stop or
        delete ended the start. With `only_in`, here and below: `IllegalTransition` in any other state.
        """
        if self._records.get(id) is None:
            await self.recreate(principal, id)
        return await self._fleet.do(self._allowed(principal, id, Verb.START, only_in), Verb.START)

    async def stop(self, principal: Principal, id: MachineId, only_in: States = None) -> Machine:
        """Returns when it has shut down; ends a start that is under way. Needs `machine:exec`.

        A stopped one is left alone; an ephemeral one is deleted and returned as `destroyed`.
        """
        return await self._fleet.do(self._allowed(principal, id, Verb.STOP, only_in), Verb.STOP)

    async def kill(self, principal: Principal, id: MachineId) -> Machine:
        """End it at once, with what is under way that starts, suspends or stops it. Needs `machine:exec`.

        Its disk is kept, with what the guest writes to it within a few seconds. A stopped one is left alone; an
        ephemeral one is deleted and returned as `destroyed`.
        """
        return await self._fleet.do(self._fleet.entry(principal, id, "machine:exec"), Verb.KILL)

    async def restart(
        self, principal: Principal, id: MachineId, resumes: bool = False, only_in: States = None
    ) -> Machine:
        """Stop it in order and boot it from its disk, as one request; one at rest is started. Needs `machine:exec`.

        With `resumes` a paused or suspended one goes on where it was instead. If it cannot be started again it is
        stopped, or failed; `start` tells why.
        """
        entry = self._allowed(principal, id, Verb.RESTART, only_in)
        return await self._fleet.carry_out(entry, Restart(resumes))

    async def pause(self, principal: Principal, id: MachineId, only_in: States = None) -> Machine:
        """Its vCPUs stand still, its memory stays in RAM. Needs `machine:exec`. Nothing if it is paused.

        `IllegalTransition` unless it runs. Commands that are being followed wait, and go on after `resume`.
        """
        return await self._fleet.do(self._allowed(principal, id, Verb.PAUSE, only_in), Verb.PAUSE)

    async def resume(self, principal: Principal, id: MachineId, only_in: States = None) -> Machine:
        """Let a paused machine go on, or a suspended one; any other is started. Needs `machine:exec`."""
        return await self.start(principal, id, only_in)

    async def suspend(self, principal: Principal, id: MachineId) -> Machine:
        """Memory and disk to the host's disk, no process. Needs `machine:exec`. Nothing if it is suspended.

        Any use wakes it, and so do `start` and `resume`; its processes go on then. `IllegalTransition` unless it runs
        or is paused; `DiskFull`: it runs on. An ephemeral one that ends at rest is deleted and returned as `destroyed`.
        """
        return await self._fleet.do(self._fleet.entry(principal, id, "machine:exec"), Verb.SUSPEND)

    async def optimize(self, principal: Principal, id: MachineId) -> Machine:
        """Suspend it, and make its state one from which it and its copies go on most cheaply. Needs `machine:exec`.

        It stays suspended. `NotRunning` for one without memory; `Conflict` for an ephemeral one that would be deleted.
        """
        return await self._fleet.do(self._fleet.entry(principal, id, "machine:exec"), Verb.OPTIMIZE)

    async def rollback(self, principal: Principal, id: MachineId, snapshot: SnapshotId) -> Machine:
        """Back to one of its own snapshots, in place; what it has become since is lost. Needs `machine:exec`.

        It runs when this returns if it ran before, else it is suspended there. `NotFound`, `Damaged`;
        `InvalidRequest` for a snapshot of another machine.
        """
        entry = self._fleet.entry(principal, id, "machine:exec")
        found = self._shelf.whole(principal.tenant, snapshot)
        if found.machine != entry.machine.id:
            raise errors.InvalidRequest(
                f"snapshot {found.name} is not of machine {entry.machine.name}: make a new machine of it instead"
            )
        return await self._fleet.carry_out(entry, Rollback(found))

    async def fork(self, principal: Principal, id: MachineId, request: ForkRequest) -> builtins.list[Machine]:
        """Running copies of a running, paused or suspended machine, processes and memory included; all or none.

        The source goes on as it was. Needs `machine:create`. `Conflict` for a name that is taken; `NoCapacity`
        unless all fit at once; `NotRunning` for a source without memory.
        """
        return await self._forks.fork(self._fleet.entry(principal, id, "machine:create"), request)

    async def resize(
        self,
        principal: Principal,
        id: MachineId,
        disk_gib: int | None = None,
        cpus: int | None = None,
        memory_mib: int | None = None,
    ) -> Machine:
        """Give it a larger disk, other vCPUs, another memory; what is None stays. Needs `machine:create`.

        A disk grows at once in a running machine, else at its next start. For vCPUs and memory a running one is stopped
        and started again, in one turn: its disk is kept, its processes are not. A paused or suspended one is stopped
        by it, in order. If it cannot be started so, it is started as it was.
        `InvalidRequest` for a smaller disk, or nothing; `NoCapacity` before anything is stopped.
        """
        entry = self._fleet.entry(principal, id, "machine:create")
        await self._making.check_resize(entry.machine.spec.resources, disk_gib, cpus, memory_mib)
        resize, its = Resize(disk_gib, cpus, memory_mib), entry.machine.spec.resources
        if self._fleet.is_idle(entry) and resize.resize(its) == its:
            return entry.machine
        return await self._fleet.carry_out(entry, resize)

    async def set_timers(self, principal: Principal, id: MachineId, timers: Timers) -> Machine:
        """Give it these timers instead of those it has; its lifetime begins anew, now. Needs `machine:exec`.

        In any state; done behind what is under way. `InvalidRequest` for a time that cannot be.
        """
        entry = self._fleet.entry(principal, id, "machine:exec")
        requests.check_timers(timers)
        since = None if timers.lifetime is None else self._clock.now()
        timed = dataclasses.replace(timers, since=since)
        return await self._fleet.carry_out(entry, Setting(Kind.TIMED, "its timers were set", timers=timed))

    async def set_network(self, principal: Principal, id: MachineId, policy: NetworkPolicy) -> Machine:
        """What it may reach from now on; connections that are forbidden now are broken. Needs `machine:exec`.

        In any state; done behind what is under way, and kept with the machine. `InvalidRequest`; `Unsupported` where
        its host cannot enforce it: then it is as it was.
        """
        entry = self._fleet.entry(principal, id, "machine:exec")
        egress.check(policy)
        return await self._fleet.carry_out(entry, Networking(policy))

    def remaining(self, principal: Principal, id: MachineId) -> Remaining:
        """How long until each of its timers fires, computed now. Needs `machine:read`."""
        entry = self._entry(principal, id)
        return timers.find_remaining(entry.machine, self._clock.now(), entry.busy > 0)

    async def delete(self, principal: Principal, id: MachineId, only_in: States = None) -> None:
        """End and remove it, disk and all, in whatever state it is. Needs `machine:delete`."""
        await self._fleet.do(self._allowed(principal, id, Verb.DELETE, only_in, "machine:delete"), Verb.DELETE)

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

    def _allowed(
        self, principal: Principal, id: str, verb: Verb, only_in: States, scope: str = "machine:exec"
    ) -> Entry:
        """The machine, if this is to be done to it now."""
        entry = self._fleet.entry(principal, id, scope)
        machine = entry.machine
        if only_in is not None and machine.state not in only_in:
            raise errors.IllegalTransition(policy.illegal(verb, machine.id, machine.state), machine)
        return entry


def _resolve(came: asyncio.Future[Machine], machine: Machine, is_so: Callable[[Machine], bool]) -> None:
    """What somebody who waits for this is told when the machine has become so."""
    if is_so(machine):
        came.set_result(machine)
    elif machine.state is State.FAILED:
        came.set_exception(errors.MachineFailed(f"machine {machine.id} has failed: {machine.reason}"))
    elif machine.state is State.DESTROYED:
        came.set_exception(errors.NotFound("machine not found"))
