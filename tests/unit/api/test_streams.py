"""Answers that come bit by bit, on a fake connection."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from hutch.api import streams

LIMIT = 5.0


class Connection:
    """A client that reads everything, and hangs up when told."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self.arrived = asyncio.Event()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.arrived.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def answer(self, response: streams.PulledResponse) -> None:
        async with asyncio.timeout(LIMIT):
            await response({"type": "http"}, self.receive, self.send)


def told_by(*messages: Message) -> Callable[[], Awaitable[Message]]:
    """A `receive` that tells these."""
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    return receive


class Parts:
    """A generator that yields what it is given, may then never end, and knows whether it was closed."""

    def __init__(self, *parts: bytes, endless: bool = False) -> None:
        self.closed = False
        self.waiting = asyncio.Event()
        self._parts = parts
        self._endless = endless

    async def iterate(self) -> AsyncGenerator[bytes, None]:
        try:
            for part in self._parts:
                yield part
            if self._endless:
                self.waiting.set()
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_all_parts_are_sent_and_then_the_end() -> None:
    connection, parts = Connection(), Parts(b"a", b"b")
    await connection.answer(streams.PulledResponse(parts.iterate(), {"content-type": "x/y"}))
    assert connection.body == b"ab"
    assert connection.sent[0]["headers"] == [(b"content-type", b"x/y")]
    assert connection.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert parts.closed


async def test_a_client_that_hangs_up_closes_the_generator_although_nothing_flows() -> None:
    connection, parts = Connection(), Parts(b"a", endless=True)
    answering = asyncio.create_task(connection.answer(streams.PulledResponse(parts.iterate(), {})))
    await asyncio.wait_for(parts.waiting.wait(), LIMIT)
    assert not parts.closed
    connection.gone.set()
    with pytest.raises(ClientDisconnect):
        await answering
    assert parts.closed


async def test_silence_is_filled_with_keep_alives() -> None:
    connection, parts = Connection(), Parts(endless=True)
    response = streams.PulledResponse(parts.iterate(), {}, keep_alive=b": still here\n\n", silence=0.01)
    answering = asyncio.create_task(connection.answer(response))
    async with asyncio.timeout(LIMIT):
        while connection.body.count(b": still here\n\n") < 3:
            connection.arrived.clear()
            await connection.arrived.wait()
    connection.gone.set()
    with pytest.raises(ClientDisconnect):
        await answering


async def test_what_fails_while_streaming_is_not_swallowed() -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield b"a"
        raise RuntimeError("broken")

    connection = Connection()
    with pytest.raises(RuntimeError, match="broken"):
        await connection.answer(streams.PulledResponse(failing(), {}))
    assert connection.sent[-1]["more_body"]


async def test_work_is_cancelled_and_waited_for_when_the_client_goes() -> None:
    connection, begun, ended = Connection(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    working = asyncio.create_task(streams.unless_hung_up(connection.receive, work()))
    await asyncio.wait_for(begun.wait(), LIMIT)
    connection.gone.set()
    with pytest.raises(ClientDisconnect):
        await working
    assert ended.is_set()


def test_the_reason_of_a_close_fits_a_frame() -> None:
    assert streams.reason("short") == "short"
    assert len(streams.reason("\ufffd" * 100).encode()) <= 123


async def test_a_client_that_goes_is_noticed_while_nobody_takes_what_it_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LAST", 0.0)
    inbox = streams.Inbox(told_by({"type": "websocket.receive", "bytes": b"x"}, {"type": "websocket.disconnect"}))
    async with asyncio.timeout(LIMIT):
        await inbox.fill()


async def test_a_client_that_sends_without_end_is_read_as_far_as_it_is_listened_to() -> None:
    sent = []

    async def receive() -> Message:
        await asyncio.sleep(0)
        sent.append(len(sent))
        return {"type": "websocket.receive", "bytes": b"x" * 100_000}

    inbox = streams.Inbox(receive)
    filling = asyncio.create_task(inbox.fill())
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(sent) * 100_000 <= streams.AHEAD + 200_000
    before = len(sent)
    async with asyncio.timeout(LIMIT):
        for _ in range(before + 5):
            assert (await inbox.next())["bytes"]
    filling.cancel()
