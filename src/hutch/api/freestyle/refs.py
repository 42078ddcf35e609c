"""Ids as this dialect shows them, with a prefix, and reads them, with it or without. A VM's has none. Pure."""

import hashlib

from hutch.model.ids import BuildId, MachineId, SnapshotId
from hutch.model.machine import Machine

SNAPSHOT, BUILD, PHASE, LAYER = "sc-", "bld-", "bph-", "sl-"


def machine(text: str) -> MachineId:
    """The machine that `text` means."""
    return MachineId(text)


def snapshot(text: str) -> SnapshotId:
    """The snapshot that `text` means."""
    return SnapshotId(text.removeprefix(SNAPSHOT))


def build(text: str) -> BuildId:
    """The build that `text` means."""
    return BuildId(text.removeprefix(BUILD))


def instance(it: Machine) -> str:
    """Of one run of a machine: the same from a start, or a wake, to the next one."""
    return _letters(f"{it.id} {it.ready_at}", 20)


def layer(it: Machine) -> str:
    """Of the state that a machine was suspended in."""
    return LAYER + _letters(f"{it.id} {it.suspended_at}", 16)


def _letters(text: str, length: int) -> str:
    """The first letters and digits of its hash, in lower case."""
    number, digits = int.from_bytes(hashlib.sha256(text.encode()).digest()), ""
    while len(digits) < length:
        number, digit = divmod(number, 36)
        digits += "0123456789abcdefghijklmnopqrstuvwxyz"[digit]
    return digits
