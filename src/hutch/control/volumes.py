"""Volumes: disks that outlive machines. Another tenant's are `NotFound`. Names are unique within a tenant."""

import builtins

from hutch.control.keys import Principal
from hutch.model.ids import MachineId, VolumeId
from hutch.model.volumes import Volume


class Volumes:
    """The volumes of all tenants."""

    async def create(self, principal: Principal, name: str, size_gib: int) -> Volume:
        """Needs `volume:create`. `InvalidRequest`, `Conflict` (name), `QuotaExceeded`, `DiskFull`."""
        raise NotImplementedError

    def list(self, principal: Principal) -> builtins.list[Volume]:
        """Oldest first. Needs `volume:read`."""
        raise NotImplementedError

    def find(self, principal: Principal, id_or_name: str) -> Volume:
        """By id, else by name. Needs `volume:read`. `NotFound`."""
        raise NotImplementedError

    def attached(self, principal: Principal, id: VolumeId) -> builtins.list[MachineId]:
        """The machines that mount it, running or not. Needs `volume:read`."""
        raise NotImplementedError

    async def delete(self, principal: Principal, id: VolumeId) -> None:
        """With all it holds. Needs `volume:delete`. `Conflict` while a machine mounts it."""
        raise NotImplementedError
