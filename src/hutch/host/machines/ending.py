"""The end of a process: what its guest holds is written to its disks first, if the guest still answers."""

import asyncio
import contextlib
import time

from hutch.host.machines.journal import Journal
from hutch.host.qemu import vm
from hutch.model import errors

SYNC = 3.0
"""Seconds a guest has to write out what it holds before it is ended by force or suspended."""

SYNC_VOLUMES = 15.0
"""The same, where it writes to a volume: that outlives it."""


def writes_volumes(journal: Journal) -> bool:
    """Whether some of what it has written outlives it."""
    return any(not mount.readonly for mount in journal.spec.mounts)


def limit(journal: Journal) -> float:
    """Seconds its guest has to write out what it holds."""
    return SYNC_VOLUMES if writes_volumes(journal) else SYNC


async def write_out(machine: vm.Vm, journal: Journal) -> None:
    """Have the guest write what it holds."""
    if not machine.watch.ended.is_set() and machine.agent is not None:
        with contextlib.suppress(errors.HutchError, TimeoutError):
            await asyncio.wait_for(machine.agent.sync(), limit(journal))


async def shut_down(machine: vm.Vm, journal: Journal, grace: float) -> None:
    """In order within `grace` seconds, else by force."""
    began = time.monotonic()
    try:
        with contextlib.suppress(errors.HutchError, TimeoutError):
            if machine.agent is not None and grace > 0:
                await asyncio.wait_for(machine.agent.shutdown(), grace)
                await machine.watch.wait(max(0.0, grace - (time.monotonic() - began)))
        await write_out(machine, journal)
    finally:
        await machine.end()
