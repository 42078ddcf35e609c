"""Volumes: file systems of their own, which outlive the machines they are attached to."""

from dataclasses import dataclass
from datetime import datetime

from hutch.model.ids import TenantId, VolumeId


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume's place in a machine; attached and mounted at every start."""

    volume: VolumeId
    path: str  # absolute, in the guest; made if missing
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Volume:
    """The control plane's record of a volume. Who has it attached is told by the machines' mounts."""

    id: VolumeId
    tenant: TenantId
    name: str
    size_gib: int
    created_at: datetime
