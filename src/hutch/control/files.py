"""Files in machines. Every call starts a stopped machine first, feeds the idle timer, and needs `machine:files`.

Paths are absolute: `InvalidRequest` for any other. `GuestNotFound` and `GuestError` carry the path and the guest's
words.
"""

import builtins
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager

from hutch import settings
from hutch.control import requests
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.model import errors
from hutch.model.guest import Change, FileStat, Match
from hutch.model.ids import MachineId

FOUND = 1000
"""What a search tells of, unless told otherwise."""


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

    async def rename(self, principal: Principal, machine: MachineId, path: str, to: str) -> None:
        """Move it, within one file system; replaces a file that is there."""
        path, to = _checked(path), _checked(to)
        async with self._awake(principal, machine) as id:
            await self._host.rename(id, path, to)

    async def change(
        self, principal: Principal, machine: MachineId, path: str, mode: int | None = None, owner: str | None = None
    ) -> None:
        """Set permission bits, and owner ("user", "user:group", or numbers). What is None stays as it is."""
        path, mode = _checked(path), _checked_mode(mode)
        async with self._awake(principal, machine) as id:
            await self._host.change(id, path, mode, owner)

    async def find(
        self, principal: Principal, machine: MachineId, path: str, pattern: str, limit: int = FOUND
    ) -> builtins.list[FileStat]:
        """The first `limit` below a directory whose name matches a shell pattern (`*.py`); links are not followed."""
        path = _checked(path)
        async with self._awake(principal, machine) as id:
            return await self._host.find(id, path, pattern, limit)

    async def search(
        self, principal: Principal, machine: MachineId, path: str, text: str, limit: int = FOUND
    ) -> builtins.list[Match]:
        """The first `limit` lines of regular text files at or below a path that hold this text, literally."""
        path = _checked(path)
        async with self._awake(principal, machine) as id:
            return await self._host.search(id, path, text, limit)

    async def watch(
        self, principal: Principal, machine: MachineId, path: str, recursive: bool = False
    ) -> AsyncGenerator[Change, None]:
        """What happens to the files of a directory, from the first `anext` on, until it is closed. Use while it lasts.

        It ends with `GuestNotFound` when the directory is gone, `GuestError` when more happened than could be told of,
        and `NotRunning` when the machine stands still or ends.
        """
        path = _checked(path)
        async with (
            self._awake(principal, machine) as id,
            contextlib.aclosing(self._host.watch(id, path, recursive)) as changes,
        ):
            async for change in changes:
                yield change

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
