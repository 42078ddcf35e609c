"""A guest's path as one of this box: below the machine's directory, whatever `..` and symlinks say."""

import os
from pathlib import Path

from hutch.model import errors

_LINKS = 40


def resolve(root: Path, path: str, follow_last: bool = True) -> Path:
    """Where it really is. `GuestError` for too many symlinks."""
    waiting = [part for part in path.split("/") if part not in ("", ".")]
    here: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop(0)
        if part == "..":
            here = here[:-1]
            continue
        candidate = root.joinpath(*here, part)
        if candidate.is_symlink() and (waiting or follow_last):
            links += 1
            if links > _LINKS:
                raise errors.GuestError(f"{path}: Too many levels of symbolic links")
            target = os.readlink(candidate)  # noqa: PTH115 (a Path would lose what is not normal about it)
            here = [] if target.startswith("/") else here
            waiting = [step for step in target.split("/") if step not in ("", ".")] + waiting
        else:
            here.append(part)
    return root.joinpath(*here)
