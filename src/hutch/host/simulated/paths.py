"""A guest's path as one of this box: below the machine's directory, whatever `..` and symlinks say."""

import os
from pathlib import Path

from hutch.model import errors

VOLUMES = ".volumes"
"""The directory that volumes are in."""

_LINKS = 40


def resolve(root: Path, path: str, follow_last: bool = True) -> Path:
    """Where it really is. `GuestError` for too many symlinks."""
    waiting = [part for part in path.split("/") if part not in ("", ".")]
    here = [root]  # and what is above it, as the guest sees it
    links = 0
    while waiting:
        part = waiting.pop(0)
        if part == "..":
            here = here[:-1] or [root]
            continue
        candidate = through(here[-1] / part)
        if candidate.is_symlink() and (waiting or follow_last):
            links += 1
            if links > _LINKS:
                raise errors.GuestError(f"{path}: Too many levels of symbolic links")
            target = os.readlink(candidate)  # noqa: PTH115 (a Path would lose what is not normal about it)
            here = [root] if target.startswith("/") else here
            waiting = [step for step in target.split("/") if step not in ("", ".")] + waiting
        else:
            here.append(candidate)
    return here[-1]


def through(entry: Path) -> Path:
    """The volume that is mounted there; else the entry itself."""
    if entry.is_symlink():
        target = entry.readlink()
        if target.is_absolute() and target.parent.name == VOLUMES:
            return target
    return entry
