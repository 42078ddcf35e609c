"""What the host knows of a machine, on disk: written before a step acts and after it has acted.

A restarted host reads these, and nothing else, to find its running machines again and to finish or undo what was begun.
"""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hutch.host import files
from hutch.host.interface import Life
from hutch.host.qemu.process import Identity
from hutch.model.ids import MachineId
from hutch.model.machine import ImageRef, MachineSpec, NetworkMode, NetworkPolicy, Resources

FORMAT = 1


class Phase(StrEnum):
    """Where a machine is, as its host sees it. What a crash interrupts is told by the transient ones."""

    STOPPED = "stopped"
    STARTING = "starting"  # undone by a restart: the process is ended
    RUNNING = "running"  # adopted by a restart
    STOPPING = "stopping"  # finished by a restart
    FAILED = "failed"
    DESTROYING = "destroying"  # finished by a restart


LIVES = {Phase.RUNNING: Life.RUNNING, Phase.STOPPING: Life.RUNNING, Phase.FAILED: Life.FAILED}


@dataclass(frozen=True, slots=True)
class Journal:
    """One machine's entry."""

    id: MachineId
    spec: MachineSpec
    uid: int | None  # whom its QEMU runs as
    phase: Phase = Phase.STOPPED
    reason: str | None = None
    process: Identity | None = None
    template: str | None = None  # whose disk layer its own stands on, once it has one
    booted: bool = False  # its guest has run: from now on it boots from its own disk

    @property
    def life(self) -> Life:
        """As the control plane sees it."""
        return LIVES.get(self.phase, Life.STOPPED)

    def write(self, path: Path) -> None:
        """Replace the file, so that it survives a power cut once its guest may have run. Raises `DiskFull`."""
        nothing_yet = self.phase is Phase.STARTING and not self.booted
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        files.write_json(path, {"format": FORMAT, **fields}, durable=not nothing_yet)


def read(path: Path) -> Journal | None:
    """The entry in a file; None if there is none that can be understood."""
    raw = files.read_json(path)
    try:
        return _parse(raw) if raw is not None and raw.pop("format") == FORMAT else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _parse(raw: dict[str, Any]) -> Journal:
    spec = raw.pop("spec")
    network = spec.pop("network")
    command = spec.pop("command")
    return Journal(
        spec=MachineSpec(
            image=ImageRef(**spec.pop("image")),
            resources=Resources(**spec.pop("resources")),
            network=NetworkPolicy(
                NetworkMode(network["mode"]), tuple(network.get("cidrs", ())), tuple(network.get("hosts", ()))
            ),
            command=None if command is None else tuple(command),
            **spec,
        ),
        phase=Phase(raw.pop("phase")),
        process=Identity(**identity) if (identity := raw.pop("process")) else None,
        **raw,
    )
