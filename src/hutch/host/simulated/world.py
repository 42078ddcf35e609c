"""What a simulated host simulates: machines, images and the box itself, with faults that a test can bring about.

A `World` outlives the `SimulatedHost` objects opened on it, as machines outlive a service: to restart a service in
a test, drop its host, closed or not, and open another on the same world.
"""

import asyncio
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from hutch.host.interface import Capacity, Died, Image, ImageConfig, Life
from hutch.host.simulated import paths
from hutch.host.simulated.machine import Machine, Saved
from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId, VolumeId
from hutch.model.machine import ImageRef


@dataclass
class Faults:
    """What goes wrong, until a test takes it back."""

    starts: list[Exception] = field(default_factory=list)  # raised by the next starts, in this order
    stops: list[Exception] = field(default_factory=list)
    destroys: list[Exception] = field(default_factory=list)
    gate: asyncio.Event | None = None  # every start waits for it
    fails: defaultdict[str, list[Exception]] = field(default_factory=lambda: defaultdict(list))  # the same of any other
    gates: dict[str, asyncio.Event] = field(default_factory=dict)  # verb, by its name: stop, suspend, claim, …
    silent: set[MachineId] = field(default_factory=set)  # their agents do not answer
    disk_full: bool = False  # of the host: no machine is made, nothing is written

    async def meet(self, verb: str) -> None:
        """What a test has put in the way of a verb that is no start, stop or destroy."""
        if verb in self.gates:
            await self.gates[verb].wait()
        if self.fails[verb]:
            raise self.fails[verb].pop(0)


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
    running: dict[MachineId, Machine] = field(default_factory=dict)  # paused ones too
    sent: dict[MachineId, int] = field(default_factory=dict)  # bytes by their processes, as a test says
    received: dict[MachineId, int] = field(default_factory=dict)  # the same
    snapshots: dict[SnapshotId, Saved] = field(default_factory=dict)
    volumes: dict[VolumeId, int] = field(default_factory=dict)  # their sizes in GiB
    listener: asyncio.Queue[Died] | None = None  # of the host that is open

    def volume(self, volume: VolumeId) -> Path:
        """The directory of a volume."""
        return self.root / paths.VOLUMES / volume

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

    async def pause(self, machine: Machine, life: Life = Life.PAUSED) -> None:
        """It stands still: in memory, or (`SUSPENDED`) without a process."""
        machine.stand_still()
        machine.life = life
        if life is Life.SUSPENDED:
            self.running.pop(machine.id, None)
        await machine.turn_readers_away()

    def damage(self, snapshot: SnapshotId, part: str = "memory") -> None:
        """A byte of a snapshot's manifest, devices, memory or disk is not what was saved."""
        self.snapshots[snapshot].damaged.append(part)

    def drop(self, snapshot: SnapshotId) -> None:
        """It is no more, if it was."""
        saved = self.snapshots.pop(snapshot, None)
        if saved is not None:
            shutil.rmtree(saved.root, ignore_errors=True)

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
        holding = [it for it in self.machines.values() if it.processes or it.id in self.running]
        await asyncio.gather(*(self.end(machine, Life.STOPPED) for machine in holding))
        shutil.rmtree(self.root, ignore_errors=True)
