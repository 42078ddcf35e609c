"""Proofs of whose a name is: asked of a real name server, and of a real web server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

import dns_server
from hutch.notify import proofs
from hutch.notify.http import HttpSender
from hutch.notify.interface import NotSent
from hutch.notify.proofs import NetProofs

NAME = "_hutch.shop.example"


@pytest.fixture
async def zone() -> AsyncIterator[dns_server.Zone]:
    async with dns_server.serving() as zone:
        yield zone


def asking(zone: dns_server.Zone) -> NetProofs:
    return NetProofs(HttpSender(), zone.address)


async def test_all_texts_of_a_name_are_told(zone: dns_server.Zone) -> None:
    zone.texts[NAME] = ["v=spf1 -all", "hutch-verify=abc"]
    assert sorted(await asking(zone).texts(NAME)) == ["hutch-verify=abc", "v=spf1 -all"]


async def test_the_parts_of_a_long_text_are_one(zone: dns_server.Zone) -> None:
    zone.texts[NAME] = ['hutch-" "verify=abc']
    assert list(await asking(zone).texts(NAME)) == ["hutch-verify=abc"]


async def test_a_name_without_texts_and_one_that_is_not_there_have_none(zone: dns_server.Zone) -> None:
    zone.texts[NAME] = []
    assert list(await asking(zone).texts(NAME)) == []
    assert list(await asking(zone).texts("_hutch.other.example")) == []


async def test_a_silent_name_server_is_given_up(zone: dns_server.Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "LIMIT", 0.2)
    zone.is_silent = True
    with pytest.raises(NotSent, match="no name server answered"):
        await asking(zone).texts(NAME)


@contextlib.asynccontextmanager
async def site(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A web server that answers every request so; its port, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


def reading(port: int, *addresses: str, allow_local: bool = False) -> NetProofs:
    async def resolve(_: str, __: int) -> Sequence[str]:
        return addresses

    return NetProofs(HttpSender(allow_local, resolve), http_port=port)


URL = "http://shop.example/.well-known/hutch/abc"


async def test_a_page_is_read_at_its_names_address() -> None:
    async with site(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nhutch-verify=abc") as (port, asked):
        assert await reading(port, "127.0.0.1", allow_local=True).page(URL) == "hutch-verify=abc"
    assert asked[0].startswith(b"GET /.well-known/hutch/abc HTTP/1.1\r\n")
    assert f"host: shop.example:{port}\r\n".encode() in asked[0].lower()


async def test_only_the_beginning_of_a_page_is_read() -> None:
    async with site(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**20) as (port, _):
        assert await reading(port, "127.0.0.1", allow_local=True).page(URL) == "x" * proofs.WANTED


@pytest.mark.parametrize("status", ["302 Found\r\nLocation: http://127.0.0.1/", "404 Not Found", "204 No Content"])
async def test_anything_but_a_page_is_none(status: str) -> None:
    async with site(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) as (port, asked):
        with pytest.raises(NotSent, match=f"answered {status[:3]}"):
            await reading(port, "127.0.0.1", allow_local=True).page(URL)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "192.168.0.1", "100.64.0.1", "fd00::1"]
)
async def test_no_page_is_read_where_only_this_host_can_reach(address: str) -> None:
    async with site(b"HTTP/1.1 200 OK\r\n\r\nx") as (port, asked):
        with pytest.raises(NotSent, match="may not be reached"):
            await reading(port, "93.184.216.34", address).page(URL)
    assert asked == []
