"""Volumes: disks that outlive machines. Another tenant's are `NotFound`. Names are unique within a tenant.

Whose machine mounts which is told by the machines' specs alone. A mount is claimed before its machine is recorded, so
a volume cannot go while a machine that mounts it is being made.
"""

import builtins
import contextlib
from collections.abc import Iterable, Iterator, Sequence

import structlog

from hutch.control import idempotency, metering, quotas, requests
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.keys import Principal
from hutch.control.quotas import Quotas
from hutch.control.records import Records
from hutch.host.interface import Host
from hutch.model import errors, ids
from hutch.model.ids import MachineId, TenantId, VolumeId
from hutch.model.volumes import Volume
from hutch.store.interface import Store

log = structlog.get_logger(__name__)


class Rack:
    """The records of all volumes, in memory, written through to the store."""

    def __init__(self, store: Store, host: Host, records: Records, quotas: Quotas, clock: Clock) -> None:
        self._quotas = quotas
        self._store = store
        self._host = host
        self._records = records
        self._clock = clock
        self._volumes: dict[VolumeId, Volume] = {}  # oldest first
        self._names: set[tuple[TenantId, str]] = set()  # of those that are being made
        self._claims: builtins.list[frozenset[VolumeId]] = []  # mounts of machines that are being made
        self._going: set[VolumeId] = set()

    def load(self, volumes: Iterable[Volume]) -> None:
        """Take up what the store has; oldest first."""
        for volume in volumes:
            self._insert(volume)

    def _insert(self, volume: Volume) -> None:
        self._volumes[volume.id] = volume
        self._quotas.note(volume.tenant, volume.id, quotas.of_volume(volume))

    async def reconcile(self, is_new: bool) -> None:
        """Make records and host agree. `Conflict` if a new database meets a host with volumes: it is the wrong one."""
        held = {volume.id for volume in self._host.volumes.list()}
        for missing in set(self._volumes) - held:
            log.error("a volume is missing on the host", volume=missing, name=self._volumes[missing].name)
        strangers = held - set(self._volumes)
        if strangers and is_new:
            raise errors.Conflict(
                f"the database is new, but this home holds {len(strangers)} volumes: check HUTCH_DATABASE and "
                "HUTCH_HOME, or remove the home's volumes directory"
            )
        for stranger in strangers:
            log.warning("removing a volume that no record tells of", volume=stranger)
            try:
                await self._host.volumes.remove(stranger)
            except errors.HutchError as error:
                log.warning("it could not be removed", volume=stranger, error=error.message)

    def get(self, volume: VolumeId) -> Volume | None:
        """By id."""
        return self._volumes.get(volume)

    def of(self, tenant: TenantId) -> builtins.list[Volume]:
        """A tenant's, oldest first."""
        return [volume for volume in self._volumes.values() if volume.tenant == tenant]

    def find(self, tenant: TenantId, id_or_name: str) -> Volume:
        """By id, else by name. `NotFound`; another tenant's is."""
        volume = self._volumes.get(VolumeId(id_or_name))
        if volume is not None and volume.tenant == tenant:
            return volume
        for volume in self.of(tenant):
            if volume.name == id_or_name:
                return volume
        raise errors.NotFound("volume not found")

    def attached(self, volume: Volume) -> builtins.list[MachineId]:
        """The machines that mount it."""
        machines = (entry.machine for entry in self._records.of(volume.tenant))
        return [it.id for it in machines if any(mount.volume == volume.id for mount in it.spec.mounts)]

    @contextlib.contextmanager
    def claim_name(self, tenant: TenantId, name: str) -> Iterator[None]:
        """Keep a name for a volume that is to be made within. `Conflict` if it is taken."""
        if (tenant, name) in self._names or any(volume.name == name for volume in self.of(tenant)):
            raise errors.Conflict(f"there is already a volume named {name}: choose another name, or delete it first")
        self._names.add((tenant, name))
        try:
            yield
        finally:
            self._names.discard((tenant, name))

    @contextlib.contextmanager
    def claim(self, volumes: Sequence[VolumeId]) -> Iterator[None]:
        """Let none of them be deleted while in here. `NotFound` for one that is gone."""
        if any(volume not in self._volumes or volume in self._going for volume in volumes):
            raise errors.NotFound("volume not found")
        claimed = frozenset(volumes)
        self._claims.append(claimed)
        try:
            yield
        finally:
            self._claims.remove(claimed)

    async def add(self, volume: Volume) -> None:
        """Make a new one, under a claimed name: on the host, then in the record."""
        await self._host.volumes.create(volume.id, volume.size_gib)
        try:
            await self._store.add_volume(volume, metering.begin_volume(volume))
        except BaseException:
            with contextlib.suppress(errors.HutchError):
                await self._host.volumes.remove(volume.id)
            raise
        self._insert(volume)

    async def remove(self, volume: Volume) -> None:
        """From the host, then from the record. `Conflict` while a machine mounts it."""
        machines = self.attached(volume)
        if machines or any(volume.id in claim for claim in self._claims):
            users = ", ".join(machines[:3]) or "one that is being made"
            raise errors.Conflict(f"volume {volume.name} is mounted by machine {users}: delete the machine first")
        self._going.add(volume.id)
        try:
            await self._host.volumes.remove(volume.id)
            await self._store.remove_volume(volume.id, metering.end_volume(volume, self._clock.now()))
            self._volumes.pop(volume.id, None)
            self._quotas.note(volume.tenant, volume.id, quotas.NOTHING)
        finally:
            self._going.discard(volume.id)


