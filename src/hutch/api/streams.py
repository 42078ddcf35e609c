"""Answers that come bit by bit: pulled from a generator as fast as the client reads, and ended when it hangs up."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

T = TypeVar("T")

SILENCE = 15.0
"""Seconds without a byte after which a keep-alive is sent: below the usual minute of proxies."""

AHEAD = 1024 * 1024
"""Bytes a client may have sent that nobody has taken yet, before no more are read."""

PATIENCE = 600.0
"""Seconds with so many waiting, after which the client is hung up on."""

LAST = 5.0
"""Seconds in which what a client has sent before it went can still be taken."""

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


class Inbox:
    """What a WebSocket's client sends, read ahead: its going is noticed while nobody takes what it has sent."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: deque[Message] = deque()
        self._size = 0
        self._is_taken = False  # one that is not done with yet
        self._changed = asyncio.Event()

    async def fill(self) -> None:
        """Read until the client goes, or too much waits for too long. What it has sent has `LAST` seconds then."""
        while (message := await self._receive())["type"] != "websocket.disconnect":
            self._messages.append(message)
            self._size += _length(message)
            self._changed.set()
            if not await self._comes_to(lambda: self._size <= AHEAD, PATIENCE):
                return
        await self._comes_to(lambda: not self._messages and not self._is_taken, LAST)

    async def next(self) -> Message:
        """The next message, when there is one; the one before is done with."""
        self._is_taken = False
        self._changed.set()
        await self._comes_to(lambda: bool(self._messages))
        message = self._messages.popleft()
        self._size -= _length(message)
        self._is_taken = True
        self._changed.set()
        return message

    async def _comes_to(self, condition: Callable[[], bool], limit: float | None = None) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        return condition()


def _length(message: Message) -> int:
    return len(message.get("bytes") or b"") + len(message.get("text") or "")


def reason(words: str) -> str:
    """As much of an error as the close of a WebSocket can tell (RFC 6455, 5.5)."""
    return words.encode(errors="replace")[:123].decode(errors="ignore")


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
