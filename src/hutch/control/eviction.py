"""What goes when room on the disk is needed: sticky machines and snapshots, and their going.

Only what says so of itself; of machines those that do not run, of snapshots those not made or used just now. Lowest
priority first; of these snapshots before machines, since a layer can be built again and what a machine wrote cannot; of
these the one longest not used.
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

import structlog

from hutch.control import shelf, timers
from hutch.control.records import Entry, Records
from hutch.control.shelf import Shelf
from hutch.host.interface import Host
from hutch.model import errors
from hutch.model.machine import Machine, Persistence, Snapshot
from hutch.model.states import State

log = structlog.get_logger(__name__)

GIB = 2**30


def in_order(machines: Iterable[Machine], snapshots: Iterable[Snapshot] = ()) -> list[Machine | Snapshot]:
    """Those that may go, the first to go first. `snapshots` are those that may."""
    going: list[Machine | Snapshot] = [machine for machine in machines if _may_go(machine)]
    return sorted([*going, *snapshots], key=_place)


def _may_go(machine: Machine) -> bool:
    return machine.persistence is Persistence.STICKY and machine.state in (State.STOPPED, State.SUSPENDED)


def _place(it: Machine | Snapshot) -> tuple[int, bool, datetime]:
    if isinstance(it, Machine):
        return it.priority, True, timers.last_use(it)
    return it.priority, False, shelf.last_use(it)


class Eviction:
    """Makes room. `destroy` deletes a machine for a cause, and tells whether it did: not one that somebody works on."""

    def __init__(
        self,
        records: Records,
        shelf: Shelf,
        host: Host,
        destroy: Callable[[Entry, str], Awaitable[bool]],
        quota_gib: int,
    ) -> None:
        self._records = records
        self._shelf = shelf
        self._host = host
        self._destroy_idle = destroy
        self._quota = quota_gib * GIB

    async def enforce(self) -> None:
        """Destroy what is sticky until machines and snapshots take no more than the quota, if there is one."""
        if self._quota == 0:
            return
        sizes: dict[str, int] = {entry.machine.id: await self._size(entry) for entry in self._records.all()}
        sizes |= {snapshot.id: snapshot.size for snapshot in self._host.snapshots()}
        used = sum(sizes.values())
        for it in self._candidates():
            if used <= self._quota:
                return
            over = f"{(used - self._quota) / GIB:.2f} GiB"
            if await self._destroy(it, f"the storage quota of {self._quota // GIB} GiB is exceeded by {over}"):
                used -= sizes.get(it.id, 0)
        if used > self._quota:
            log.warning("the storage quota is exceeded and nothing sticky is left to destroy", bytes=used)

    async def make_room(self) -> bool:
        """The host's disk is full: destroy one. False if there is none."""
        for it in self._candidates():
            if await self._destroy(it, "the host's disk is full"):
                return True
        return False

    def _candidates(self) -> list[Machine | Snapshot]:
        return in_order((entry.machine for entry in self._records.all()), self._shelf.sticky())

    async def _destroy(self, it: Machine | Snapshot, why: str) -> bool:
        """Whether it went: not if it was started, used or deleted meanwhile."""
        cause = f"{why}, and it is sticky with priority {it.priority}"
        if isinstance(it, Snapshot):
            return it in self._shelf.sticky() and await self._remove(it, cause)
        entry = self._records.get(it.id)
        if entry is None or not _may_go(entry.machine):
            return False
        log.warning("destroying a sticky machine", machine=it.id, name=it.name, cause=cause)
        return await self._destroy_idle(entry, cause)

    async def _remove(self, snapshot: Snapshot, cause: str) -> bool:
        log.warning("removing a sticky snapshot", snapshot=snapshot.id, name=snapshot.name, cause=cause)
        try:
            await self._shelf.remove(snapshot)
        except errors.HutchError as error:
            log.warning("it could not be removed", snapshot=snapshot.id, error=error.message)
            return False
        return True

    async def _size(self, entry: Entry) -> int:
        try:
            return await self._host.storage(entry.machine.id)
        except errors.HutchError:
            return 0  # it went meanwhile
