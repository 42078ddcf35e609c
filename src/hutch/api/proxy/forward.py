"""Carries a request to the port of a guest and its answer back: HTTP, WebSocket, and raw TCP in a WebSocket.

Both ways stream at once and each waits for the slower side, so memory stays flat. Whichever side goes, the other is
let go. What fails before an answer has begun is raised; after that the answer is broken off, which the client sees.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from websockets import exceptions
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from hutch.api.proxy import headers, upstream
from hutch.api.proxy.headers import Headers
from hutch.api.proxy.upstream import Exchange, UpstreamFailed, UpstreamSilent
from hutch.api.proxy.wayin import COOKIE
from hutch.model import errors
from hutch.model.network import Endpoint
from hutch.settings import Proxy

MESSAGE_LIMIT = 16 * 1024 * 1024
"""Bytes of one WebSocket message, either way."""

TUNNEL_MESSAGE = 64 * 1024
"""Bytes of one message of a tunnel to its client: smolmachines takes no larger ones."""

_LINGER = 10.0
"""Seconds a guest has to take the last bytes of a tunnel that its client has left."""

_NORMAL, _GOING_AWAY, _UNSUPPORTED, _FAULT = 1000, 1001, 1003, 1011  # RFC 6455, 7.4.1
_NO_CODE = {1005: _NORMAL, 1006: _GOING_AWAY, 1015: _GOING_AWAY}  # what is told of a close but never sent in one


class ClientGone(Exception):
    """The client has hung up."""


@dataclass(frozen=True, slots=True)
class Onward:
    """A request as the guest is to get it."""

    endpoint: Endpoint
    path: bytes  # raw, with the query
    host: bytes
    headers: Headers  # without `Host` and framing
    framing: Headers
    cookie: bytes | None = None  # of ours, for the client


class _Clock:
    """The limit on silence, which every byte puts off."""

    def __init__(self, timeout: asyncio.Timeout, seconds: float) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self.seconds = seconds

    def touch(self) -> None:
        if not self._timeout.expired():
            self._timeout.reschedule(self._loop.time() + self.seconds)


@contextlib.asynccontextmanager
async def _limited(seconds: float) -> AsyncIterator[_Clock]:
    async with asyncio.timeout(seconds) as timeout:
        yield _Clock(timeout, seconds)


@contextlib.asynccontextmanager
async def _beside(task: "asyncio.Task[Any]") -> AsyncIterator[None]:
    """A task that is ended with this block, whatever became of it."""
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def http(scope: Scope, receive: Receive, send: Send, it: Onward, its: Proxy) -> int:
    """Carry an HTTP request; the status that was answered, 499 if the client went before.

    `UpstreamFailed`, `UpstreamSilent` while nothing has been answered.
    """
    start = headers.head(scope["method"], it.path, [(b"host", it.host), *it.headers, *it.framing])
    exchange = await upstream.connect(it.endpoint, scope["method"] == "HEAD", its.connect_timeout)
    begun: list[int] = []
    try:
        async with _limited(its.response_timeout) as clock:
            await exchange.write(start)
            is_chunked = it.framing[:1] == [(b"transfer-encoding", b"chunked")]
            async with _beside(asyncio.create_task(_upload(receive, exchange, is_chunked, clock))):
                await _answer(exchange, send, it, clock, its.idle_timeout, begun)
    except TimeoutError:
        if not begun:
            raise UpstreamSilent(f"upstream did not answer within {its.response_timeout:g} s") from None
    except UpstreamFailed:
        if not begun:
            raise
    except ClientGone:
        return begun[0] if begun else 499
    finally:
        exchange.close()
    return begun[0]


async def _answer(
    exchange: Exchange, send: Send, it: Onward, clock: _Clock, idle_timeout: float, begun: list[int]
) -> None:
    head = await exchange.head()
    clock.seconds = idle_timeout
    told = headers.answer(head.headers, head.status, COOKIE)
    if it.cookie is not None:
        told.append((b"set-cookie", it.cookie))
    begun.append(head.status)
    await send({"type": "http.response.start", "status": head.status, "headers": told})
    while head.has_body and (data := await exchange.read()):
        clock.touch()
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _upload(receive: Receive, exchange: Exchange, is_chunked: bool, clock: _Clock) -> None:
    """Send the body on as it comes; then only see whether the client stays."""
    is_sent = False
    while (message := await receive())["type"] == "http.request":
        clock.touch()
        if is_sent:
            continue
        if data := message.get("body", b""):
            await exchange.write(b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data)
            clock.touch()
        is_sent = not message.get("more_body", False)
        if is_sent and is_chunked:
            await exchange.write(b"0\r\n\r\n")
    exchange.fail(ClientGone())


class _Connect(connect):
    """Leads where it is told to: a guest cannot redirect it."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def websocket(scope: Scope, receive: Receive, send: Send, it: Onward, its: Proxy) -> int:
    """Join a client's WebSocket with one of the guest; the status of the handshake's answer.

    What a guest says instead of a handshake is the client's answer. `UpstreamFailed`, `UpstreamSilent` before that.
    """
    await receive()
    try:
        socket = await _open(scope, it, its)
    except exceptions.InvalidStatus as refused:
        return await _deny(scope, send, it, refused)
    async with socket:
        told = headers.answer(_raw(socket.response.headers if socket.response else {}), 101, COOKIE)
        if it.cookie is not None:
            told.append((b"set-cookie", it.cookie))
        await send({"type": "websocket.accept", "subprotocol": socket.subprotocol, "headers": told})
        try:
            async with _limited(its.idle_timeout) as clock:
                await _first(_from_client(receive, socket, clock), _to_client(send, socket, clock))
        except TimeoutError:
            await _close(send, _GOING_AWAY, "idle")
            await socket.close(_GOING_AWAY, "idle")
    return 101


