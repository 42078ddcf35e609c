"""Answers that come bit by bit: pulled from a generator as fast as the client reads, and ended when it hangs up."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

SILENCE = 15.0
"""Seconds without a byte after which a keep-alive is sent: below the usual minute of proxies."""

EVENT_STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would collect the events otherwise
}
EVENT_STREAM_KEEP_ALIVE = b": keep-alive\n\n"


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def unless_hung_up(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. If the client goes away first it is cancelled, waited for, and `ClientDisconnect` is raised.

    Only for a request whose body has been read: else the body would be taken for nothing.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_hung_up(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        await _end(task, gone)


async def either(*works: Coroutine[Any, Any, object]) -> None:
    """Do all of these until one has ended, and end the others. Raises what that one raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _end(*tasks)


async def first(parts: AsyncGenerator[T, None]) -> T:
    """The first item: what goes wrong before there is one can still be answered with a status."""
    return await anext(parts)


async def closing(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same chunks; when nobody wants more of them, neither does their source."""
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


class PulledResponse(Response):
    """Sends what a generator yields. Closing the generator is how its owner learns that nobody listens any more.

    `keep_alive` is sent when nothing else has been for `silence` seconds.
    """

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        headers: Mapping[str, str],
        keep_alive: bytes = b"",
        silence: float = SILENCE,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._parts = parts
        self._keep_alive = keep_alive
        self._silence = silence
        self._last_sent = 0.0
        self.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; returns when all is sent. Raises `ClientDisconnect` as soon as the client has gone."""
        async with aclosing(self._parts):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            self._last_sent = time.monotonic()
            beat = asyncio.create_task(self._beat(send))
            try:
                await unless_hung_up(receive, self._pump(send))
            finally:
                await _end(beat)

    async def _pump(self, send: Send) -> None:
        async for part in self._parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            self._last_sent = time.monotonic()
        self._keep_alive = b""
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, send: Send) -> None:
        while self._keep_alive:
            quiet = time.monotonic() - self._last_sent
            if quiet >= self._silence:
                await send({"type": "http.response.body", "body": self._keep_alive, "more_body": True})
                self._last_sent, quiet = time.monotonic(), 0.0
            await asyncio.sleep(self._silence - quiet)
