"""The proxy's own port against clients that take too much or too long, and its end."""

import asyncio
import contextlib
import gc
from pathlib import Path

import httpx
import pytest

from hutch.api.proxy import listener

from .conftest import LIMIT, Rig, open_rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


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
