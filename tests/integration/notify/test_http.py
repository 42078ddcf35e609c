"""Messages over real HTTP: what is sent, what is not followed, and where they do not go."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from hutch.model import errors
from hutch.notify.http import HttpSender
from hutch.notify.interface import NotSent

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Endpoint:
    """An HTTP server that answers every request the same way, and keeps what it was sent."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line]
            self.requests.append(head + await reader.readexactly(length))
            writer.write(self.answer)
            await writer.drain()
            while self.answer.endswith(b"..."):
                writer.write(b"x" * 65536)
                await writer.drain()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    endpoint.port = server.sockets[0].getsockname()[1]
    async with server:
        yield endpoint


def named(*answers: Sequence[str] | Exception, allow_local: bool = False) -> HttpSender:
    """One whose every name means these, one after the other."""
    waiting = list(answers)

    async def resolve(_: str, __: int) -> Sequence[str]:
        answer = waiting.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return HttpSender(allow_local, resolve)


async def test_body_and_headers_arrive_as_they_are(endpoint: Endpoint) -> None:
    status = await HttpSender(allow_local=True).post(endpoint.url, {"X-Hutch-Event": "machine.started"}, b'{"a":1}')
    (request,) = endpoint.requests
    assert status == 204
    assert request.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert request.endswith(b'\r\n\r\n{"a":1}')
    assert f"host: 127.0.0.1:{endpoint.port}\r\n".encode() in request.lower()
    assert b"x-hutch-event: machine.started\r\n" in request.lower()


async def test_a_name_is_resolved_once_and_told_as_the_host(endpoint: Endpoint) -> None:
    sender = named(["127.0.0.1"], allow_local=True)
    assert await sender.post(f"http://example.org:{endpoint.port}/", {}, b"") == 204
    assert f"host: example.org:{endpoint.port}\r\n".encode() in endpoint.requests[0].lower()


async def test_the_next_address_is_tried_when_one_does_not_take_the_connection(endpoint: Endpoint) -> None:
    sender = named(["127.0.0.2", "127.0.0.1"], allow_local=True)
    assert await sender.post(f"http://example.org:{endpoint.port}/", {}, b"") == 204


async def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    endpoint.answer = f"HTTP/1.1 307 X\r\nLocation: {endpoint.url}\r\nContent-Length: 0\r\n\r\n".encode()
    assert await HttpSender(allow_local=True).post(endpoint.url, {}, b"") == 307
    assert len(endpoint.requests) == 1


async def test_an_endless_answer_is_not_read(endpoint: Endpoint) -> None:
    endpoint.answer = b"HTTP/1.1 200 OK\r\n\r\n..."
    async with asyncio.timeout(30):
        assert await HttpSender(allow_local=True).post(endpoint.url, {}, b"") == 200


async def test_this_host_is_not_reached_by_number_or_name(endpoint: Endpoint) -> None:
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1"):
        with pytest.raises(NotSent, match=r"may not be reached|cannot be resolved"):
            await HttpSender().post(f"http://{host}:{endpoint.port}/", {}, b"")
    assert endpoint.requests == []


async def test_a_name_that_means_this_host_later_is_refused_then(endpoint: Endpoint) -> None:
    sender = named(["1.1.1.1"], ["127.0.0.1"])
    url = f"http://example.org:{endpoint.port}/"
    await sender.check(url)
    with pytest.raises(NotSent, match="a loopback address, which may not be reached"):
        await sender.post(url, {}, b"")
    assert endpoint.requests == []


async def test_one_bad_address_among_good_ones_is_enough(endpoint: Endpoint) -> None:
    with pytest.raises(NotSent, match="loopback"):
        await named(["1.1.1.1", "127.0.0.1"]).post(f"http://example.org:{endpoint.port}/", {}, b"")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.org/", "http:// or https://"),
        ("example.org", "http:// or https://"),
        ("http:///path", "http:// or https://"),
        ("https://me:secret@example.org/", "a user"),
        ("https://example.org/#part", "a fragment"),
        ("http://[::1", "malformed"),
        ("http://127.0.0.1/", "loopback"),
        ("http://[::1]/", "loopback"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://localhost:8080/", "loopback"),
    ],
)
async def test_a_url_that_may_not_be_is_refused_with_the_reason(url: str, words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words) as refused:
        await HttpSender().check(url)
    assert "secret" not in refused.value.message


async def test_a_name_that_cannot_be_resolved_now_is_no_reason_to_refuse_it() -> None:
    await named(OSError("no such name")).check("https://example.org/")


async def test_nobody_there_is_told_in_words() -> None:
    with pytest.raises(NotSent, match="cannot be resolved: no such name"):
        await named(OSError(1, "no such name")).post("https://example.org/", {}, b"")
    with pytest.raises(NotSent, match="connection"):
        await HttpSender(allow_local=True).post("http://127.0.0.1:9/", {}, b"")


async def test_a_server_that_speaks_something_else_is_told_in_words(endpoint: Endpoint) -> None:
    endpoint.answer = b"SSH-2.0-OpenSSH\r\n\r\n"
    with pytest.raises(NotSent):
        await HttpSender(allow_local=True).post(endpoint.url, {}, b"")


async def test_a_certificate_is_checked_against_the_name(tmp_path: Path, endpoint: Endpoint) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=example.org -keyout {key} -out {certificate}"
    subprocess.run(words.split(), check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with asyncio.timeout(10), await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
            await named(["127.0.0.1"], allow_local=True).post(f"https://example.org:{port}/", {}, b"")
    assert endpoint.requests == []
