"""Disk layers: qcow2 over a raw image. A layer under another one is never written again."""

import asyncio
import json
from pathlib import Path

from hutch import commands
from hutch.host import files

GIB = 2**30
_TIMEOUT = 60.0


async def make_layer(path: Path, backing: Path, size_gib: int) -> None:
    """A new, empty layer over `backing` (raw or qcow2 by its name), `size_gib` large. Raises `DiskFull`."""
    files.require_space(path.parent, 2**20, "a disk")
    kind = "qcow2" if backing.suffix == ".qcow2" else "raw"
    # The backing file is named explicitly when a process opens the chain, so the name inside is only for people.
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", backing, "-F", kind, path, str(size_gib * GIB)]
    await commands.run([str(word) for word in argv], timeout=_TIMEOUT)


async def grow(path: Path, size_gib: int) -> None:
    """Make the disk of a machine that does not run larger."""
    # Without what it stands on: the name inside is only for people, and may be of a file that is not there.
    alone = {"driver": "qcow2", "backing": None, "file": {"driver": "file", "filename": str(path)}}
    argv = ["qemu-img", "resize", "-q", f"json:{json.dumps(alone)}", str(size_gib * GIB)]
    await commands.run(argv, timeout=_TIMEOUT)


async def allocated(path: Path) -> int:
    """Bytes a sparse file really takes."""
    return await asyncio.to_thread(lambda: path.stat().st_blocks * 512)
