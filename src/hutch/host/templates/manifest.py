"""What a template was saved with, and so what must match to load it."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from hutch.host.qemu import argv

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything a template depends on: two equal recipes give interchangeable templates."""

    image: str  # digest
    disk_gib: int
    board: argv.Board
    cpu_model: str
    vmm: str  # QEMU's version
    boot: str  # digest of kernel and initramfs, the agent included
    board_version: int = argv.BOARD_VERSION
    format: int = FORMAT

    @property
    def key(self) -> str:
        """A name for it: 32 hex digits of the SHA-256 over its fields."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def differences(self, other: dict[str, object]) -> list[str]:
        """The fields in which a saved manifest's recipe differs, each as "field: theirs, not ours"."""
        mine = json.loads(json.dumps(dataclasses.asdict(self)))
        return [
            f"{name}: {other.get(name)!r}, not {value!r}" for name, value in mine.items() if other.get(name) != value
        ]
