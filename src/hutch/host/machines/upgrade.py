"""A home of the former version: its machines had disk, sockets and logs in their own directories, and no saved states.

Journals of that format (1) are written anew, so that nothing else need know of it. Every step can be taken twice: what
a crash interrupts is gone on with at the next start.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import structlog

from hutch.host import files
from hutch.host.disks import GIB
from hutch.host.machines import journal as journals
from hutch.host.machines.journal import Journal
from hutch.host.paths import Paths
from hutch.host.qemu import process
from hutch.host.saved import memory
from hutch.model import errors

log = structlog.get_logger(__name__)

FORMER = 1
_OF_A_PROCESS = ("memory", "qmp.sock", "agent.sock", "console.sock", "console.log", "qemu.log")


def upgrade(paths: Paths) -> None:
    """Bring every machine of the former version to this one's layout; one that cannot be is left as it is."""
    for entry in paths.machines.iterdir():
        raw = files.read_json(entry / "machine.json")
        if raw is None or raw.get("format") != FORMER or raw.get("id") != entry.name:
            continue
        try:
            _upgrade(paths, entry, raw)
        except (errors.HutchError, OSError, ValueError) as error:
            log.error("a machine of the former version cannot be taken over", directory=str(entry), error=str(error))


def _upgrade(paths: Paths, entry: Path, raw: dict[str, Any]) -> None:
    name, disk = entry.name, entry / "disk.qcow2"
    layer, run = paths.layer(name), paths.run(name)
    added: dict[str, object] = {"format": journals.FORMAT}
    if disk.exists():
        with contextlib.suppress(FileExistsError):
            os.link(disk, layer)
        files.sync_directory(paths.layers)
    if layer.exists():
        added |= {"layers": [name], "disk_gib": _size(layer) // GIB}
    run.root.mkdir(mode=0o700, exist_ok=True)
    for what in _OF_A_PROCESS:
        with contextlib.suppress(FileNotFoundError):
            (entry / what).rename(run.root / what)
    journal = journals.parse({**raw, **added, "run": name})
    if journal is None:
        raise ValueError("its journal cannot be understood")
    on_template = _maps(journal, paths)
    files.write_json(entry / "machine.json", {**raw, **added, "run": name, "on_template": on_template}, durable=True)
    disk.unlink(missing_ok=True)
    log.info("a machine of the former version taken over", machine=name)


def _size(layer: Path) -> int:
    """The disk's size in bytes, from a qcow2 header: eight bytes at 24, big-endian."""
    with layer.open("rb") as file:
        head = file.read(32)
    if head[:4] != b"QFI\xfb":
        raise ValueError("its disk is no qcow2 file")
    return int.from_bytes(head[24:32], "big")


def _maps(journal: Journal, paths: Paths) -> bool:
    """Whether its process, if it runs, maps its template's memory."""
    if journal.process is None or journal.template is None or not process.is_alive(journal.process):
        return False
    with contextlib.suppress(errors.MachineFailed, OSError):
        memory.find(journal.process.pid, paths.template(journal.template).memory)
        return True
    return False
