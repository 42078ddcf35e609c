"""Typed ids. One machine has one id everywhere; a dialect adds its prefix only when it shows it."""

import re
import secrets
import string
from typing import NewType

MachineId = NewType("MachineId", str)
TenantId = NewType("TenantId", str)
KeyId = NewType("KeyId", str)
ProcessId = NewType("ProcessId", str)
SnapshotId = NewType("SnapshotId", str)
PoolId = NewType("PoolId", str)
VolumeId = NewType("VolumeId", str)
SessionId = NewType("SessionId", str)
BuildId = NewType("BuildId", str)
PhaseId = NewType("PhaseId", str)

_ALPHABET = string.ascii_lowercase + string.digits
_MACHINE_ID = re.compile(r"[a-z0-9]{20}")


def random_id(length: int = 20) -> str:
    """`length` random lower-case letters and digits (5.17 bits each)."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_machine_id() -> MachineId:
    """A fresh machine id: 20 random lower-case letters and digits, about 103 bits."""
    return MachineId(random_id())


def new_snapshot_id() -> SnapshotId:
    """A fresh snapshot id, of the same form."""
    return SnapshotId(random_id())


def new_pool_id() -> PoolId:
    """A fresh pool id, of the same form."""
    return PoolId(random_id())


def new_volume_id() -> VolumeId:
    """A fresh volume id, of the same form."""
    return VolumeId(random_id())


def new_build_id() -> BuildId:
    """A fresh build id, of the same form."""
    return BuildId(random_id())


def new_phase_id() -> PhaseId:
    """A fresh id of a build's phase, of the same form."""
    return PhaseId(random_id())


def is_machine_id(text: str) -> bool:
    """Whether `text` has the form of a machine id, without any dialect's prefix."""
    return _MACHINE_ID.fullmatch(text) is not None
