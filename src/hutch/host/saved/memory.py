"""A guest's memory from outside its process: which pages it wrote, saving them, and putting them back.

QEMU maps the memory file privately, so what the guest wrote is anonymous memory of its process (proc(5), pagemap):
present or swapped out, and not a page of the file. The guest must stand still while pages are read or written.
"""

import hashlib
import mmap
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hutch.model import errors

PAGE = mmap.PAGESIZE
CHUNK = 2**20
_PRESENT, _SWAPPED, _OF_FILE = 0x80, 0x40, 0x20  # of an entry's highest byte: bits 63, 62 and 61
_WRITTEN = bytes(int(bool(top & (_PRESENT | _SWAPPED)) and not top & _OF_FILE) for top in range(256))
_RUN = re.compile(b"\x01+")

Runs = Sequence[tuple[int, int]]
"""Pages that follow one another: the first one's number, and how many."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where a process has its guest's memory."""

    pid: int
    base: int  # address
    size: int  # bytes


def find(pid: int, memory: Path) -> Mapping:
    """The mapping of a memory file in a process. `MachineFailed` if there is none.

    By its inode, and by its device or its path: btrfs and overlayfs tell another device there than stat(2) does.
    """
    wanted = memory.stat()
    device = f"{os.major(wanted.st_dev):02x}:{os.minor(wanted.st_dev):02x}"
    path = str(memory.resolve())
    try:
        with Path(f"/proc/{pid}/maps").open() as maps:
            for line in maps:
                span, _, offset, on, inode, *name = line.rstrip("\n").split(maxsplit=5)
                if int(inode) == wanted.st_ino and (on == device or name == [path]):
                    return Mapping(pid, int(span.split("-")[0], 16) - int(offset, 16), wanted.st_size)
    except OSError as error:
        raise errors.MachineFailed(f"the memory of process {pid} cannot be read: {error.strerror}") from error
    raise errors.MachineFailed(f"process {pid} does not map the memory file it was started with")


def written(mapping: Mapping) -> Runs:
    """The pages that are the process's own. `MachineFailed` if it has ended."""
    try:
        return _written(mapping)
    except OSError as error:
        raise errors.MachineFailed(f"the page table of process {mapping.pid} cannot be read") from error


def _written(mapping: Mapping) -> Runs:
    with Path(f"/proc/{mapping.pid}/pagemap").open("rb", buffering=0) as pagemap:
        entries = bytearray(mapping.size // PAGE * 8)
        pagemap.seek(mapping.base // PAGE * 8)
        view = memoryview(entries)
        while view:  # one read gives at most what the kernel likes
            count = pagemap.readinto(view)
            if not count:
                raise errors.MachineFailed(f"the page table of process {mapping.pid} ends too early")
            view = view[count:]
    flags = entries[7::8].translate(_WRITTEN)
    return [(run.start(), run.end() - run.start()) for run in _RUN.finditer(flags)]


def size(runs: Runs) -> int:
    """Bytes in all."""
    return PAGE * sum(count for _, count in runs)


def save(mapping: Mapping, runs: Runs, path: Path) -> None:
    """Copy pages into a new file, one after the other. Raises `OSError`."""
    buffer = memoryview(mmap.mmap(-1, CHUNK))
    source = os.open(f"/proc/{mapping.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with path.open("xb", buffering=0) as target:
            filled = 0
            for first, count in runs:
                at, left = mapping.base + first * PAGE, count * PAGE
                while left:
                    step = min(left, CHUNK - filled)
                    _read(source, buffer[filled : filled + step], at)
                    filled, at, left = filled + step, at + step, left - step
                    if filled == CHUNK:
                        _write(target.fileno(), buffer)
                        filled = 0
            _write(target.fileno(), buffer[:filled])
    finally:
        os.close(source)


def load(mapping: Mapping, runs: Runs, path: Path) -> None:
    """Put saved pages back. Raises `OSError`."""
    if not runs:
        return
    target = os.open(f"/proc/{mapping.pid}/mem", os.O_WRONLY | os.O_CLOEXEC)
    try:
        lay(runs, path, target, mapping.base)
    finally:
        os.close(target)


def lay(runs: Runs, path: Path, target: int, base: int = 0) -> None:
    """Write saved pages to where they belong in what begins at `base` of a descriptor. Raises `OSError`."""
    if not runs:
        return
    with path.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        view, at = memoryview(pages), 0
        try:
            for first, count in runs:
                os.lseek(target, base + first * PAGE, os.SEEK_SET)
                _write(target, view[at : at + count * PAGE])
                at += count * PAGE
        finally:
            view.release()


def _read(source: int, into: memoryview, at: int) -> None:
    while into:
        count = os.preadv(source, [into], at)
        if count <= 0:
            raise OSError("the memory of the process ends too early")
        into, at = into[count:], at + count


def _write(target: int, data: memoryview) -> None:
    while data:
        data = data[os.write(target, data) :]


def checksum(path: Path) -> str:
    """The SHA-256 of a file's bytes. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
