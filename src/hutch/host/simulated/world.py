"""What a simulated host simulates: machines, images and the box itself, with faults that a test can bring about.

A `World` outlives the `SimulatedHost` objects opened on it, as machines outlive a service: to restart a service in
a test, drop its host, closed or not, and open another on the same world.
"""

import asyncio
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from hutch.host.interface import Capacity, Died, HostMachine, Image, ImageConfig, Life
from hutch.host.simulated.process import Process
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import ImageRef, MachineSpec

DIRECTORIES = ("tmp", "root", "workspace")
VOLATILE = ("tmp", "run", "dev/shm")


class Machine:
    """A directory that stands for a disk, and local processes that stand for a guest's."""

    def __init__(self, id: MachineId, spec: MachineSpec, root: Path) -> None:
        self.id = id
        self.spec = spec
        self.life = Life.STOPPED
        self.reason: str | None = None
        self.processes: dict[str, Process] = {}
        self.console = bytearray()
        self.started_at = 0.0
        self._root = root

    def __repr__(self) -> str:
        return f"<Machine {self.id} {self.life} {len(self.processes)} processes>"

    @property
    def root(self) -> Path:
        """Where its `/` is; made when first needed, so that a machine nobody uses costs no file."""
        if not self._root.exists():
            for name in DIRECTORIES:
                (self._root / name).mkdir(parents=True)
        return self._root

    @property
    def told(self) -> HostMachine:
        """As its host tells of it."""
        pid = 1 if self.life is Life.RUNNING else None
        return HostMachine(self.id, self.life, self.reason, pid)

    async def clear(self, grace: float) -> None:
        """Its processes end, and what was in memory is gone."""
        processes, self.processes = list(self.processes.values()), {}
        await asyncio.gather(*(process.end(grace) for process in processes))
        for name in VOLATILE:
            shutil.rmtree(self._root / name, ignore_errors=True)
        if self._root.exists():
            (self._root / "tmp").mkdir(exist_ok=True)

    def erase(self) -> None:
        """Its disk is gone."""
        shutil.rmtree(self._root, ignore_errors=True)


@dataclass
class Faults:
    """What goes wrong, until a test takes it back."""

    starts: list[Exception] = field(default_factory=list)  # raised by the next starts, in this order
    stops: list[Exception] = field(default_factory=list)
    destroys: list[Exception] = field(default_factory=list)
    gate: asyncio.Event | None = None  # every start waits for it
    silent: set[MachineId] = field(default_factory=set)  # their agents do not answer
    disk_full: bool = False  # of the host: no machine is made, nothing is written


def _default_images() -> dict[str, ImageConfig]:
    plain = ImageConfig(cmd=("sh",), env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
    return dict.fromkeys(("debian", "alpine", "busybox", "python:3.12", "node:22"), plain)


@dataclass
class World:
    """One box. `registry` holds what can be pulled, by reference."""

    root: Path
    cpus: int = 8
    memory_mib: int = 16 * 1024
    disk_gib: int = 200
    registry: dict[str, ImageConfig] = field(default_factory=_default_images)
    faults: Faults = field(default_factory=Faults)
    machines: dict[MachineId, Machine] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)  # by digest
    running: dict[MachineId, Machine] = field(default_factory=dict)
    listener: asyncio.Queue[Died] | None = None  # of the host that is open

    def capacity(self) -> Capacity:
        """What there is, and what running machines leave of it."""
        used = sum(machine.spec.resources.memory_mib for machine in self.running.values())
        return Capacity(self.cpus, self.memory_mib, self.memory_mib - used, self.disk_gib, self.disk_gib)

    def digest_of(self, reference: str) -> ImageRef:
        """What a reference means: its digest is made of its own letters."""
        known = reference.split("@")[0]
        if known not in self.registry:
            raise errors.ImageUnavailable(f"{reference}: manifest unknown: the simulated registry does not have it")
        return ImageRef(reference, f"sha256:{known.encode().hex().ljust(64, '0')[:64]}")

    def run(self, machine: Machine) -> None:
        """It runs from now on."""
        machine.life, machine.reason, machine.started_at = Life.RUNNING, None, time.monotonic()
        self.running[machine.id] = machine

    async def end(self, machine: Machine, life: Life, reason: str | None = None, grace: float = 0.0) -> None:
        """It runs no more."""
        machine.life, machine.reason = life, reason
        self.running.pop(machine.id, None)
        await machine.clear(grace)

    async def die(self, machine: MachineId, reason: str = "killed by a test", clean: bool = False) -> None:
        """It ends unasked: its process died, or (`clean`) the guest shut itself down."""
        life = Life.STOPPED if clean else Life.FAILED
        await self.end(self.machines[machine], life, None if clean else reason)
        if self.listener is not None:
            self.listener.put_nowait(Died(machine, reason, clean))

    async def close(self) -> None:
        """Nothing is left of it."""
        await asyncio.gather(*(self.end(machine, Life.STOPPED) for machine in list(self.running.values())))
        shutil.rmtree(self.root, ignore_errors=True)
