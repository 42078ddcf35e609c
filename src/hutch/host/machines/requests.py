"""The queue before a machine: requests to change it are done one after the other, by one task.

What a request means when its turn has come, and what it interrupts, is decided by `policy`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from hutch.host.machines import policy
from hutch.host.machines.policy import Verb
from hutch.model import errors

log = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[Any]]


@dataclass(eq=False)
class _Request:
    verb: Verb
    work: Work
    is_asked: bool = True  # else nobody waits for its result
    done: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Requests:
    """One machine's. `act` carries out what has its turn."""

    def __init__(self, name: str, act: Callable[[Verb, Work], Awaitable[Any]]) -> None:
        self._act = act
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        self._current: tuple[_Request, asyncio.Task[Any]] | None = None
        self._loop = asyncio.create_task(self._serve(), name=f"owner {name}")
        self.ended = False  # set by the last work there is

    def put(self, verb: Verb, work: Work) -> None:
        """Have it done when its turn comes; nobody waits for it."""
        self._queue.put_nowait(_Request(verb, work, is_asked=False))

    async def ask(self, verb: Verb, work: Work) -> Any:
        """Have it done, and wait for its result. A caller that is cancelled ends a start, and nothing else.

        `NotFound` when there is no machine any more, `Conflict` if it was interrupted by something stronger.
        """
        if self.ended:
            if verb is Verb.DESTROY:
                return None
            raise errors.NotFound("machine not found")
        request = _Request(verb, work)
        if self._current is not None and policy.interrupts(self._current[0].verb, verb):
            self._current[1].cancel()
        self._queue.put_nowait(request)
        try:
            return await asyncio.shield(request.done)
        except asyncio.CancelledError:
            if verb is Verb.START:
                request.done.cancel()
                if self._current is not None and self._current[0] is request:
                    self._current[1].cancel()
                    await asyncio.gather(self._current[1], return_exceptions=True)
            raise

    async def stop(self) -> None:
        """Break off what is under way, and take no more turns; who waits for one is told."""
        self._loop.cancel()
        if self._current is not None:
            self._current[1].cancel()
            await asyncio.gather(self._current[1], return_exceptions=True)
        await asyncio.gather(self._loop, return_exceptions=True)
        left = [self._current[0]] if self._current is not None else []
        while not self._queue.empty():
            left.append(self._queue.get_nowait())
        for request in left:
            if not request.done.done():
                request.done.set_exception(errors.HutchError("the service is being stopped"))
                request.done.exception()

    async def _serve(self) -> None:
        while not self.ended:
            request = await self._queue.get()
            if request.done.cancelled():
                continue
            task = asyncio.ensure_future(self._act(request.verb, request.work))
            self._current = (request, task)
            await asyncio.wait({task})
            self._current = None
            _answer(request, task)
        while not self._queue.empty():
            left = self._queue.get_nowait()
            if left.done.done():
                continue
            if left.verb is Verb.DESTROY:
                left.done.set_result(None)
            else:
                left.done.set_exception(errors.NotFound("machine not found"))
                left.done.exception()


def _answer(request: _Request, task: "asyncio.Future[Any]") -> None:
    if request.done.done():
        if not task.cancelled():
            task.exception()
    elif task.cancelled():
        request.done.set_exception(errors.Conflict("the machine was stopped or deleted meanwhile"))
        request.done.exception()
    elif error := task.exception():
        if not request.is_asked:
            log.warning("work in the background failed", verb=request.verb.value, error=repr(error))
        request.done.set_exception(error)
        request.done.exception()  # the caller may have gone away: then nobody else reads it
    else:
        request.done.set_result(task.result())
