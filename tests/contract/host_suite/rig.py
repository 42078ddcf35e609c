"""What a host is tested with: the host, ways to restart and to harm it, and a few words to use it by."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Protocol

from hutch.host.interface import Host, Life
from hutch.model import guest, ids
from hutch.model.ids import MachineId
from hutch.model.machine import ImageRef, MachineSpec, Resources


class Rig(Protocol):
    """An open host, and power over it. Its guests need what busybox has: `sh`, `cat`, `sleep`, `head`, `seq`, `stty`"""

    host: Host
    image: str  # a reference it can have, and can start quickly

    async def reopen(self) -> Host:
        """Close the host, and open another on the same machines; `host` is that one from then on."""

    async def kill(self, machine: MachineId) -> None:
        """Let a running machine die as if its process had been killed. Works while no host is open."""


async def create(rig: Rig, **changes: object) -> MachineId:
    """A small machine at rest."""
    machine = ids.new_machine_id()
    await rig.host.create(machine, await spec(rig, **changes))
    return machine


async def spec(rig: Rig, **changes: object) -> MachineSpec:
    image: ImageRef = await rig.host.images.resolve(rig.image)
    return dataclasses.replace(MachineSpec(image, Resources(1, 128, 1), hostname="guest"), **changes)  # type: ignore[arg-type]


async def launch(rig: Rig, **changes: object) -> MachineId:
    """A small machine that runs."""
    machine = await create(rig, **changes)
    await rig.host.start(machine)
    return machine


def life(rig: Rig, machine: MachineId) -> Life | None:
    state = rig.host.get(machine)
    return state.life if state is not None else None


@dataclasses.dataclass(frozen=True)
class Result:
    """A process that has ended, and all it wrote."""

    stdout: bytes
    stderr: bytes
    exit: guest.Exit


async def start(rig: Rig, machine: MachineId, line: str, **options: object) -> str:
    """A line of shell, as a process; its id."""
    process = ids.random_id()
    await rig.host.processes.start(machine, process, guest.ProcessSpec(("sh", "-c", line), **options))  # type: ignore[arg-type]
    return process


async def finish(rig: Rig, machine: MachineId, process: str, stdout_at: int = 0, stderr_at: int = 0) -> Result:
    """All a process writes from these offsets on, until it has ended."""
    stdout, stderr = bytearray(), bytearray()
    while True:
        page = await rig.host.processes.read(
            machine, process, stdout_at + len(stdout), stderr_at + len(stderr), wait=20
        )
        assert (page.stdout_at, page.stderr_at) == (stdout_at + len(stdout), stderr_at + len(stderr))
        stdout += page.stdout
        stderr += page.stderr
        if page.exit is not None:
            return Result(bytes(stdout), bytes(stderr), page.exit)


async def run(rig: Rig, machine: MachineId, line: str, **options: object) -> Result:
    """A line of shell, to its end."""
    return await finish(rig, machine, await start(rig, machine, line, **options))


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def put(rig: Rig, machine: MachineId, path: str, content: bytes, mode: int | None = None) -> None:
    await rig.host.files.write(machine, path, chunks(content), mode)


async def get(rig: Rig, machine: MachineId, path: str) -> bytes:
    _, content = await rig.host.files.read(machine, path)
    return b"".join([chunk async for chunk in content])
