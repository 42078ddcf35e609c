"""Files in machines. Every call starts a stopped machine first, feeds the idle timer, and needs `machine:files`.

Paths are absolute and normalised here: `InvalidRequest` for any other. `GuestNotFound` and `GuestError` carry the
path and the guest's words.
"""

from collections.abc import AsyncIterator

from hutch.control.keys import Principal
from hutch.model.guest import FileStat
from hutch.model.ids import MachineId


class Files:
    """Files in machines."""

    async def read(self, principal: Principal, machine: MachineId, path: str) -> tuple[FileStat, AsyncIterator[bytes]]:
        """A regular file's stat and bytes, in chunks, pulled: memory stays flat for any size."""
        raise NotImplementedError

    async def write(
        self, principal: Principal, machine: MachineId, path: str, chunks: AsyncIterator[bytes], mode: int | None = None
    ) -> None:
        """Replace or make a file, with missing directories. All or nothing.

        `InvalidRequest` beyond `settings.machines.file_limit` bytes. `mode` None keeps that of the file it replaces,
        else 0644.
        """
        raise NotImplementedError

    async def stat(self, principal: Principal, machine: MachineId, path: str) -> FileStat:
        """Of the path itself: symlinks are not followed."""
        raise NotImplementedError

    async def list(self, principal: Principal, machine: MachineId, path: str) -> list[FileStat]:
        """What a directory holds, by name."""
        raise NotImplementedError

    async def make_directory(self, principal: Principal, machine: MachineId, path: str, mode: int = 0o755) -> None:
        """Make it and what is missing above it; no error if it is there."""
        raise NotImplementedError

    async def remove(self, principal: Principal, machine: MachineId, path: str, recursive: bool = False) -> None:
        """Remove a file, a symlink, or a directory (an empty one unless `recursive`)."""
        raise NotImplementedError
