"""Machines: what a caller may ask about them and of them.

Looking (get, list, find, progress, events, console) never wakes a machine and never waits for the database.
Every change is made by the machine's one owner (`owner.py`), so calls may come at once and in any order. Another
tenant's machine is `NotFound`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hutch.control.keys import Principal
from hutch.host.interface import Progress as Progress
from hutch.model import guest
from hutch.model.ids import MachineId
from hutch.model.machine import Event, Machine, NetworkPolicy, Timers
from hutch.model.states import State


@dataclass(frozen=True, slots=True)
class MachineRequest:
    """What a caller asks for; None means the service's default."""

    image: str
    name: str | None = None
    cpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None
    network: NetworkPolicy = field(default_factory=NetworkPolicy)
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    command: tuple[str, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ephemeral: bool = False
    timers: Timers = field(default_factory=Timers)


class Machines:
    """The machines of all tenants."""

    async def create(self, principal: Principal, request: MachineRequest) -> Machine:
        """Make a machine, stopped; it costs no memory until it is started. Needs `machine:create`.

        The image's name is resolved to a digest now. `InvalidRequest` names the field; `ImageUnavailable` has the
        registry's words; `Conflict` for a name that a living machine of the tenant has; `NoCapacity` if the box could
        never run it.
        """
        raise NotImplementedError

    def get(self, principal: Principal, id: MachineId) -> Machine:
        """The record as it is now. Needs `machine:read`. `NotFound`."""
        raise NotImplementedError

    def find(self, principal: Principal, id_or_name: str) -> Machine:
        """By id, else by name. Needs `machine:read`. `NotFound`."""
        raise NotImplementedError

    def list(self, principal: Principal, labels: Mapping[str, str] | None = None) -> list[Machine]:
        """The tenant's machines that have all these labels, newest first. Needs `machine:read`."""
        raise NotImplementedError

    def progress(self, principal: Principal, id: MachineId) -> Progress | None:
        """Where a start that is under way has got to. Needs `machine:read`."""
        raise NotImplementedError

    async def start(self, principal: Principal, id: MachineId) -> Machine:
        """Returns when the machine runs. Needs `machine:exec`.

        A running one is left alone, calls at once start it once, and a caller that goes away does not stop the start.
        `NoCapacity` (not free now), `ImageUnavailable`, `DiskFull`, `MachineFailed`; `Conflict` if a stop or
        delete ended the start.
        """
        raise NotImplementedError

    async def stop(self, principal: Principal, id: MachineId) -> Machine:
        """Returns when it has shut down; ends a start that is under way. Needs `machine:exec`.

        A stopped one is left alone; an ephemeral one is deleted and returned as `destroyed`.
        """
        raise NotImplementedError

    async def delete(self, principal: Principal, id: MachineId) -> None:
        """End and remove it, disk and all, in whatever state it is. Needs `machine:delete`."""
        raise NotImplementedError

    async def events(self, principal: Principal, id: MachineId, limit: int = 1000) -> Sequence[Event]:
        """The last `limit` things that happened to it, oldest first. Needs `machine:read`."""
        raise NotImplementedError

    async def wait(self, principal: Principal, id: MachineId, states: Collection[State], timeout: float) -> Machine:
        """Returns when it is in one of these states. Needs `machine:read`.

        `TimedOut` after `timeout` seconds; `MachineFailed` or `NotFound` as soon as it fails or is gone,
        unless that was waited for.
        """
        raise NotImplementedError

    async def console(self, principal: Principal, id: MachineId) -> bytes:
        """The end of what the guest's kernel and init wrote. Needs `machine:read`."""
        raise NotImplementedError

    async def stats(self, principal: Principal, id: MachineId) -> guest.GuestStats:
        """What the guest's kernel says of itself. Needs `machine:read`. `NotRunning`."""
        raise NotImplementedError