class Volumes:
    """The volumes of all tenants."""

    def __init__(self, rack: Rack, quotas: Quotas, background: Background, clock: Clock) -> None:
        self._rack = rack
        self._quotas = quotas
        self._background = background
        self._clock = clock

    async def create(self, principal: Principal, name: str, size_gib: int) -> Volume:
        """Needs `volume:create`. `InvalidRequest`, `Conflict` (name), `QuotaExceeded`, `DiskFull`."""
        principal.require("volume:create")
        requests.check_name(name)
        check_size(size_gib)
        return await self._background.finish(self._create(principal.tenant, name, size_gib))

    async def _create(self, tenant: TenantId, name: str, size_gib: int) -> Volume:
        volume = Volume(ids.new_volume_id(), tenant, name, size_gib, self._clock.now())
        wanted = {volume.id: quotas.of_volume(volume)}
        with self._rack.claim_name(tenant, name), self._quotas.claim(tenant, wanted):
            await idempotency.expect([volume.id])
            await self._rack.add(volume)
        return volume

    def list(self, principal: Principal) -> builtins.list[Volume]:
        """Oldest first. Needs `volume:read`."""
        principal.require("volume:read")
        return self._rack.of(principal.tenant)

    def find(self, principal: Principal, id_or_name: str) -> Volume:
        """By id, else by name. Needs `volume:read`. `NotFound`."""
        principal.require("volume:read")
        return self._rack.find(principal.tenant, id_or_name)

    def attached(self, principal: Principal, id: VolumeId) -> builtins.list[MachineId]:
        """The machines that mount it, running or not. Needs `volume:read`."""
        principal.require("volume:read")
        return self._rack.attached(self._get(principal, id))

    async def delete(self, principal: Principal, id: VolumeId) -> None:
        """With all it holds. Needs `volume:delete`. `Conflict` while a machine mounts it."""
        principal.require("volume:delete")
        await self._background.finish(self._rack.remove(self._get(principal, id)))

    def _get(self, principal: Principal, id: VolumeId) -> Volume:
        volume = self._rack.get(id)
        if volume is None or volume.tenant != principal.tenant:
            raise errors.NotFound("volume not found")
        return volume


def check_size(size_gib: int) -> None:
    """`InvalidRequest` for a size that no volume has."""
    if not 1 <= size_gib <= requests.MAX_DISK_GIB:
        raise errors.InvalidRequest(f"size is {size_gib} GiB: 1 to {requests.MAX_DISK_GIB}")
