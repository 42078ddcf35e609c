"""What a host is tested with: the host, ways to restart and to harm it, and a few words to use it by."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Protocol

from hutch.host.interface import Host, Life
from hutch.model import guest, ids
from hutch.model.ids import MachineId, SnapshotId
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


COUNT = "i=0; while read word; do i=$((i+1)); echo $i $word; done"
"""A line of shell that counts, in its memory, the words it is told."""


async def count(rig: Rig, machine: MachineId) -> str:
    """A process that has counted to one."""
    process = await start(rig, machine, COUNT, stdin=True)
    assert await tell(rig, machine, process, "one") == "1 one"
    return process


async def tell(rig: Rig, machine: MachineId, process: str, word: str) -> str:
    """What a counting process says to a word."""
    info = next(info for info in await rig.host.processes.list(machine) if info.id == process)
    await rig.host.processes.write(machine, process, f"{word}\n".encode())
    page = await rig.host.processes.read(machine, process, info.stdout_bytes, 0, wait=20)
    return page.stdout.decode().strip()


async def snapshot(rig: Rig, machine: MachineId, transient: bool = False) -> SnapshotId:
    """A snapshot of it; its id."""
    id = ids.new_snapshot_id()
    state = await rig.host.snapshot(machine, id, transient)
    assert (state.id, state.machine) == (id, machine)
    return id


async def clone(rig: Rig, snapshot: SnapshotId, **changes: object) -> MachineId:
    """A machine suspended in a snapshot."""
    machine = ids.new_machine_id()
    await rig.host.create(machine, await spec(rig, **changes), snapshot)
    return machine


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def put(rig: Rig, machine: MachineId, path: str, content: bytes, mode: int | None = None) -> None:
    await rig.host.files.write(machine, path, chunks(content), mode)


async def get(rig: Rig, machine: MachineId, path: str) -> bytes:
    _, content = await rig.host.files.read(machine, path)
    return b"".join([chunk async for chunk in content])
