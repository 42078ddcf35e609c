"""Machines: what a caller may ask of them, and (`looking.py`) about them.

Every change is made by the machine's one owner (`owner.py`), so calls may come at once and in any order. Another
tenant's machine is `NotFound`.
"""

import builtins
import dataclasses
from collections.abc import Collection

from hutch.control import egress, policy, requests
from hutch.control.catalog import Page as Page
from hutch.control.catalog import Query as Query
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.forks import Forks
from hutch.control.keys import Principal
from hutch.control.looking import Looking
from hutch.control.making import Making
from hutch.control.operation import Networking, Resize, Restart, Rollback, Setting
from hutch.control.policy import Verb
from hutch.control.records import Entry
from hutch.control.requests import ForkRequest as ForkRequest
from hutch.control.requests import MachineRequest as MachineRequest
from hutch.control.requests import MountRequest as MountRequest
from hutch.control.shelf import Shelf
from hutch.control.timers import Remaining as Remaining
from hutch.host.interface import Console as Console
from hutch.host.interface import Cursor as Cursor
from hutch.host.interface import Progress as Progress
from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.kinds import Kind
from hutch.model.machine import Machine, NetworkPolicy, Timers
from hutch.model.states import State
from hutch.store.interface import Store

States = Collection[State] | None
"""In which states a change is allowed; None: wherever the tables of `policy` allow it."""


class Machines(Looking):
    """The machines of all tenants."""

    def __init__(self, fleet: Fleet, making: Making, forks: Forks, shelf: Shelf, store: Store, clock: Clock) -> None:
        super().__init__(fleet, shelf, store, clock)
        self._making = making
        self._forks = forks

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

    async def start(self, principal: Principal, id: MachineId, only_in: States = None) -> Machine:
        """Returns when the machine runs; one that was destroyed is made anew before, see `recreate`.

        Needs `machine:exec`.

        A running one is left alone, calls at once start it once, and a caller that goes away does not stop the start.
        `NoCapacity` (not free now), `ImageUnavailable`, `DiskFull`, `MachineFailed`; `Conflict` if a stop or
        delete ended the start. With `only_in`, here and below: `IllegalTransition` in any other state.
        """
        if only_in is None and self._records.get(id) is None:
            await self.recreate(principal, id)
        return await self._fleet.do(self._allowed(principal, id, Verb.START, only_in), Verb.START)

    async def stop(self, principal: Principal, id: MachineId, only_in: States = None) -> Machine:
        """Returns when it has shut down; ends a start that is under way. Needs `machine:exec`.

        A stopped one is left alone; an ephemeral one is deleted and returned as `destroyed`.
        """
        return await self._fleet.do(self._allowed(principal, id, Verb.STOP, only_in), Verb.STOP)

    async def kill(self, principal: Principal, id: MachineId) -> Machine:
        """End it at once, with what is under way that starts, resizes, suspends or stops it. Needs `machine:exec`.

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

    async def delete(self, principal: Principal, id: MachineId, only_in: States = None) -> None:
        """End and remove it, disk and all, in whatever state it is. Needs `machine:delete`.

        One that is gone already and `is_recreated` is gone for good after this: no start brings it back.
        """
        if only_in is None and self._records.get(id) is None:
            principal.require("machine:delete")
            gone = await self._find_gone(principal, id)
            if gone is not None and gone.is_recreated:
                await self._making.give_up(gone)
                return
        await self._fleet.do(self._allowed(principal, id, Verb.DELETE, only_in, "machine:delete"), Verb.DELETE)

    def _allowed(
        self, principal: Principal, id: str, verb: Verb, only_in: States, scope: str = "machine:exec"
    ) -> Entry:
        """The machine, if this is to be done to it now."""
        entry = self._fleet.entry(principal, id, scope)
        machine = entry.machine
        if only_in is not None and machine.state not in only_in:
            raise errors.IllegalTransition(policy.illegal(verb, machine.id, machine.state), machine)
        return entry
