"""A tiny language for tests with real machines: launch, run, die; and a check that nothing is left."""

import asyncio
import contextlib
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from hutch.host.interface import Host, ignore_progress
from hutch.host.network.slot import Plan
from hutch.host.paths import Paths
from hutch.host.qemu import process
from hutch.model import guest, ids
from hutch.model.ids import MachineId
from hutch.model.machine import MachineSpec, NetworkPolicy, Resources

ANY = IPv4Network("10.213.0.0/20")  # names do not come of it


@dataclass(frozen=True)
class Result:
    """A command that ended."""

    stdout: bytes
    stderr: bytes
    exit: guest.Exit

    @property
    def text(self) -> str:
        return self.stdout.decode().strip()


class Machine:
    """One machine under test."""

    def __init__(self, host: Host, id: MachineId) -> None:
        self.host, self.id = host, id

    async def run(self, command: str | tuple[str, ...], check: bool = True, **options: object) -> Result:
        """A shell line or an argv, to its end; fails the test unless it ends with 0."""
        argv = ("sh", "-c", command) if isinstance(command, str) else command
        name = uuid.uuid4().hex
        await self.host.processes.start(self.id, name, guest.ProcessSpec(argv, **options))  # type: ignore[arg-type]
        result = await self.finish(name)
        await self.host.processes.forget(self.id, name)
        assert not check or result.exit.code == 0, result
        return result

    async def finish(self, name: str, stdout: int = 0, stderr: int = 0) -> Result:
        """All output of a process from these offsets on."""
        out, err = bytearray(), bytearray()
        while True:
            page = await self.host.processes.read(self.id, name, stdout + len(out), stderr + len(err), wait=60)
            out += page.stdout
            err += page.stderr
            if page.exit is not None:
                return Result(bytes(out), bytes(err), page.exit)

    @property
    def pid(self) -> int:
        state = self.host.get(self.id)
        assert state is not None
        assert state.pid is not None
        return state.pid


class Launcher:
    """Makes machines on a host, and ends them all."""

    def __init__(self, host: Host, image: str) -> None:
        self.host, self.image = host, image
        self.made: list[MachineId] = []

    async def create(self, image: str | None = None, memory: int = 128, cpus: int = 1, **spec: object) -> Machine:
        """A machine at rest."""
        disk, snapshot = spec.pop("disk", 20), spec.pop("snapshot", None)
        id = ids.new_machine_id()
        self.made.append(id)
        await self.host.create(
            id,
            MachineSpec(
                image=await self.host.images.resolve(image or self.image),
                resources=Resources(cpus, memory, disk),  # type: ignore[arg-type]
                hostname=str(spec.pop("hostname", f"m-{id[:6]}")),
                network=spec.pop("network", NetworkPolicy()),  # type: ignore[arg-type]
                **spec,  # type: ignore[arg-type]
            ),
            snapshot,  # type: ignore[arg-type]
        )
        return Machine(self.host, id)

    async def launch(self, image: str | None = None, **spec: object) -> Machine:
        """A running machine."""
        machine = await self.create(image, **spec)
        await self.host.start(machine.id, ignore_progress)
        return machine

    async def destroy_all(self) -> None:
        for id in self.made:
            await self.host.destroy(id)
        for snapshot in self.host.snapshots():
            await self.host.remove_snapshot(snapshot.id)
        for volume in self.host.volumes.list():
            await self.host.volumes.remove(volume.id)


def traces(home: Path) -> dict[str, list[str]]:
    """All of the box that a machine could leave behind."""
    tag = Paths(home).tag
    links = tuple(f"{Plan(tag, ANY).link_prefix}{digit}" for digit in range(10))  # those of slots

    def told(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()

    return {
        "processes": sorted(name for name, _ in process.processes_named(tag)),
        "namespaces": sorted(line.split()[0] for line in told("ip", "netns", "list") if line.startswith(tag)),
        "links": sorted(name for line in told("ip", "-o", "link") if (name := line.split(": ")[1]).startswith(links)),
        "rules": [table for table in told("nft", "list", "tables") if " hutch-" not in table],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if str(home) in line],
        "machines": sorted(path.name for path in (home / "machines").glob("*")),
        "layers": sorted(path.name for path in (home / "layers").glob("*")),
        "memories": sorted(path.name for path in (home / "memories").glob("*")),
        "states": sorted(path.name for path in (home / "states").glob("*")),
        "volumes": sorted(path.name for path in (home / "volumes").glob("*")),
        "runs": sorted(path.name for path in (home / "runs").glob("*")),
        "unfinished": sorted(str(path) for path in home.glob("*/.*")),
    }


@contextlib.asynccontextmanager
async def launching(host: Host, image: str, home: Path) -> AsyncIterator[Launcher]:
    """A launcher whose machines are gone at the end, without a trace."""
    before = traces(home)
    launcher = Launcher(host, image)
    try:
        yield launcher
    finally:
        await launcher.destroy_all()
    assert await left(home, before) == before


async def left(home: Path, before: dict[str, list[str]]) -> dict[str, list[str]]:
    """What was there before, and what is there besides once nothing is, or never will be: equal if nothing was left.

    Networks are removed in the background; what a service that had just opened was removing still need not be there.
    """
    return await asyncio.to_thread(left_by_service, home, before)


def left_by_service(home: Path, before: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same, of a service in another process."""
    deadline = time.monotonic() + 30
    while (after := _with_what_came(traces(home), before)) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    return after


def _with_what_came(now: dict[str, list[str]], before: dict[str, list[str]]) -> dict[str, list[str]]:
    return {kind: [*there, *(one for one in now[kind] if one not in there)] for kind, there in before.items()}
