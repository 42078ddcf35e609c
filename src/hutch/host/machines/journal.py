"""What the host knows of a machine, on disk: written before a step acts and after it has acted.

A restarted host reads these, and nothing else, to find its running machines again and to finish or undo what was begun.
"""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hutch.host import files
from hutch.host.interface import Life
from hutch.host.qemu.process import Identity
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.machine import MachineSpec

FORMAT = 2


class Phase(StrEnum):
    """Where a machine is, as its host sees it. What a crash interrupts is told by the transient ones."""

    STOPPED = "stopped"
    STARTING = "starting"  # undone by a restart: the process is ended
    WAKING = "waking"  # its guest goes on and is being told who it is: finished by a restart
    RUNNING = "running"  # adopted by a restart
    PAUSED = "paused"  # adopted by a restart, and left paused
    SUSPENDING = "suspending"  # undone by a restart while its process lives, finished if the state is whole
    SUSPENDED = "suspended"  # its memory is in `saved`
    STOPPING = "stopping"  # finished by a restart
    FAILED = "failed"
    DESTROYING = "destroying"  # finished by a restart


LIVES = {
    Phase.RUNNING: Life.RUNNING,
    Phase.PAUSED: Life.PAUSED,
    Phase.SUSPENDING: Life.RUNNING,
    Phase.SUSPENDED: Life.SUSPENDED,
    Phase.STOPPING: Life.RUNNING,
    Phase.FAILED: Life.FAILED,
}


_AFTER = {
    Phase.STARTING: Phase.STOPPED,
    Phase.WAKING: Phase.FAILED,
    Phase.RUNNING: Phase.FAILED,
    Phase.PAUSED: Phase.FAILED,
    Phase.STOPPING: Phase.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Journal:
    """One machine's entry."""

    id: MachineId
    spec: MachineSpec
    uid: int | None  # whom its QEMU runs as
    phase: Phase = Phase.STOPPED
    reason: str | None = None
    process: Identity | None = None
    run: str | None = None  # the directory of its last process
    template: str | None = None  # whose disk layer its own stand on, once it has any
    layers: tuple[str, ...] = ()  # its disk layers over the template's, base first; only the last is written
    disk_gib: int = 0  # the size its disk has
    grow: bool = False  # its file system has to be grown to that
    booted: bool = False  # its guest has run: from now on it boots from its own disk
    on_template: bool = False  # what runs maps the template's memory
    memory: str | None = (
        None  # what runs maps this one of saved states' memories; without any, an empty file of its own
    )
    saved: SnapshotId | None = None  # the state it is suspended in, or is being
    was_paused: bool = False  # before it was being suspended

    @property
    def life(self) -> Life:
        """As the control plane sees it."""
        return LIVES.get(self.phase, Life.STOPPED)

    @property
    def mapped(self) -> str | None:
        """The one of saved states' memories that a process of its may map, or be about to."""
        is_at_rest = self.process is None and self.phase in (Phase.STOPPED, Phase.SUSPENDED, Phase.FAILED)
        return None if is_at_rest else self.memory

    @property
    def after_power_cut(self) -> "Journal":
        """What is left of it when the whole box has failed, and every process with it; to be compared."""
        phase = _AFTER.get(self.phase, self.phase)
        if self.phase is Phase.STARTING and self.saved is not None:
            phase = Phase.SUSPENDED
        return dataclasses.replace(
            self, phase=phase, process=None, run=None, on_template=False, memory=None, was_paused=False
        )

    def write(self, path: Path, former: "Journal | None" = None) -> None:
        """Replace the file, so that it survives a power cut once its guest may have run. Raises `DiskFull`.

        Unless the entry that is there would do as well then: that of `former`, which is given up.
        """
        nothing_yet = self.phase in (Phase.STOPPED, Phase.STARTING) and not self.booted
        as_well = former is not None and former.after_power_cut == self.after_power_cut
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        files.write_json(path, {"format": FORMAT, **fields}, durable=not (nothing_yet or as_well))


_adapter = TypeAdapter(Journal)


def read(path: Path) -> Journal | None:
    """The entry in a file; None if there is none that can be understood."""
    raw = files.read_json(path)
    return None if raw is None else parse(raw)


def parse(raw: dict[str, Any]) -> Journal | None:
    """The entry in what a file holds."""
    raw = dict(raw)
    try:
        return _adapter.validate_python(raw) if raw.pop("format", None) == FORMAT else None
    except ValidationError:
        return None
