"""Conversations with guests: the host interface's processes and files, carried to the agent of the machine named."""

import builtins
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from hutch.host.images.local import LocalImages
from hutch.host.machines import identity
from hutch.host.machines.owner import Owner
from hutch.model import errors, guest
from hutch.model.ids import MachineId

OwnerOf = Callable[[MachineId], Owner]


class GuestProcesses:
    """Implements `hutch.host.interface.Processes`."""

    def __init__(self, owner: OwnerOf, images: LocalImages) -> None:
        self._owner = owner
        self._images = images

    async def start(self, machine: MachineId, process: str, spec: guest.ProcessSpec) -> guest.ProcessInfo:
        """See the interface."""
        owner = self._owner(machine)
        image = self._images.get(owner.journal.spec.image.digest)
        async with owner.talking() as agent:
            pid = await agent.processes.start(process, identity.with_defaults(spec, owner.journal, image))
        return guest.ProcessInfo(process, pid, spec.argv, time.time(), 0, 0)

    async def read(
        self, machine: MachineId, process: str, stdout_at: int, stderr_at: int, wait: float, limit: int = 256 * 1024
    ) -> guest.Output:
        """See the interface."""
        agent = await self._owner(machine).agent()
        return await agent.processes.read(process, stdout_at, stderr_at, wait, limit)

    async def write(self, machine: MachineId, process: str, data: bytes, end: bool = False) -> None:
        """See the interface."""
        async with self._owner(machine).talking() as agent:
            await agent.processes.write(process, data, end)

    async def signal(self, machine: MachineId, process: str, number: int) -> None:
        """See the interface."""
        await (await self._owner(machine).agent()).processes.signal(process, number)

    async def resize(self, machine: MachineId, process: str, size: guest.TerminalSize) -> None:
        """See the interface."""
        await (await self._owner(machine).agent()).processes.resize(process, size)

    async def list(self, machine: MachineId) -> list[guest.ProcessInfo]:
        """See the interface."""
        return await (await self._owner(machine).agent()).processes.list()

    async def forget(self, machine: MachineId, process: str) -> None:
        """See the interface."""
        with contextlib.suppress(errors.GuestNotFound):
            await (await self._owner(machine).agent()).processes.forget(process)


class GuestFiles:
    """Implements `hutch.host.interface.Files`."""

    def __init__(self, owner: OwnerOf) -> None:
        self._owner = owner

    async def read(self, machine: MachineId, path: str) -> tuple[guest.FileStat, AsyncIterator[bytes]]:
        """See the interface."""
        return await (await self._owner(machine).agent()).files.read(path)

    async def write(self, machine: MachineId, path: str, chunks: AsyncIterator[bytes], mode: int | None = None) -> None:
        """See the interface."""
        async with self._owner(machine).talking() as agent:
            await agent.files.write(path, chunks, mode)

    async def stat(self, machine: MachineId, path: str) -> guest.FileStat:
        """See the interface."""
        return await (await self._owner(machine).agent()).files.stat(path)

    async def list(self, machine: MachineId, path: str) -> list[guest.FileStat]:
        """See the interface."""
        return await (await self._owner(machine).agent()).files.list(path)

    async def make_directory(self, machine: MachineId, path: str, mode: int = 0o755) -> None:
        """See the interface."""
        await (await self._owner(machine).agent()).files.make_directory(path, mode)

    async def remove(self, machine: MachineId, path: str, recursive: bool = False) -> None:
        """See the interface."""
        await (await self._owner(machine).agent()).files.remove(path, recursive)

    async def rename(self, machine: MachineId, path: str, to: str) -> None:
        """See the interface."""
        await (await self._owner(machine).agent()).files.rename(path, to)

    async def change(self, machine: MachineId, path: str, mode: int | None, owner: str | None) -> None:
        """See the interface."""
        await (await self._owner(machine).agent()).files.change(path, mode, owner)

    async def find(
        self, machine: MachineId, path: str, pattern: str, limit: int = 1000
    ) -> builtins.list[guest.FileStat]:
        """See the interface."""
        return await (await self._owner(machine).agent()).files.find(path, pattern, limit)

    async def search(self, machine: MachineId, path: str, text: str, limit: int = 1000) -> builtins.list[guest.Match]:
        """See the interface."""
        return await (await self._owner(machine).agent()).files.search(path, text, limit)

    async def watch(
        self,
        machine: MachineId,
        path: str,
        recursive: bool = False,
        skip: Sequence[str] = (),
        on_open: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[guest.Change]:
        """See the interface."""
        agent = await self._owner(machine).agent()
        async with contextlib.aclosing(agent.files.watch(path, recursive, skip, on_open)) as changes:
            async for change in changes:
                yield change
