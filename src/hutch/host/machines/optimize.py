"""Optimizing a saved state: it gets one whole memory file, which the machines made of it map privately.

They start as out of a template then: no page has to be put back, and what they only read they share. The state is as
it was until the new manifest has replaced the old one, in one step; what no manifest names any more is collected.
"""

import asyncio
import time

import structlog

from hutch.host import files
from hutch.host.machines import hardware
from hutch.host.machines.context import Context
from hutch.host.saved import memory
from hutch.host.saved.manifest import Manifest
from hutch.model import errors
from hutch.model.ids import SnapshotId

log = structlog.get_logger(__name__)

MIB = 2**20


async def optimize(context: Context, state: SnapshotId) -> None:
    """Nothing if it was done. `NotFound`, `DiskFull`, `Damaged`: then it is as it was, and nothing is left."""
    try:
        async with context.states.turn(state), context.states.memories.turn:
            with context.states.pinned(state) as manifest:
                if manifest.memory is None or manifest.runs:
                    await _give_memory(context, manifest)
    finally:
        context.collect()


async def _give_memory(context: Context, manifest: Manifest) -> None:
    below, size = hardware.shared_memory(context, manifest), manifest.fit.board.memory_mib * MIB
    there = await asyncio.to_thread(below.stat) if below is not None else None
    needed = memory.size(manifest.runs) + (there.st_blocks * 512 if there is not None else 0)
    files.require_space(
        context.paths.memories, needed + context.settings.disk_reserve_mib * MIB, "optimizing a saved state"
    )
    if damage := await context.states.damage_of_memory(manifest):
        raise errors.Damaged(f"the saved state cannot be optimized: its {', '.join(damage)}")
    began = time.monotonic()
    pages = context.paths.state(manifest.id).pages
    name, building = await context.states.memories.write(size, below, manifest.runs, pages)
    try:
        if context.paths.memory(name).exists() and await context.states.memories.differs(name):
            raise errors.Damaged(f"the saved state cannot be optimized: the memory {name[:12]} it shares is damaged")
        context.states.memories.publish(name, building)
        context.states.put_on(manifest.id, name)
    finally:
        building.unlink(missing_ok=True)
    log.info("optimized", state=manifest.id, seconds=round(time.monotonic() - began, 2), memory=name[:12])
