"""Small durable files: written whole or not at all, and read back as what they were."""

import dataclasses
import enum
import errno
import json
import os
from pathlib import Path
from typing import Any

from hutch.model import errors


def write_json(path: Path, value: Any, durable: bool = False) -> None:
    """Replace `path` by `value` (dataclasses included) as JSON, atomically; `durable` also survives a power cut.

    Raises `DiskFull`.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("w") as file:
            json.dump(value, file, default=_plain, indent=1)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if is_full(error):
            raise errors.DiskFull("the host's disk is full") from error
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None if there is no file or it does not hold one."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (Path, bytes)):
        return os.fsdecode(value)
    return dict(value) if hasattr(value, "keys") else list(value)  # type: ignore[call-overload]


def free_bytes(path: Path) -> int:
    """What the file system of `path` has left for us."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def require_space(path: Path, needed: int, what: str) -> None:
    """Raise `DiskFull`, naming what there is, unless `needed` bytes are free."""
    free = free_bytes(path)
    if free < needed:
        raise errors.DiskFull(f"{what} needs {needed >> 20} MiB of disk; the host has {free >> 20} MiB free")


def sync(path: Path) -> None:
    """Have a file's bytes survive a power cut. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


sync_directory = sync
"""The same for what a directory's names mean."""


def is_full(error: OSError) -> bool:
    """Whether the host's disk, or our share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
