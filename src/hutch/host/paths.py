"""Where everything lives below `HUTCH_HOME`. The only place that puts such a path together."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from hutch.model.ids import MachineId, VolumeId


@dataclass(frozen=True, slots=True)
class RunPaths:
    """What one QEMU process has on disk while it runs, and what is left of it until the next one."""

    root: Path

    @property
    def memory(self) -> Path:
        """What a boot from its own disk maps: a sparse file that stays empty, since pages are written privately."""
        return self.root / "memory"

    @property
    def qmp(self) -> Path:
        """QEMU's control socket."""
        return self.root / "qmp.sock"

    @property
    def agent(self) -> Path:
        """The agent's socket."""
        return self.root / "agent.sock"

    @property
    def console(self) -> Path:
        """The console's socket."""
        return self.root / "console.sock"

    @property
    def console_log(self) -> Path:
        """The end of what came from the console."""
        return self.root / "console.log"

    @property
    def qemu_log(self) -> Path:
        """QEMU's own standard error."""
        return self.root / "qemu.log"


@dataclass(frozen=True, slots=True)
class MachinePaths:
    """One machine's own directory. Its disk layers are in `Paths.layers`: a layer may come to be shared."""

    root: Path

    @property
    def journal(self) -> Path:
        """What the host knows of it, rewritten whole at every step."""
        return self.root / "machine.json"


@dataclass(frozen=True, slots=True)
class StatePaths:
    """One saved state, immutable once the manifest is there."""

    root: Path

    @property
    def pages(self) -> Path:
        """The pages of memory that differ from what it stands on, one after the other."""
        return self.root / "pages"

    @property
    def devices(self) -> Path:
        """The device state."""
        return self.root / "devices"

    @property
    def manifest(self) -> Path:
        """What it consists of and what must match to load it; written last."""
        return self.root / "manifest.json"


@dataclass(frozen=True, slots=True)
class TemplatePaths:
    """One template: a memory file, a device state and a disk layer, immutable once the manifest is there."""

    root: Path

    @property
    def memory(self) -> Path:
        """The guest's RAM (sparse)."""
        return self.root / "memory"

    @property
    def devices(self) -> Path:
        """The device state."""
        return self.root / "devices"

    @property
    def disk(self) -> Path:
        """What the first boot wrote (qcow2 over the image)."""
        return self.root / "disk.qcow2"

    @property
    def blank(self) -> Path:
        """An empty layer over `disk`, copied for every machine."""
        return self.root / "blank.qcow2"

    def placeholder(self, index: int) -> Path:
        """What stands in for a volume during the first boot."""
        return self.root / f"placeholder-{index}"

    @property
    def manifest(self) -> Path:
        """What must match to load it; written last."""
        return self.root / "manifest.json"


@dataclass(frozen=True, slots=True)
class Paths:
    """The whole of `HUTCH_HOME`."""

    home: Path

    @property
    def tag(self) -> str:
        """Tells this home's processes from those of another one."""
        return f"hutch-{hashlib.sha256(os.fsencode(self.home.resolve())).hexdigest()[:10]}"

    @property
    def lock(self) -> Path:
        """Held by the one service that owns this directory."""
        return self.home / "lock"

    @property
    def database(self) -> Path:
        """The embedded database."""
        return self.home / "hutch.db"

    @property
    def images(self) -> Path:
        """Root images, one directory per digest."""
        return self.home / "images"

    @property
    def boot(self) -> Path:
        """Kernel and initramfs, one directory per digest."""
        return self.home / "boot"

    @property
    def templates(self) -> Path:
        """One directory per template key."""
        return self.home / "templates"

    @property
    def machines(self) -> Path:
        """One directory per machine."""
        return self.home / "machines"

    @property
    def layers(self) -> Path:
        """The machines' disk layers, ID.qcow2."""
        return self.home / "layers"

    @property
    def states(self) -> Path:
        """Saved states, one directory each."""
        return self.home / "states"

    @property
    def memories(self) -> Path:
        """Whole memories of guests that machines of saved states map, each named by its sum."""
        return self.home / "memories"

    @property
    def volumes(self) -> Path:
        """Volumes, a raw image each, named by its id."""
        return self.home / "volumes"

    @property
    def runs(self) -> Path:
        """What running QEMU processes have on disk, one directory each."""
        return self.home / "runs"

    @property
    def accelerator(self) -> Path:
        """The remembered verdict about KVM."""
        return self.home / "accelerator.json"

    def machine(self, machine: MachineId) -> MachinePaths:
        """A machine's own directory."""
        return MachinePaths(self.machines / machine)

    def template(self, key: str) -> TemplatePaths:
        """A template's own directory."""
        return TemplatePaths(self.templates / key)

    def layer(self, layer: str) -> Path:
        """A disk layer."""
        return self.layers / f"{layer}.qcow2"

    def memory(self, memory: str) -> Path:
        """A guest's whole memory."""
        return self.memories / memory

    def volume(self, volume: VolumeId) -> Path:
        """A volume."""
        return self.volumes / volume

    def state(self, state: str) -> StatePaths:
        """A saved state's own directory."""
        return StatePaths(self.states / state)

    def run(self, run: str) -> RunPaths:
        """A QEMU process's own directory."""
        return RunPaths(self.runs / run)
