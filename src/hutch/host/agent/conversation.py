"""One conversation with one agent: requests out, answers in, in any order, over a unix socket.

The guest behind it may be hostile, stuck or gone. So: every request has a time limit, an answer nobody asked for or
that is no frame ends the conversation, and its end fails every open request with `AgentUnavailable`.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hutch.host import sockets
from hutch.host.agent import frames
from hutch.model import errors

OPEN_LIMIT = 256  # the agent answers `busy` beyond it
WAITING_LIMIT = OPEN_LIMIT - 16  # callers wait for a place beyond it; the rest is for what is sent without waiting
PROBE_TIMEOUT = 10.0  # seconds a hello may take when another answer did not come
MESSAGE_LIMIT = 8 << 10  # characters of a guest's words that go on
WRITE_LIMIT = 1 << 20  # bytes waiting for the socket before callers have to wait


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: an operation, its arguments, and raw bytes."""

    op: str
    arguments: Mapping[str, object]
    body: bytes | memoryview = b""


class Conversation(asyncio.BufferedProtocol):
    """Made by `connect`. Everything runs in the event loop's thread."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.reason = "The conversation with the guest's agent has ended."
        self._loop = asyncio.get_running_loop()
        self._decoder = frames.Decoder()
        self._transport: asyncio.Transport | None = None
        # At random: the answer to a former host's hello may still be on its way, and must not pass for ours.
        self._next = secrets.randbelow(1 << 48) + 1
        self._is_greeted = False
        self._seal = b""
        # A request that nobody waits for any more stays here until it is answered: its answer is still to come.
        self._open: dict[int, asyncio.Future[frames.Frame]] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self._vacant = asyncio.Event()
        self._ended = False
        self._probe: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = self.reason if self.closed.is_set() else "open"
        return f"<Conversation {state!r}, {len(self._open)} open requests>"

    @classmethod
    async def connect(cls, path: Path) -> "Conversation":
        """Connect the socket. Raises `OSError`. Nothing goes before `greet`."""
        _, conversation = await asyncio.get_running_loop().create_unix_connection(cls, sock=sockets.connect(path))
        return conversation

    async def greet(self, version: int, timeout: float) -> frames.Frame:
        """Begin: the sync and a hello in one write, so that both are there or neither."""
        seal = secrets.randbits(32)
        future = self._loop.create_future()
        self._open[self._next] = future
        hello = frames.encode({"id": self._next, "op": "hello", "version": version, "seal": seal})
        self._next += 1
        self._send(frames.SYNC + hello)
        self._seal = seal.to_bytes(4, "little")
        return await self.result(future, timeout)

    # what callers do

    async def request(
        self, op: str, arguments: Mapping[str, object], body: bytes | memoryview = b"", *, timeout: float
    ) -> frames.Frame:
        """Ask, and wait for the answer. Raises `AgentUnavailable` and what `guest_error` makes of an error."""
        if len(self._open) >= WAITING_LIMIT:
            await self.place(1, timeout)
        return await self.result(self.begin(Request(op, arguments, body))[0], timeout)

    async def place(self, count: int, timeout: float) -> None:
        """Wait until so many more requests may be open."""
        try:
            async with asyncio.timeout(timeout):
                while len(self._open) + count > WAITING_LIMIT and not self._ended:
                    self._vacant.clear()
                    await self._vacant.wait()
        except TimeoutError:
            raise errors.AgentUnavailable("Too many requests to the guest's agent wait for an answer.") from None

    def begin(self, *requests: Request) -> list[asyncio.Future[frames.Frame]]:
        """Send requests in one go; await each future with `result`."""
        if self._ended:
            raise errors.AgentUnavailable(self.reason)
        if len(self._open) + len(requests) > OPEN_LIMIT:
            raise errors.AgentUnavailable("Too many requests to the guest's agent wait for an answer.")
        parts = [self._encode(self._next + index, request) for index, request in enumerate(requests)]
        futures: list[asyncio.Future[frames.Frame]] = [self._loop.create_future() for _ in requests]
        for future in futures:
            self._open[self._next] = future
            self._next += 1
        self._send(b"".join(parts) if len(parts) > 1 else parts[0])
        return futures

    async def result(self, future: "asyncio.Future[frames.Frame]", timeout: float) -> frames.Frame:
        """Wait for an answer begun before; the future must not be awaited otherwise."""
        handle = self._loop.call_later(timeout, self._time_out, future)
        try:
            if not self._writable.is_set():
                await self._drain(future)
            frame = await future
        finally:
            handle.cancel()
        if "error" in frame.header:
            raise guest_error(frame.header["error"])
        return frame

    def cast(self, op: str, arguments: Mapping[str, object]) -> None:
        """Ask without waiting for the answer; nothing happens if the conversation has ended."""
        if not self._ended and len(self._open) < OPEN_LIMIT:
            for future in self.begin(Request(op, arguments)):
                future.cancel()

    async def close(self) -> None:
        """End the conversation; returns when the socket is closed."""
        self.abandon()
        await self.closed.wait()

    def abandon(self) -> None:
        """End the conversation; the socket is closed by the event loop's next turn."""
        self._end("The conversation with the guest's agent was closed.")

    # what the event loop does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_LIMIT)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._decoder.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._decoder.filled(nbytes)
        try:
            while (frame := self._decoder.next()) is not None:
                self._answer(frame)
        except frames.Malformed as error:
            self._end(f"The guest's agent does not keep to the protocol: {error}.")

    def eof_received(self) -> None:
        self._end("The guest's agent has ended the conversation.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("The connection to the guest's agent was lost.")
        self.closed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # how

    def _encode(self, number: int, request: Request) -> bytes:
        try:
            return frames.encode({"id": number, "op": request.op, **request.arguments}, request.body, self._seal)
        except frames.TooLong:
            raise errors.InvalidRequest("The request is too long: its arguments may have 1 MiB in all.") from None
        except ValueError:
            raise errors.InvalidRequest("The request holds text that is not Unicode.") from None

    def _send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise errors.AgentUnavailable(self.reason)
        self._transport.write(data)

    async def _drain(self, future: "asyncio.Future[frames.Frame]") -> None:
        """Wait until the socket takes more, as long as the request may wait."""
        waiter = self._loop.create_task(self._writable.wait())
        waiting: set[asyncio.Future[Any]] = {waiter, future}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()

    def _answer(self, frame: frames.Frame) -> None:
        number: Any = frame.header.get("id")
        if number == 0 and type(number) is int and self._is_greeted:
            raise frames.Malformed(f"the agent refuses to go on: {guest_error(frame.header.get('error')).message}")
        future = self._open.get(number) if type(number) is int else None
        if not self._is_greeted:
            if future is None:
                self._decoder.resync()
                return
            self._is_greeted = True
        if future is None:
            raise frames.Malformed("an answer has an id nobody asked with")
        if not isinstance(frame.header.get("ok"), dict) and not isinstance(frame.header.get("error"), dict):
            raise frames.Malformed("an answer is neither ok nor an error")
        del self._open[number]
        self._vacant.set()
        if not future.done():
            future.set_result(frame)

    def _time_out(self, future: "asyncio.Future[frames.Frame]") -> None:
        if not future.done():
            future.set_exception(errors.AgentUnavailable("The guest's agent did not answer in time."))
            self._doubt()

    def _doubt(self) -> None:
        """An answer did not come. An agent that says nothing at all is not there: a hello shows it."""
        if self._probe is None and not self._ended:
            self._probe = self._loop.call_later(PROBE_TIMEOUT, self._end, "The guest's agent does not answer any more.")
            try:
                answer = self.begin(Request("hello", {"version": 1}))[0]
            except errors.AgentUnavailable:
                return
            answer.add_done_callback(self._trust)

    def _trust(self, answer: "asyncio.Future[frames.Frame]") -> None:
        if self._probe is not None and not answer.cancelled() and answer.exception() is None:
            self._probe.cancel()
            self._probe = None

    def _end(self, reason: str) -> None:
        if self._ended:
            return
        self._ended, self.reason = True, reason
        if self._probe is not None:
            self._probe.cancel()
        unanswered, self._open = self._open, {}
        for future in unanswered.values():
            if not future.done():
                future.set_exception(errors.AgentUnavailable(reason))
                future.exception()  # marks it as seen: there may be nobody who waits
        self._vacant.set()
        self._writable.set()
        if self._transport is not None:
            self._transport.abort()


def guest_error(error: Any) -> errors.HutchError:
    """What the agent's refusal means here."""
    fields = error if isinstance(error, dict) else {}
    code, message = fields.get("code"), fields.get("message")
    text = message[:MESSAGE_LIMIT] if isinstance(message, str) else "The guest's agent gave no reason."
    match code:
        case "not_found":
            return errors.GuestNotFound(text)
        case "no_space":
            return errors.GuestDiskFull(text)
        case "exists" | "ended":
            return errors.Conflict(text)
        case "exec_failed" if text.endswith(": No such file or directory"):
            return errors.GuestNotFound(text)
        case _:
            return errors.GuestError(text, code=code if isinstance(code, str) else None)
