"""The proxy's own port against clients that take too much or too long, and its end."""

import asyncio
import contextlib
import gc
from pathlib import Path

import httpx
import pytest

from hutch.api.proxy import listener

from .conftest import LIMIT, Rig, open_rig, read_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: MTIzNDU2Nzg5MGFiY2RlZg==\r\n"
)


async def test_an_unknown_host_is_told_that_there_is_nothing(rig: Rig) -> None:
    told = await rig.http.get("/", headers={"host": "example.org"})
    assert (told.status_code, told.json()) == (404, {"error": "Machine not found"})


@pytest.mark.parametrize("size", [100_000, 1_000_000])
async def test_the_head_of_a_request_has_a_limit(rig: Rig, size: int) -> None:
    guest = await rig.answering(OK)
    start = f"GET {rig.path(guest)} HTTP/1.1\r\nHost: x\r\n".encode()
    for head in (b"X: " + b"x" * size, b"X: 1\r\n" * (size // 6), b"X" * size):
        try:
            answer = await rig.raw(start + head + b"\r\n\r\n")
        except ConnectionError:  # it was closed before all of it was read
            answer = b"HTTP/1.1 400 "
        assert answer.startswith(b"HTTP/1.1 400 ") or not answer
    assert guest.seen == []


async def test_a_head_as_large_as_may_be_passes(rig: Rig) -> None:
    guest = await rig.answering(OK)
    assert (await rig.http.get(rig.path(guest), headers={"x": "x" * 60_000})).status_code == 200


@pytest.mark.parametrize("begin", [b"", b"GET /", b"\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
async def test_who_does_not_finish_a_head_is_closed(rig: Rig, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(listener, "HEAD_SECONDS", 0.2)
    assert await rig.raw(begin) == b""


async def test_the_time_for_a_head_does_not_end_what_comes_after_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEAD_SECONDS", 0.2)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.6)
        writer.write(OK)

    guest = await rig.guest(handler)
    assert (await rig.http.get(rig.path(guest))).text == "ok"


async def test_more_clients_than_there_is_room_for_are_told_so_or_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS", 2)
    monkeypatch.setattr(listener, "TURNED_AWAY", 1)
    async with open_rig(tmp_path) as rig:
        guest = await rig.answering(b"HTTP/1.1 200 OK\r\n\r\nbegun", rest=True)
        path = rig.path(guest)
        async with rig.http.stream("GET", path) as one, rig.http.stream("GET", path) as two:
            assert [one.status_code, two.status_code] == [200, 200]
            ask = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            assert (await rig.raw(ask)).startswith(b"HTTP/1.1 503 ")
            upgrade = ask.replace(b"close", b"upgrade\r\nUpgrade: websocket")
            assert (await rig.raw(upgrade)).startswith(b"HTTP/1.1 503 ")
            async with rig.connection() as (_, writer):
                writer.write(b"GET")
                await writer.drain()
                with contextlib.suppress(ConnectionError):
                    assert await rig.raw(ask) == b""


@pytest.mark.parametrize("behind", [b"", WEBSOCKET])
async def test_a_client_that_goes_while_another_request_waits_ends_the_first(rig: Rig, behind: bytes) -> None:
    gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        gone.set()

    guest = await rig.guest(drip)
    async with rig.connection() as (reader, writer), asyncio.timeout(LIMIT):
        one = f"GET {rig.path(guest)} HTTP/1.1\r\nHost: x\r\n".encode()
        writer.write(one + b"\r\n")
        await reader.readuntil(b"x\r\n")
        writer.write(one + behind + b"\r\n")
        await writer.drain()
    async with asyncio.timeout(LIMIT):
        await gone.wait()


async def test_a_client_that_takes_nothing_is_let_go(tmp_path: Path) -> None:
    async with open_rig(tmp_path, HUTCH_PROXY_IDLE_TIMEOUT="1") as rig:
        begun, gone = asyncio.Event(), asyncio.Event()

        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            begun.set()
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(bytes(65536))
                    await writer.drain()
            gone.set()

        guest = await rig.guest(flood)
        async with rig.connection() as (_, writer), asyncio.timeout(LIMIT):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(f"GET {rig.path(guest)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await begun.wait()
            await gone.wait()
            while rig.listener._server.server_state.connections:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_who_asks_for_another_protocol_is_answered_in_this_one(rig: Rig, body: bytes) -> None:
    guest = await rig.answering(OK)
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    head = f"POST {rig.path(guest)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
    assert (await rig.raw(head + upgrade + b"\r\n" + body)).endswith(b"\r\n\r\nok")
    assert guest.seen[0].endswith(b"\r\n\r\n" + body)
    assert "http2-settings" not in guest.head


@pytest.mark.parametrize(
    "head",
    [
        b"POST P HTTP/1.1\r\nContent-Length: 1\r\n",
        b"GET P HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n",
        b"GET P HTTP/1.1\r\n" + b"X: x\r\n" * 200,
        b"GET http://other.example/ HTTP/1.1\r\n",
        b"GET P HTTP/1.1\r\nHost: HOST:99999\r\n",
        b"GET P HTTP/1.1\r\nHost: HOST\r\nHost: other.example\r\n",
    ],
)
async def test_a_websocket_that_is_asked_for_in_no_proper_way_is_a_400(rig: Rig, head: bytes) -> None:
    guest = await rig.answering(b"HTTP/1.1 200 OK\r\n\r\n")
    head += b"" if b"Host" in head else b"Host: HOST\r\n"
    head = head.replace(b" P ", b" /a ").replace(b"HOST", rig.host(guest).encode())
    assert (await rig.raw(head + WEBSOCKET + b"\r\n")).startswith(b"HTTP/1.1 400 ")
    assert guest.seen == []


async def test_nothing_is_left_of_requests_that_are_over(rig: Rig) -> None:
    guest = await rig.answering(OK)
    await asyncio.gather(*(rig.http.get(rig.path(guest)) for _ in range(50)))
    await rig.http.aclose()
    async with asyncio.timeout(LIMIT):
        while [task for task in asyncio.all_tasks() if "RequestResponseCycle" in repr(task)]:
            await asyncio.sleep(0.01)
    gc.collect()
    assert not [it for it in gc.get_objects() if type(it).__name__ == "Exchange" and not it._transport.is_closing()]


async def test_requests_under_way_are_finished_when_the_service_ends(rig: Rig) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await go_on.wait()
        writer.write(OK)

    guest = await rig.guest(handler)
    asked = asyncio.create_task(rig.http.get(rig.path(guest)))
    await asyncio.wait_for(begun.wait(), LIMIT)
    rig.listener.end()
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                async with httpx.AsyncClient(trust_env=False) as late:
                    await late.get(rig.url)
            except httpx.TransportError:
                break
    go_on.set()
    assert (await asked).text == "ok"


async def test_requests_that_do_not_end_with_the_service_are_ended(rig: Rig) -> None:
    guest = await rig.answering(b"", rest=True)
    asked = asyncio.create_task(rig.http.get(rig.path(guest)))
    while not guest.seen:
        await asyncio.sleep(0.01)
    rig.listener.end()
    told = await asyncio.wait_for(asked, LIMIT)
    assert told.status_code == 503
    await asyncio.wait_for(guest.gone.wait(), LIMIT)
