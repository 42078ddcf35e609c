"""What a saved state consists of, and what must match to load it. Written last, with a checksum of its own."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hutch.host import files
from hutch.host.qemu import argv
from hutch.host.saved.memory import Runs
from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId, VolumeId
from hutch.model.machine import MachineSpec

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Fit:
    """What must be equal for a device state to load."""

    board: argv.Board
    cpu_model: str
    vmm: str  # QEMU's version
    board_version: int = argv.BOARD_VERSION


@dataclass(frozen=True, slots=True)
class Manifest:
    """One saved state."""

    id: SnapshotId
    machine: MachineId  # whose it is, or of which it was made
    created_at: float  # Unix seconds
    kept: bool  # a snapshot, kept until it is removed; else it goes when no machine stands suspended in it
    fit: Fit
    spec: MachineSpec
    disk_gib: int  # the disk's size at that moment
    template: str  # whose disk layer lies over the image
    on_template: bool  # its memory is the template's but for the saved pages
    layers: tuple[str, ...]  # disk layers over the template's, base first
    runs: Runs  # which pages are saved
    checksums: Mapping[str, str]  # SHA-256 by "pages", "devices", and "layer ID" of those that are frozen
    volumes: Mapping[VolumeId, int] = field(
        default_factory=dict
    )  # when those it mounts were last written, by mtime in ns
    memory: str | None = None  # its memory is that file but for the saved pages; without any it is empty but for them


_adapter = TypeAdapter(Manifest)


def write(path: Path, manifest: Manifest, durable: bool) -> None:
    """Put it in place. Raises `DiskFull`."""
    content = _adapter.dump_python(manifest, mode="json")
    files.write_json(path, {"format": FORMAT, "sha256": _checksum(content), "state": content}, durable=durable)


def read(path: Path) -> Manifest:
    """The manifest in a file. `NotFound`; `Damaged` if it is not what was written."""
    if not path.exists():
        raise errors.NotFound("snapshot not found")
    raw = files.read_json(path) or {}
    if raw.get("format") != FORMAT or raw.get("sha256") != _checksum(raw.get("state")):
        raise errors.Damaged(f"the manifest of saved state {path.parent.name} is damaged", path=str(path))
    try:
        return _adapter.validate_python(raw["state"])
    except ValidationError as error:
        raise errors.Damaged(f"the manifest of saved state {path.parent.name} cannot be understood") from error


def check(manifest: Manifest, here: Fit) -> None:
    """`Incompatible`, naming each difference, if the state cannot be loaded by what would run it here."""
    saved, ours = dataclasses.asdict(manifest.fit), dataclasses.asdict(here)
    differences = [f"{name} {saved[name]!r}, here {ours[name]!r}" for name in ours if saved[name] != ours[name]]
    if differences:
        raise errors.Incompatible(
            f"the saved state cannot be loaded: it was saved with {'; '.join(differences)}; "
            "its disk is whole: stop the machine to go on from that without the memory"
        )


def _checksum(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
