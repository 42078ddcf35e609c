"""Ids as this dialect shows them, with a prefix, and reads them, with it or without. Pure.

Keys and events are UUIDs here: the same 20 letters and digits, read as a number to the base 36.
"""

import uuid

from hutch.api.nullspace.errors import Told
from hutch.model.ids import KeyId, MachineId, PoolId, SnapshotId, VolumeId

MACHINE = "mch_"
SNAPSHOT = "snap_"
POOL = "twp_"
VOLUME = "vol_"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LENGTH = 20


def machine(text: str) -> MachineId:
    """The machine that `text` means."""
    return MachineId(text.removeprefix(MACHINE))


def snapshot(text: str) -> SnapshotId:
    """The snapshot that `text` means. That of a hibernation is called as its machine is."""
    return SnapshotId(text.removeprefix(SNAPSHOT))


def pool(text: str) -> PoolId:
    """The warm pool that `text` means."""
    return PoolId(text.removeprefix(POOL))


def volume(text: str) -> VolumeId:
    """The volume that `text` means."""
    return VolumeId(text.removeprefix(VOLUME))


def as_uuid(id: str) -> str:
    """An id of ours as a UUID; anything else stays as it is."""
    try:
        return str(uuid.UUID(int=int(id, 36)))
    except ValueError:
        return id


def of_uuid(text: str) -> str:
    """The id that is shown as this UUID."""
    try:
        number = uuid.UUID(text).int
    except ValueError:
        raise Told(404, "not_found", f"there is nothing called {text[:80]!r}: this is not a UUID") from None
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(_LENGTH, "0")


def key(text: str) -> KeyId:
    """The API key that is shown as this UUID."""
    return KeyId(of_uuid(text))
