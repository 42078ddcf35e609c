"""Snapshots: immutable copies of machines, memory and processes included. Many machines can be made of one.

Another tenant's are `NotFound`. Names are unique among a tenant's snapshots. A snapshot outlives its machine.
"""

import builtins

from hutch.control.keys import Principal
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.machine import Snapshot


class Snapshots:
    """The snapshots of all tenants."""

    async def create(self, principal: Principal, machine: MachineId, name: str | None = None) -> Snapshot:
        """Of a running, paused or suspended machine, which goes on as it was. Needs `machine:create`.

        `name` None: made of the machine's name. `NotRunning` for a machine without memory (stopped, failed),
        `Conflict` for a name that is taken, `DiskFull`.
        """
        raise NotImplementedError

    def list(self, principal: Principal, machine: MachineId | None = None) -> builtins.list[Snapshot]:
        """The tenant's, or those made of one machine, newest first. Needs `machine:read`."""
        raise NotImplementedError

    def find(self, principal: Principal, id_or_name: str) -> Snapshot:
        """By id, else by name. Needs `machine:read`. `NotFound`."""
        raise NotImplementedError

    async def delete(self, principal: Principal, id: SnapshotId) -> None:
        """Drop it; machines made of it live on. Needs `machine:delete`."""
        raise NotImplementedError

    async def verify(self, principal: Principal, id: SnapshotId) -> Snapshot:
        """Read all of it; `damage` of what is returned says what is not as it was saved. Needs `machine:read`."""
        raise NotImplementedError
