"""Files in simulated guests: those below the machine's directory."""

import builtins
import contextlib
import os
import shutil
import stat as modes
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from hutch.host.simulated import looking, paths
from hutch.host.simulated.machine import Machine
from hutch.host.simulated.world import World
from hutch.model import errors, ids
from hutch.model.guest import Change, FileKind, FileStat, Match
from hutch.model.ids import MachineId

_CHUNK = 256 * 1024


class SimulatedFiles:
    """Implements `hutch.host.interface.Files`; `reach` gives a running machine whose agent answers, or raises."""

    def __init__(self, world: World, reach: Callable[[MachineId], Machine]) -> None:
        self._world = world
        self._reach = reach

    async def read(self, machine: MachineId, path: str) -> tuple[FileStat, AsyncIterator[bytes]]:
        real = self._real(machine, path)
        with _told(path):
            stat = _stat(path, real)
            if stat.kind is FileKind.DIRECTORY:
                raise errors.GuestError(f"{path}: Is a directory")
            if stat.kind is not FileKind.FILE:
                raise errors.GuestError(f"{path}: not a regular file")
            return stat, self._chunks(machine, path, real)

    async def write(self, machine: MachineId, path: str, chunks: AsyncIterator[bytes], mode: int | None = None) -> None:
        real = self._writable(machine, path)
        with _told(path):
            if real.is_dir():
                raise errors.GuestError(f"{path}: Is a directory")
            real.parent.mkdir(parents=True, exist_ok=True)
            temporary = real.with_name(f".hutch-{ids.random_id()}")
            file = temporary.open("wb")
        try:
            with file:
                async for chunk in chunks:  # its errors are the caller's own
                    self._reach(machine)
                    if self._world.faults.disk_full:
                        raise errors.GuestDiskFull(f"{path}: No space left on device")
                    file.write(chunk)
            with _told(path):
                temporary.chmod(_mode(real) if mode is None else mode)
                temporary.replace(real)
        finally:
            temporary.unlink(missing_ok=True)

    async def stat(self, machine: MachineId, path: str) -> FileStat:
        with _told(path):
            return _stat(path, self._real(machine, path, follow_last=False))

    async def list(self, machine: MachineId, path: str) -> list[FileStat]:
        real = self._real(machine, path)
        with _told(path):
            entries = sorted(real.iterdir())
            return [_stat(f"{path.rstrip('/')}/{entry.name}", paths.through(entry)) for entry in entries]

    async def make_directory(self, machine: MachineId, path: str, mode: int = 0o755) -> None:
        real = self._writable(machine, path)
        with _told(path):
            if not real.is_dir():
                real.mkdir(parents=True)
                real.chmod(mode)

    async def remove(self, machine: MachineId, path: str, recursive: bool = False) -> None:
        real = self._writable(machine, path, follow_last=False)
        with _told(path):
            if real.is_symlink() or not real.is_dir():
                real.unlink()
            elif recursive:
                shutil.rmtree(real)
            else:
                real.rmdir()

    async def rename(self, machine: MachineId, path: str, to: str) -> None:
        real, target = self._writable(machine, path, follow_last=False), self._writable(machine, to, follow_last=False)
        with _told(path):
            real.lstat()
        with _told(to):
            real.rename(target)

    async def change(self, machine: MachineId, path: str, mode: int | None, owner: str | None) -> None:
        if mode is None and owner is None:
            raise errors.GuestError("either mode or owner must be given")
        real = self._writable(machine, path)
        with _told(path):
            kept = modes.S_IMODE(real.stat().st_mode)
            if owner is not None:
                looking.give(real, owner)
            real.chmod(kept if mode is None else mode)

    async def find(self, machine: MachineId, path: str, pattern: str, limit: int = 1000) -> builtins.list[FileStat]:
        with _told(path):
            return looking.find(path, self._real(machine, path), pattern, limit, _stat)

    async def search(self, machine: MachineId, path: str, text: str, limit: int = 1000) -> builtins.list[Match]:
        with _told(path):
            return looking.search(path, self._real(machine, path), text, limit)

    async def watch(
        self,
        machine: MachineId,
        path: str,
        recursive: bool = False,
        skip: Sequence[str] = (),
        on_open: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[Change]:
        with _told(path):
            changes = looking.watch(path, lambda: self._real(machine, path), recursive, skip, on_open)
            async with contextlib.aclosing(changes):
                async for change in changes:
                    yield change

    async def _chunks(self, machine: MachineId, path: str, real: Path) -> AsyncIterator[bytes]:
        with _told(path), real.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
                self._reach(machine)

    def _real(self, machine: MachineId, path: str, follow_last: bool = True) -> Path:
        return paths.resolve(self._reach(machine).root, path, follow_last)

    def _writable(self, machine: MachineId, path: str, follow_last: bool = True) -> Path:
        real = self._real(machine, path, follow_last)
        for mount in self._reach(machine).spec.mounts:
            if mount.readonly and real.is_relative_to(self._world.volume(mount.volume)):
                raise errors.GuestError(f"{path}: Read-only file system")
        return real


def _mode(real: Path) -> int:
    return modes.S_IMODE(real.stat().st_mode) if real.exists() else 0o644


def _stat(path: str, real: Path) -> FileStat:
    seen = real.lstat()
    kinds = {modes.S_IFREG: FileKind.FILE, modes.S_IFDIR: FileKind.DIRECTORY, modes.S_IFLNK: FileKind.SYMLINK}
    kind = kinds.get(modes.S_IFMT(seen.st_mode), FileKind.OTHER)
    target = os.readlink(real) if kind is FileKind.SYMLINK else None  # noqa: PTH115
    mode = modes.S_IMODE(seen.st_mode)
    return FileStat(path, kind, seen.st_size, mode, seen.st_uid, seen.st_gid, seen.st_mtime, target)


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """The kernel's errors as a guest's."""
    try:
        yield
    except FileNotFoundError as error:
        raise errors.GuestNotFound(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise errors.GuestError(f"{path}: {error.strerror}") from None
