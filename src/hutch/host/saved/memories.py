"""Whole memories of guests, which machines made of a saved state map privately, as those of a template map that one's.

A file is named by the sum of what it holds: so it can be verified, and nobody need remember its sum. It is immutable
once it has its name. Who needs which is told by the manifests and journals alone: what none of them names is removed.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hutch.host import files
from hutch.host.paths import Paths
from hutch.host.saved import memory
from hutch.host.templates.templates import TEMPLATE_IDS
from hutch.host.trash import Trash
from hutch.model import errors, ids

_CHUNK = memory.CHUNK
_EMPTY = bytes(_CHUNK)
_NO_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Memories:
    """The memory files of one host's saved states."""

    def __init__(self, paths: Paths, trash: Trash, first_group: int | None) -> None:
        """`first_group` of those that may map one (see `Templates`); None if we are not root."""
        self._paths = paths
        self._trash = trash
        self._first_group = first_group
        self.turn = asyncio.Lock()  # for whoever writes one: what others are about to write is not seen on the disk

    def open(self) -> None:
        """Remove what is unfinished."""
        for path in self._paths.memories.iterdir():
            if path.name.startswith("."):
                path.unlink(missing_ok=True)

    async def write(self, size: int, below: Path | None, runs: memory.Runs, pages: Path) -> tuple[str, Path]:
        """A memory of so many bytes: all of `below`, if any, and over it the saved pages. On the platters.

        Its name, and where it is until `publish`. On an error nothing is left. `DiskFull`, `MachineFailed`.
        """
        building = self._paths.memories / f".{ids.random_id()}"
        try:
            file = building.open("x+b")  # here, so that a cancelled thread has nothing left to make
            return await asyncio.to_thread(self._write, file, size, below, runs, pages), building
        except BaseException as error:
            building.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            if files.is_full(error):
                raise errors.DiskFull("the host's disk is full: the saved state is as it was") from error
            words = error.strerror or error
            raise errors.MachineFailed(f"the memory of the saved state cannot be copied: {words}") from error

    def publish(self, name: str, building: Path) -> None:
        """It has its name from now on; to be written into a manifest in the same breath."""
        path = self._paths.memory(name)
        if path.exists():  # and may be mapped: another file would not be what those processes have
            building.unlink()
            return
        building.rename(path)
        files.sync_directory(path.parent)

    def collect(self, used: set[str]) -> None:
        """Remove all that is not used."""
        for path in self._paths.memories.iterdir():
            if not path.name.startswith(".") and path.name not in used:
                self._trash.take(path)

    def group(self, name: str) -> int | None:
        """The group that may map it; None if we are not root."""
        return None if self._first_group is None else self._paths.memory(name).stat().st_gid

    def size(self, name: str) -> int:
        """Bytes it takes on the host's disk; 0 if it is not there."""
        with contextlib.suppress(FileNotFoundError):
            return self._paths.memory(name).stat().st_blocks * 512
        return 0

    def check(self, name: str, size: int) -> None:
        """`Damaged` unless it is there, and so large. What it holds is not read: that is for `differs`."""
        path = self._paths.memory(name)
        there = path.stat().st_size if path.exists() else 0
        if there != size:
            raise errors.Damaged(f"the whole memory {name[:12]} of the saved state has {there} bytes, not {size}")

    async def differs(self, name: str) -> bool:
        """Whether it is not there, or not what its name says."""
        try:
            return await asyncio.to_thread(_name_of, self._paths.memory(name)) != name
        except OSError:
            return True

    def _write(self, file: BinaryIO, size: int, below: Path | None, runs: memory.Runs, pages: Path) -> str:
        with file:
            descriptor = file.fileno()
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, size)
            if below is not None:
                _copy(below, descriptor)
            memory.lay(runs, pages, descriptor)
            name = _name(descriptor)
            if self._first_group is not None:  # as of a template, and for the same reason
                os.fchown(descriptor, 0, self._first_group + int(name, 16) % TEMPLATE_IDS)
                os.fchmod(descriptor, 0o660)
            os.fsync(descriptor)
        return name


def _name_of(path: Path) -> str:
    with path.open("rb") as file:
        return _name(file.fileno())


def _name(descriptor: int) -> str:
    """SHA-256 over a file's size and its chunks that are not empty, each after its place: however sparse it lies."""
    digest = hashlib.sha256(os.fstat(descriptor).st_size.to_bytes(8, "little"))
    after = 0
    for first, last in _extents(descriptor):
        for at in range(max(after, first - first % _CHUNK), last, _CHUNK):
            chunk, after = os.pread(descriptor, _CHUNK, at), at + _CHUNK
            if chunk != _EMPTY[: len(chunk)]:
                digest.update(at.to_bytes(8, "little"))
                digest.update(chunk)
    return digest.hexdigest()


def _extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where a file has anything: from, to."""
    last = 0
    while True:
        try:
            first = os.lseek(descriptor, last, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # there is nothing more
                return
            raise
        last = os.lseek(descriptor, first, os.SEEK_HOLE)
        yield first, last


def _copy(source: Path, target: int) -> None:
    """All that a file has, to where it is there; holes stay holes. Shared, where the file system can do that."""
    with source.open("rb") as file:
        for at, last in _extents(file.fileno()):
            while at < last:
                count = _copy_range(file.fileno(), target, last - at, at)
                if not count:
                    raise OSError(errno.EIO, "the memory below ends too early")
                at += count


def _copy_range(source: int, target: int, count: int, at: int) -> int:
    try:
        return os.copy_file_range(source, target, count, at, at)
    except OSError as error:
        if error.errno not in _NO_COPY:
            raise
    os.lseek(target, at, os.SEEK_SET)
    return os.sendfile(target, source, at, count)
