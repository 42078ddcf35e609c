"""WebSockets through the proxy: messages of both kinds, the handshake, and how each side hears of the other's end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets import exceptions
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from .conftest import LIMIT, Rig, open_rig

Talk = Callable[[ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def guest(rig: Rig, talk: Talk, is_public: bool = True, **options: Any) -> AsyncIterator[int]:
    """A WebSocket server in the machine; its port."""
    async with serve(talk, "127.0.0.1", 0, max_size=None, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await rig.publish(port, is_public)
        yield port


def join(rig: Rig, port: int, rest: str = "/", **options: Any) -> connect:
    url = f"ws{rig.url.removeprefix('http')}{rig.path(port, rest)}"
    return connect(url, max_size=None, proxy=None, open_timeout=LIMIT, **options)


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def turns(socket: ClientConnection, *messages: str | bytes) -> list[str | bytes]:
    heard = []
    for message in messages:
        await socket.send(message)
        heard.append(await asyncio.wait_for(socket.recv(), LIMIT))
    return heard


async def test_text_and_bytes_pass_both_ways_whole(rig: Rig) -> None:
    large = bytes(range(256)) * 4096 * 8
    async with guest(rig, echo) as port, join(rig, port) as socket:
        said = ["ü", b"\x00\xff", "", b"", large]
        assert await turns(socket, *said) == said


async def test_messages_in_fragments_and_pings_pass(rig: Rig) -> None:
    async with guest(rig, echo) as port, join(rig, port) as socket:
        await socket.send(["a", "b", "c"])
        assert await socket.recv() == "abc"
        await asyncio.wait_for(await socket.ping(), LIMIT)


async def test_a_ping_of_the_guest_is_answered(rig: Rig) -> None:
    async def talk(socket: ServerConnection) -> None:
        await asyncio.wait_for(await socket.ping(), LIMIT)
        await socket.send("answered")

    async with guest(rig, talk) as port, join(rig, port) as socket:
        assert await socket.recv() == "answered"


async def test_the_guest_sees_the_handshake_and_chooses_the_subprotocol(rig: Rig) -> None:
    async def talk(socket: ServerConnection) -> None:
        assert socket.request is not None
        told = socket.request.headers
        await socket.send("|".join([socket.request.path, *(told.get(name, "") for name in names)]))

    names = ("authorization", "origin", "user-agent", "x-machine-id", "x-forwarded-for", "cookie", "host")
    headers = {"authorization": "Bearer own", "cookie": "a=1", "origin": "http://x.example"}
    async with guest(rig, talk, subprotocols=["b"]) as port:
        options = {"subprotocols": ["a", "b"], "additional_headers": headers, "user_agent_header": "me"}
        async with join(rig, port, "/p%20q?x=1", **options) as socket:
            assert socket.subprotocol == "b"
            heard = str(await socket.recv()).split("|")
    own_host = rig.url.removeprefix("http://")
    expected = ["/p%20q?x=1", "Bearer own", "http://x.example", "me", rig.machine, "127.0.0.1", "a=1", own_host]
    assert heard == expected


async def test_a_subprotocol_that_the_guest_does_not_choose_is_not_told(rig: Rig) -> None:
    async with guest(rig, echo) as port, join(rig, port, subprotocols=["a"]) as socket:
        assert socket.subprotocol is None


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (3456, "ours"), (1011, "")])
async def test_the_guests_close_reaches_the_client(rig: Rig, code: int, reason: str) -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.close(code, reason)

    async with guest(rig, talk) as port, join(rig, port) as socket:
        with pytest.raises(exceptions.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), LIMIT)
        assert (socket.close_code, socket.close_reason) == (code, reason)


async def test_the_clients_close_reaches_the_guest(rig: Rig) -> None:
    heard: asyncio.Future[tuple[int | None, str | None]] = asyncio.get_running_loop().create_future()

    async def talk(socket: ServerConnection) -> None:
        await socket.wait_closed()
        heard.set_result((socket.close_code, socket.close_reason))

    async with guest(rig, talk) as port:
        async with join(rig, port) as socket:
            await socket.close(4001, "bye")
        assert await asyncio.wait_for(heard, LIMIT) == (4001, "bye")


async def test_a_client_or_a_guest_that_vanishes_ends_the_other_side(rig: Rig) -> None:
    ended = asyncio.Event()

    async def talk(socket: ServerConnection) -> None:
        if await socket.recv() == "vanish":
            socket.transport.abort()
        await socket.wait_closed()
        ended.set()

    async with guest(rig, talk) as port:
        async with join(rig, port) as socket:
            await socket.send("stay")
            socket.transport.abort()
        await asyncio.wait_for(ended.wait(), LIMIT)
        async with join(rig, port) as socket:
            await socket.send("vanish")
            with pytest.raises(exceptions.ConnectionClosed):
                await asyncio.wait_for(socket.recv(), LIMIT)
            assert socket.close_code == 1011


async def test_a_handshake_that_the_guest_refuses_is_refused_in_its_words(rig: Rig) -> None:
    def refuse(socket: ServerConnection, _: object) -> Any:
        answer = socket.respond(HTTPStatus.FOUND, "elsewhere\n")
        answer.headers["Location"] = "http://127.0.0.1:1/"
        return answer

    async with guest(rig, echo, process_request=refuse) as port:

        class Direct(connect):
            def process_redirect(self, exc: Exception) -> Exception:
                return exc

        with pytest.raises(exceptions.InvalidStatus) as refused:
            async with Direct(f"ws{rig.url.removeprefix('http')}{rig.path(port)}", proxy=None):
                pass
        assert refused.value.response.status_code == 302
        assert refused.value.response.body == b"elsewhere\n"


async def refusal(rig: Rig, port: int, **options: Any) -> tuple[int, bytes]:
    with pytest.raises(exceptions.InvalidStatus) as refused:
        async with join(rig, port, **options):
            pass
    return refused.value.response.status_code, bytes(refused.value.response.body or b"")


async def test_a_websocket_needs_a_way_in_too(rig: Rig) -> None:
    async with guest(rig, echo, is_public=False) as port:
        assert (await refusal(rig, port))[0] == 401
        assert await refusal(rig, 3000) == (403, b'{"error":"Port 3000 is not exposed on this machine"}')
        link = rig.plane.exposure.sign(rig.caller, rig.machine, port, 60)
        async with join(rig, port, f"/?hutch_token={link.token}") as socket:
            assert await turns(socket, "in") == ["in"]


async def test_where_nobody_or_no_websocket_listens_is_a_502(rig: Rig) -> None:
    plain = await rig.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await refusal(rig, plain.port))[0] == 200
    noise = await rig.answering(b"noise\r\n\r\n")
    assert (await refusal(rig, noise.port))[0] == 502
    await rig.publish(1, True)
    assert await refusal(rig, 1) == (502, b'{"error":"Failed to connect to upstream"}')


async def test_a_message_over_the_limit_ends_the_conversation(rig: Rig) -> None:
    async with guest(rig, echo) as port, join(rig, port) as socket:
        with pytest.raises(exceptions.ConnectionClosed):
            await turns(socket, bytes(16 * 2**20 + 1))
        assert socket.close_code == 1009


async def test_silence_for_too_long_ends_the_conversation(tmp_path: Path) -> None:
    async with (
        open_rig(tmp_path, HUTCH_PROXY_IDLE_TIMEOUT="0.2") as rig,
        guest(rig, echo) as port,
        join(rig, port) as socket,
    ):
        with pytest.raises(exceptions.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), LIMIT)
        assert (socket.close_code, socket.close_reason) == (1001, "idle")


async def test_a_slow_reader_holds_the_other_side_up(rig: Rig) -> None:
    sent = 0
    stuck = asyncio.Event()

    async def talk(socket: ServerConnection) -> None:
        nonlocal sent
        while True:
            sending = asyncio.ensure_future(socket.send(bytes(2**20)))
            if not (await asyncio.wait((sending,), timeout=2))[0]:
                stuck.set()
            await sending
            sent += 1

    async with guest(rig, talk) as port, join(rig, port, max_queue=1) as socket:
        await asyncio.wait_for(stuck.wait(), LIMIT)
        assert sent < 64
        socket.transport.abort()


async def test_the_end_of_the_service_ends_conversations(rig: Rig) -> None:
    async with guest(rig, echo) as port:
        socket = await join(rig, port)
        assert await turns(socket, "a") == ["a"]
        rig.listener.end()
        with pytest.raises(exceptions.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), LIMIT)
        assert socket.close_code == 1012
