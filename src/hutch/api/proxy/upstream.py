"""One HTTP/1.1 exchange with a guest, on a connection that is used for nothing else.

A connection is never kept for a second request: the address of a machine that ends is given to another, and a request
that two parsers read differently can at most spoil its own answer. Bytes are parsed by httptools (llhttp, strict).
"""

import asyncio
from dataclasses import dataclass
from typing import cast

import httptools

from hutch.model import errors
from hutch.model.network import Endpoint

HIGH_WATER = 256 * 1024
"""Bytes of an answer that wait to be read before the guest is made to wait."""

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer's head."""

_NO_BODY = frozenset({204, 304})

Headers = list[tuple[bytes, bytes]]


class UpstreamFailed(errors.HutchError):
    """Failed to connect to upstream"""


class UpstreamSilent(errors.TimedOut):
    """Upstream did not answer in time"""


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins."""

    status: int
    headers: Headers  # names in lower case, as sent otherwise
    has_body: bool


class Exchange(asyncio.Protocol):
    """`write` the request, then `head`, then `read` until it is empty. `UpstreamFailed` if the guest breaks off."""

    def __init__(self, is_head: bool) -> None:
        self._is_head = is_head
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._head: Head | None = None
        self._head_size = 0
        self._body: list[bytes] = []
        self._waiting = 0  # bytes in `_body`
        self._is_complete = False
        self._ends_with_connection = False
        self._failure: BaseException | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_reading = True
        self._transport: asyncio.Transport

    async def write(self, data: bytes) -> None:
        """Send a part of the request, when the guest has taken what was sent before. Dropped if it has hung up."""
        await self._writable.wait()
        if not self._transport.is_closing():
            self._transport.write(data)

    async def head(self) -> Head:
        """How it answers. Informational answers (1xx) are passed over."""
        while self._head is None:
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """What has come of the body; empty at its end."""
        while not self._body and not self._is_complete:
            await self._wait()
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._waiting = 0
        if not self._is_reading:
            self._is_reading = True
            self._transport.resume_reading()
        return data

    def fail(self, error: BaseException) -> None:
        """Whoever reads gets this."""
        if not self._is_complete and self._failure is None:
            self._failure = error
            self._news.set()

    def close(self) -> None:
        """Let go of the connection at once."""
        self._transport.abort()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._news.clear()
        await self._news.wait()
        if self._failure is not None and not self._body:
            raise self._failure

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._is_complete:
            return
        if self._head is None:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(UpstreamFailed("upstream's answer is not HTTP/1.1"))
        if self._head is None and self._head_size > HEAD_LIMIT:
            self.fail(_too_large())
        if self._waiting > HIGH_WATER and self._is_reading and not self._transport.is_closing():
            self._is_reading = False
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._writable.set()
        self._is_reading = True  # there is nothing left to be resumed
        if self._head is not None and self._ends_with_connection and error is None:
            self._complete()
        self.fail(UpstreamFailed("upstream broke off its answer" if self._head else None))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:  # else it is a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._head is not None:  # or what comes after the answer
            return
        if status > 599:
            self.fail(UpstreamFailed("upstream's answer is not HTTP/1.1"))
            return
        if sum(len(name) + len(value) + 4 for name, value in self._headers) > HEAD_LIMIT:
            self.fail(_too_large())
            return
        codings = [value for name, value in self._headers if name == b"transfer-encoding"]
        if codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
            self.fail(UpstreamFailed("upstream answers in a transfer coding other than chunked"))
            return
        names = {name for name, _ in self._headers}
        has_body = not self._is_head and status not in _NO_BODY
        self._ends_with_connection = not names & {b"content-length", b"transfer-encoding"}
        self._head = Head(status, self._headers, has_body)
        self._news.set()
        if not has_body:
            self._complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_complete:
            self._body.append(body)
            self._waiting += len(body)
            self._news.set()

    def on_message_complete(self) -> None:
        if self._head is not None:
            self._complete()

    def _complete(self) -> None:
        self._is_complete = True
        self._news.set()


def _too_large() -> UpstreamFailed:
    return UpstreamFailed(f"upstream's headers are larger than {HEAD_LIMIT} bytes")


async def connect(endpoint: Endpoint, is_head: bool, limit: float) -> Exchange:
    """A connection to a guest's port. `UpstreamFailed` if it is refused, `UpstreamSilent` after `limit` seconds."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit):
            _, exchange = await loop.create_connection(lambda: Exchange(is_head), endpoint.host, endpoint.port)
    except TimeoutError:
        raise UpstreamSilent(f"upstream did not take a connection within {limit:g} s") from None
    except OSError:
        raise UpstreamFailed from None
    return exchange