async def _open(scope: Scope, it: Onward, its: Proxy) -> ClientConnection:
    address = (it.host or it.endpoint.host.encode()).decode() + it.path.decode("ascii")
    if not it.path.startswith(b"/"):
        raise errors.InvalidRequest("the request's address is malformed")
    try:
        async with asyncio.timeout(its.response_timeout):
            return await _Connect(
                f"ws://{address}",
                host=it.endpoint.host,
                port=it.endpoint.port,
                additional_headers=[(name.decode(), value.decode("latin-1")) for name, value in it.headers],
                subprotocols=[Subprotocol(name) for name in scope["subprotocols"]] or None,
                compression=None,
                max_size=MESSAGE_LIMIT,
                max_queue=4,
                open_timeout=None,
                close_timeout=5,
                ping_interval=None,  # pings of the guest are answered; a silent one is found by the idle limit
                proxy=None,
                user_agent_header=None,
            )
    except TimeoutError:
        raise UpstreamSilent(f"upstream did not answer within {its.response_timeout:g} s") from None
    except OSError:
        raise UpstreamFailed from None
    except (exceptions.InvalidURI, ValueError):
        raise errors.InvalidRequest("the request's address is malformed") from None
    except exceptions.InvalidStatus:
        raise
    except (exceptions.InvalidHandshake, EOFError):
        raise UpstreamFailed("upstream's answer is no WebSocket handshake") from None


def _raw(found: Any) -> Headers:
    pairs = found.raw_items() if hasattr(found, "raw_items") else found.items()
    return [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in pairs]


async def _deny(scope: Scope, send: Send, it: Onward, refused: exceptions.InvalidStatus) -> int:
    answer = refused.response
    body = bytes(answer.body or b"")
    kept = [pair for pair in headers.answer(_raw(answer.headers), 200, COOKIE) if pair[0] != b"content-length"]
    await send({"type": "websocket.http.response.start", "status": answer.status_code, "headers": kept})
    await send({"type": "websocket.http.response.body", "body": body})
    return answer.status_code


async def _from_client(receive: Receive, socket: ClientConnection, clock: _Clock) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        clock.touch()
        data = message.get("bytes")
        await socket.send(message["text"] if data is None else data)
        clock.touch()
    code = message.get("code") or _NORMAL
    await socket.close(_NO_CODE.get(code, code), message.get("reason") or "")


async def _to_client(send: Send, socket: ClientConnection, clock: _Clock) -> None:
    with contextlib.suppress(exceptions.ConnectionClosed):
        while True:
            data = await socket.recv()
            clock.touch()
            await send(_message(data))
            clock.touch()
    code = socket.close_code or _FAULT
    await _close(send, _FAULT if code in (1006, 1015) else _NO_CODE.get(code, code), socket.close_reason or "")


def _message(data: str | bytes) -> Message:
    return {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}


async def _close(send: Send, code: int, reason: str = "") -> None:
    with contextlib.suppress(OSError, RuntimeError):  # the client has gone
        await send({"type": "websocket.close", "code": code, "reason": reason})


async def _first(*ways: Any) -> None:
    """Both ways of a conversation, until one of them ends; the other is ended then."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with contextlib.suppress(exceptions.ConnectionClosed, OSError):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def tunnel(receive: Receive, send: Send, endpoint: Endpoint, its: Proxy) -> None:
    """Join a client's WebSocket with a TCP connection to the guest. Binary messages are its bytes, either way.

    An empty message of the client says that it sends no more (native). The guest's end closes the WebSocket.
    `UpstreamFailed`, `UpstreamSilent` while the WebSocket is not accepted.
    """
    await receive()
    try:
        async with asyncio.timeout(its.connect_timeout):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, limit=TUNNEL_MESSAGE)
    except TimeoutError:
        raise UpstreamSilent(f"upstream did not take a connection within {its.connect_timeout:g} s") from None
    except OSError:
        raise UpstreamFailed from None
    try:
        await send({"type": "websocket.accept"})
        async with _limited(its.idle_timeout) as clock:
            await _first(_tunnel_in(receive, send, writer, clock), _tunnel_out(send, reader, clock))
    except TimeoutError:
        await _close(send, _GOING_AWAY, "idle")
    finally:
        writer.close()
        asyncio.get_running_loop().call_later(_LINGER, writer.transport.abort)


async def _tunnel_in(receive: Receive, send: Send, writer: asyncio.StreamWriter, clock: _Clock) -> None:
    is_over = False
    while (message := await receive())["type"] == "websocket.receive":
        clock.touch()
        data = message.get("bytes")
        if data is None or (data and is_over):
            why = "a tunnel carries binary messages" if data is None else "an empty message was to be the last"
            await _close(send, _UNSUPPORTED, why)
            return
        if data:
            writer.write(data)
            await writer.drain()
        elif not is_over:
            is_over = True
            writer.write_eof()


async def _tunnel_out(send: Send, reader: asyncio.StreamReader, clock: _Clock) -> None:
    while data := await reader.read(TUNNEL_MESSAGE):
        clock.touch()
        await send({"type": "websocket.send", "bytes": data})
    await _close(send, _NORMAL)
