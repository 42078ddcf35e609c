"""Files in machines. Every call starts a stopped machine first, feeds the idle timer, and needs `machine:files`.

Paths are absolute: `InvalidRequest` for any other. `GuestNotFound` and `GuestError` carry the path and the guest's
words.
"""

import builtins
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from hutch import settings
from hutch.control import requests
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.model import errors
from hutch.model.guest import FileStat
from hutch.model.ids import MachineId


class Files:
    """Files in machines."""

    def __init__(self, fleet: Fleet, limits: settings.Machines) -> None:
        self._fleet = fleet
        self._host = fleet.host.files
        self._limits = limits

    async def read(self, principal: Principal, machine: MachineId, path: str) -> tuple[FileStat, AsyncIterator[bytes]]:
        """A regular file's stat and bytes, in chunks, pulled: memory stays flat for any size."""
        path = _checked(path)
        async with self._awake(principal, machine) as id:
            stat, chunks = await self._host.read(id, path)
            return stat, self._counted(id, chunks)

    async def _counted(self, machine: MachineId, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same, as activity for as long as it lasts."""
        with self._fleet.busy(machine):
            async for chunk in chunks:
                yield chunk

    async def write(
        self, principal: Principal, machine: MachineId, path: str, chunks: AsyncIterator[bytes], mode: int | None = None
    ) -> None:
        """Replace or make a file, with missing directories. All or nothing.

        `InvalidRequest` beyond `settings.machines.file_limit` bytes. `mode` None keeps that of the file it replaces,
        else 0644.
        """
        path, mode = _checked(path), _checked_mode(mode)
        async with self._awake(principal, machine) as id:
            await self._host.write(id, path, _limited(path, chunks, self._limits.file_limit), mode)

    async def stat(self, principal: Principal, machine: MachineId, path: str) -> FileStat:
        """Of the path itself: symlinks are not followed."""
        path = _checked(path)
        async with self._awake(principal, machine) as id:
            return await self._host.stat(id, path)

    async def make_directory(self, principal: Principal, machine: MachineId, path: str, mode: int = 0o755) -> None:
        """Make it and what is missing above it; no error if it is there."""
        path = _checked(path)
        _checked_mode(mode)
        async with self._awake(principal, machine) as id:
            await self._host.make_directory(id, path, mode)

    async def remove(self, principal: Principal, machine: MachineId, path: str, recursive: bool = False) -> None:
        """Remove a file, a symlink, or a directory (an empty one unless `recursive`)."""
        path = _checked(path)
        async with self._awake(principal, machine) as id:
            await self._host.remove(id, path, recursive)

    async def list(self, principal: Principal, machine: MachineId, path: str) -> builtins.list[FileStat]:
        """What a directory holds, by name."""
        path = _checked(path)
        async with self._awake(principal, machine) as id:
            return await self._host.list(id, path)

    def _awake(self, principal: Principal, machine: MachineId) -> AbstractAsyncContextManager[MachineId]:
        return self._fleet.awake(self._fleet.entry(principal, machine, "machine:files"))


async def _limited(path: str, chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise errors.InvalidRequest(f"{path}: more than {limit} bytes, the most one file may have here")
        yield chunk


def _checked(path: str) -> str:
    """An absolute path, without the second slash that some clients put first."""
    requests.check_path("path", path)
    return "/" + path.lstrip("/")


def _checked_mode(mode: int | None) -> int | None:
    if mode is not None and not 0 <= mode <= 0o7777:
        raise errors.InvalidRequest(f"mode {mode:o}: permission bits are 0 to 7777 (octal)")
    return mode
