"""Services of a guest's systemd: written, patched, started, looked at.

The truth is in the guest: units are files there, and their state is what its systemd says. A guest whose init is not
systemd is `Unsupported`. Every call but those that only look wakes or starts the machine and is its use.
"""

import builtins
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from hutch.control.keys import Principal
from hutch.model.ids import MachineId
from hutch.model.recipes import Unit, UnitPatch


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What systemd says of a service, in its words (`systemctl show`)."""

    name: str  # without .service
    active: str  # active, inactive, failed, activating …
    sub: str  # running, dead, exited …
    load: str  # loaded, not-found, masked …
    description: str


@dataclass(frozen=True, slots=True)
class JournalLine:
    """A line of the guest's journal."""

    message: str
    at: datetime
    priority: int | None = None  # of syslog: 0 to 7
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceResult:
    """What became of one of several services that something was to be done to."""

    name: str
    is_done: bool
    message: str


class Services:
    """The services of all machines. All calls need `machine:exec`, those that only look `machine:read`."""

    async def create(self, principal: Principal, machine: MachineId, unit: Unit) -> None:
        """Write it, enable it if it says so, and start it. `Flawed`; `Conflict` if there is one of this name.

        Returns when systemd has taken the start up, not when a oneshot has ended.
        """
        raise NotImplementedError

    async def patch(self, principal: Principal, machine: MachineId, patch: UnitPatch) -> None:
        """Change what it says, and restart it if it runs. `Flawed`; `NotFound` without such a service."""
        raise NotImplementedError

    async def list(self, principal: Principal, machine: MachineId) -> builtins.list[str]:
        """Those that were made here, by name; not the image's own."""
        raise NotImplementedError

    async def delete(self, principal: Principal, machine: MachineId, name: str) -> None:
        """Stop it, disable it and remove it. `NotFound`."""
        raise NotImplementedError

    async def status(self, principal: Principal, machine: MachineId, name: str) -> ServiceStatus:
        """Of any service the guest has. `NotFound`."""
        raise NotImplementedError

    async def logs(
        self, principal: Principal, machine: MachineId, name: str, lines: int = 100, since: str | None = None
    ) -> builtins.list[JournalLine]:
        """The last lines of its journal, oldest first; `since` is a moment as journalctl or RFC 3339 tells it."""
        raise NotImplementedError

    async def start(
        self, principal: Principal, machine: MachineId, names: Collection[str]
    ) -> builtins.list[ServiceResult]:
        """Each of them, whatever becomes of the others."""
        raise NotImplementedError

    async def stop(
        self, principal: Principal, machine: MachineId, names: Collection[str]
    ) -> builtins.list[ServiceResult]:
        """As `start`."""
        raise NotImplementedError

    async def restart(
        self, principal: Principal, machine: MachineId, names: Collection[str]
    ) -> builtins.list[ServiceResult]:
        """As `start`."""
        raise NotImplementedError

    async def wait_ready(self, principal: Principal, machine: MachineId, timeout: float) -> None:
        """Returns when the guest has finished its boot, with all services that say when they are ready.

        At once in a guest without systemd. `TimedOut` after so many seconds, naming what is not ready yet.
        """
        raise NotImplementedError
