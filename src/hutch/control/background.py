"""Work that outlives its caller: what must still be done after an answer, or after somebody hung up."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from hutch.model import errors

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Background:
    """Keeps such work alive, and waits for it at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def go_on(self, what: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it. An error is logged under this name: nobody is left to be told."""
        return self.keep(_quietly(what, work))

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it and tell how it ended. A caller that goes away leaves something whole, not half of it."""
        return await asyncio.shield(self.keep(work))

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it, for any number of callers to wait for, shielded."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._drop)
        return task

    def _drop(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have gone: then it is nobody's news

    async def close(self, limit: float) -> None:
        """Wait until all is done; what is not within `limit` seconds is dropped."""
        until = asyncio.get_running_loop().time() + limit
        while self._tasks and (left := until - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)  # what ends may have begun more
        late = list(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _quietly(what: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except errors.HutchError as error:
        log.debug("background work failed", what=what, error=error.message)
    except Exception:
        log.exception("background work failed", what=what)
