"""Disk space of the host: asked for before work begins and watched while it goes on.

What an image needs is known only when it has been unpacked, and a full disk hurts every machine of the host. So work
is stopped when the reserve is touched, long before the kernel would say no.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hutch import commands
from hutch.model import errors

T = TypeVar("T")
_LOOK_EVERY = 0.2
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Space:
    """The file system that holds `directory`, of which `reserve` bytes are not ours to use."""

    directory: Path
    reserve: int

    def check(self, needed: int = 0) -> None:
        """Raise `DiskFull` unless `needed` bytes can be written without touching the reserve."""
        status = os.statvfs(self.directory)
        if status.f_bavail * status.f_frsize < self.reserve + needed:
            raise self.full()

    def full(self) -> errors.DiskFull:
        """The error to raise, with what to do."""
        return errors.DiskFull(
            f"The host's disk is full: {self.reserve >> 20} MiB are kept in reserve. Remove images or machines"
        )

    async def watch(self, work: Coroutine[Any, Any, T], on_look: Callable[[], None] = lambda: None) -> T:
        """Do the work; cancel it and raise `DiskFull` as soon as the reserve is touched. `on_look` is called often."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK_EVERY))[0]:
                self.check()
                on_look()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Turn a disk that filled up all the same, as the kernel or a tool tells it, into `DiskFull`."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise self.full() from error
            raise
        except commands.CommandFailed as error:
            if "no space left on device" in error.stderr.lower():
                raise self.full() from error
            raise
