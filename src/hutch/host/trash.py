"""Removing what is large without anybody waiting for it: renamed at once, taken apart in the background."""

import asyncio
import contextlib
import shutil
from pathlib import Path

PREFIX = ".gone-"


class Trash:
    """What is being removed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, path: Path) -> None:
        """A file or directory that is nothing any more from now on. No error if it is not there."""
        gone = path.with_name(f"{PREFIX}{path.name}")
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)
            task = asyncio.create_task(asyncio.to_thread(remove, gone))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def empty(self) -> None:
        """Returns when all that was taken until now is gone."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def remove(path: Path) -> None:
    """A file, or a directory with all it has."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def clear(directory: Path) -> None:
    """Remove what a former service did not get to."""
    for path in directory.glob(f"{PREFIX}*"):
        remove(path)
