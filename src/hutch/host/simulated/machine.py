"""A simulated machine, and one that was saved: a directory that stands for a disk, and local processes."""

import asyncio
import hashlib
import os
import shutil
import stat
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from hutch.host.interface import HostMachine, Life, SavedState
from hutch.host.simulated.process import Process, SavedProcess
from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.machine import MachineSpec

DIRECTORIES = ("tmp", "root", "workspace")
VOLATILE = ("tmp", "run", "dev/shm")

SAVED_MEMORY = 2**20
"""Bytes that the memory of any machine takes on disk; its tmpfs files come on top."""


@dataclass
class Saved:
    """A snapshot: a copy of a machine's files, and what its processes were."""

    id: SnapshotId
    machine: MachineId
    spec: MachineSpec
    root: Path  # need not be there: a machine nobody used has no file
    processes: tuple[SavedProcess, ...]
    is_transient: bool
    created_at: float = field(default_factory=time.time)
    is_optimized: bool = False
    damaged: list[str] = field(default_factory=list)  # parts of it: manifest, devices, memory, disk

    @property
    def told(self) -> SavedState:
        """As its host tells of it."""
        return SavedState(self.id, self.machine, self.created_at, SAVED_MEMORY + size_of(self.root))

    @property
    def is_loadable(self) -> bool:
        """Whether a start would take it: memory and disk are not read then."""
        return not {"manifest", "devices"} & set(self.damaged)

    def check_fits(self, spec: MachineSpec) -> None:
        """`InvalidRequest` unless a machine like this can be put into it."""
        mine, other = self.spec.resources, spec.resources
        if self.spec.image.digest != spec.image.digest:
            raise errors.InvalidRequest(f"snapshot {self.id} is of another image")
        if (mine.cpus, mine.memory_mib) != (other.cpus, other.memory_mib):
            raise errors.InvalidRequest(f"snapshot {self.id} has {mine.cpus} cpus and {mine.memory_mib} MiB of memory")
        if self.spec.mounts != spec.mounts:
            raise errors.InvalidRequest(f"snapshot {self.id} was made with other mounts")
        if other.disk_gib < mine.disk_gib:
            raise errors.InvalidRequest(f"snapshot {self.id} needs a disk of {mine.disk_gib} GiB")


class Machine:
    """See the module."""

    def __init__(self, id: MachineId, spec: MachineSpec, root: Path) -> None:
        self.id = id
        self.spec = spec
        self.life = Life.STOPPED
        self.reason: str | None = None
        self.processes: dict[str, Process] = {}
        self.waiting: tuple[SavedProcess, ...] = ()  # of a suspended one, besides those that stand still
        self.origin: Saved | None = None  # in which it is suspended
        self.is_optimized = False  # what it is suspended in, if that is its own
        self.console = bytearray()
        self.started_at = 0.0
        self.was_started = False
        self.is_starting = False
        self.turn = asyncio.Lock()
        self._instance: uuid.UUID | None = None
        self._root = root

    def __repr__(self) -> str:
        return f"<Machine {self.id} {self.life} {len(self.processes)} processes>"

    @property
    def root(self) -> Path:
        """Where its `/` is; made when first needed, so that a machine nobody uses costs no file."""
        if not self._root.exists():
            for name in DIRECTORIES:
                (self._root / name).mkdir(parents=True)
            self._write_identity()
        return self._root

    @property
    def told(self) -> HostMachine:
        """As its host tells of it."""
        pid = 1 if self.life in (Life.RUNNING, Life.PAUSED) else None
        return HostMachine(self.id, self.life, self.reason, pid, self.spec.network, self.spec.resources)

    @property
    def storage(self) -> int:
        """Bytes that are its alone."""
        return size_of(self._root) + (SAVED_MEMORY if self.life is Life.SUSPENDED else 0)

    def renew(self) -> None:
        """It is another instance from now on."""
        self._instance = uuid.uuid4()
        self.was_started = True
        if self._root.exists():
            self._write_identity()

    def _write_identity(self) -> None:
        if self._instance is None:
            return
        id = hashlib.sha256(f"machine-id {self.id}".encode()).hexdigest()[:32]
        files = {"etc/machine-id": id, "etc/hostname": self.spec.hostname, "run/hutch/instance-id": self._instance}
        for path, content in files.items():
            (self._root / path).parent.mkdir(parents=True, exist_ok=True)
            (self._root / path).write_text(f"{content}\n")

    def stand_still(self) -> None:
        """All its processes, at once."""
        for process in self.processes.values():
            process.stand_still()

    def go_on(self) -> None:
        """All its processes."""
        for process in self.processes.values():
            process.go_on()

    async def turn_readers_away(self) -> None:
        """Whoever waits for output is told that there is none."""
        await asyncio.gather(*(process.turn_away() for process in self.processes.values()))

    def save(self, id: SnapshotId, root: Path, is_transient: bool) -> Saved:
        """A copy of it, which nothing changes."""
        copy_tree(self._root, root)
        processes = (*self.waiting, *(process.save() for process in self.processes.values()))
        return Saved(id, self.id, self.spec, root, processes, is_transient)

    def suspend_in(self, saved: Saved) -> None:
        """It has its files, and goes on with its processes when it is started."""
        self.erase()
        copy_tree(saved.root, self._root)
        self.waiting, self.origin, self.processes = saved.processes, saved, {}
        self.life, self.reason = Life.SUSPENDED, None

    async def wake(self) -> None:
        """Its processes go on. On an error it is as before."""
        revived: list[Process] = []
        try:
            for saved in self.waiting:
                revived.append(await Process.revive(saved, self.root))
        except BaseException:
            await asyncio.gather(*(process.end() for process in revived))
            raise
        self.processes.update({process.id: process for process in revived})
        self.waiting, self.origin = (), None
        self.go_on()

    def take_over(self, spare: "Machine") -> None:
        """Files and processes of a machine that is none any more."""
        self.erase()
        if spare._root.exists():
            spare._root.rename(self._root)
        self.processes, spare.processes = spare.processes, {}
        self.console = spare.console

    async def clear(self, grace: float) -> None:
        """Its processes end, and what was in memory is gone."""
        processes, self.processes = list(self.processes.values()), {}
        self.waiting, self.origin = (), None
        await asyncio.gather(*(process.end(grace) for process in processes))
        for name in VOLATILE:
            shutil.rmtree(self._root / name, ignore_errors=True)
        if self._root.exists():
            (self._root / "tmp").mkdir(exist_ok=True)

    def erase(self) -> None:
        """Its disk is gone."""
        shutil.rmtree(self._root, ignore_errors=True)


def size_of(root: Path) -> int:
    """Bytes of the files below it."""
    return sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())


def copy_tree(source: Path, target: Path) -> None:
    """All below it, if it is there."""
    if source.exists():
        shutil.copytree(source, target, symlinks=True, copy_function=_copy)


def _copy(source: str, target: str) -> None:
    kind = os.lstat(source).st_mode
    if stat.S_ISFIFO(kind):
        os.mkfifo(target, stat.S_IMODE(kind))
    elif not stat.S_ISSOCK(kind):
        shutil.copy2(source, target, follow_symlinks=False)
