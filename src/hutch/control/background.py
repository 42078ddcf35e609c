"""Work that outlives its caller: what must still be done after an answer, or after somebody hung up."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from hutch.model import errors

log = structlog.get_logger(__name__)


class Background:
    """Keeps such work alive, and waits for it at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def go_on(self, what: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it. An error is logged under this name: nobody is left to be told."""
        task = asyncio.create_task(_quietly(what, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self, limit: float) -> None:
        """Wait until all is done; what is not within `limit` seconds is dropped."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=limit)
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
