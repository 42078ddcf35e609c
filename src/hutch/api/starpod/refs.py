"""Ids as this dialect shows them, with a prefix, and reads them, with it or without. Pure."""

from hutch.model.ids import MachineId

INSTANCE = "inst_"


def machine(text: str) -> MachineId:
    """The machine that `text` means."""
    return MachineId(text.removeprefix(INSTANCE))
