"""HTTP through the proxy: what passes, what does not, and what each side is told of the other's end."""

import asyncio
import hashlib
from pathlib import Path

import httpx
import pytest

from .conftest import LIMIT, Rig, open_rig, read_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_request_reaches_the_port_by_path_and_by_both_forms_of_host(rig: Rig) -> None:
    guest = await rig.answering(OK)
    by_path = await rig.http.get(rig.path(guest, "/a%2Fb//c?x=1&y=%20"))
    by_host = await rig.http.get("/a%2Fb//c?x=1", headers={"host": rig.host(guest)})
    turned = await rig.http.get("/", headers={"host": f"{guest.port}-{rig.machine}.hutch.localhost:7071"})
    assert [it.text for it in (by_path, by_host, turned)] == ["ok"] * 3
    lines = [seen.split(b"\r\n")[0] for seen in guest.seen]
    assert lines == [b"GET /a%2Fb//c?x=1&y=%20 HTTP/1.1", b"GET /a%2Fb//c?x=1 HTTP/1.1", b"GET / HTTP/1.1"]


async def test_a_path_without_its_last_slash_is_answered_and_not_redirected(rig: Rig) -> None:
    guest = await rig.answering(OK)
    assert (await rig.http.get(rig.path(guest, ""))).status_code == 200
    assert guest.seen[0].startswith(b"GET / HTTP/1.1")


async def test_the_guest_is_told_who_asks_and_for_what(rig: Rig) -> None:
    guest = await rig.answering(OK)
    forged = {"x-forwarded-for": "9.9.9.9", "x-forwarded-proto": "https", "x-forwarded-host": "evil", "forwarded": "f"}
    forged |= {"x-real-ip": "9.9.9.9", "x-machine-id": "other", "x-forwarded-port": "1", "x-forwarded-prefix": "/p"}
    await rig.http.get(rig.path(guest, "/x"), headers=forged)
    own_host = rig.url.removeprefix("http://")
    for line in (
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        f"x-forwarded-host: {own_host}",
        f"x-forwarded-prefix: /proxy/{rig.machine}/{guest.port}",
        f"x-machine-id: {rig.machine}",
        f"host: {own_host}",
    ):
        assert guest.head.split("\r\n").count(line) == 1, line
    assert "9.9.9.9" not in guest.head
    assert "evil" not in guest.head
    assert "forwarded: f" not in guest.head.replace("x-forwarded", "")
    assert "x-forwarded-port" not in guest.head


async def test_a_front_on_loopback_is_believed_once_the_operator_has_named_one(tmp_path: Path) -> None:
    async with open_rig(tmp_path, HUTCH_PROXY_URL="https://hutch.example") as rig:
        guest = await rig.answering(OK)
        told = {"x-forwarded-for": "9.9.9.9", "x-forwarded-proto": "https", "x-forwarded-host": "shop.example"}
        await rig.http.get(rig.path(guest), headers=told)
        assert "x-forwarded-for: 9.9.9.9, 127.0.0.1" in guest.head
        assert "x-forwarded-proto: https" in guest.head
        assert "x-forwarded-host: shop.example" in guest.head


async def test_headers_of_one_connection_are_not_passed_on_either_way(rig: Rig) -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: X-Inner, close\r\nX-Inner: 1\r\nKeep-Alive: timeout=9\r\n"
    guest = await rig.answering(answer + b"X-Kept: 1\r\nContent-Length: 0\r\n\r\n")
    sent = {"connection": "keep-alive, x-private", "x-private": "1", "te": "trailers", "x-own": "1", "upgrade": "h2c"}
    told = await rig.http.get(rig.path(guest), headers={**sent, "proxy-authorization": "Basic x", "trailer": "x-t"})
    assert "x-own: 1" in guest.head
    assert not {"x-private", "te", "upgrade", "proxy-authorization", "trailer", "keep-alive"} & {
        line.partition(":")[0] for line in guest.head.split("\r\n")
    }
    assert told.headers["x-kept"] == "1"
    assert "x-inner" not in told.headers
    assert "keep-alive" not in told.headers


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
        (b"Content-Length: +5\r\n", b"hello"),
        (b"Content-Length: 5,5\r\n", b"hello"),
        (b"Content-Length : 5\r\n", b"hello"),
        (b"X: a\rContent-Length: 5\r\n", b"hello"),
    ],
)
async def test_a_length_that_could_be_read_in_two_ways_is_refused(rig: Rig, framing: bytes, sent: bytes) -> None:
    guest = await rig.answering(OK)
    path = rig.path(guest).encode()
    answer = await rig.raw(
        b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + framing + b"\r\n" + sent
    )
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert guest.seen == []


async def test_a_host_that_is_none_is_refused(rig: Rig) -> None:
    guest = await rig.answering(OK)
    start = f"GET {rig.path(guest)} HTTP/1.1\r\nConnection: close\r\nHost: ".encode()
    assert (await rig.raw(start + b"a b/c\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert (await rig.raw(start + b"a\r\nHost: b\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_trailers_are_read_and_not_taken_for_headers(rig: Rig) -> None:
    guest = await rig.answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n"
    )
    body = b"3\r\nabc\r\n0\r\nX-Late: 1\r\nHost: late\r\n\r\n"
    head = f"POST {rig.path(guest)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await rig.raw(head.encode() + body)
    assert answer.endswith(b"2\r\nok\r\n0\r\n\r\n")
    assert b"late" not in answer.lower() + guest.seen[0].lower()
    assert guest.seen[0].endswith(b"3\r\nabc\r\n0\r\n\r\n")


async def test_lengths_are_kept(rig: Rig) -> None:
    guest = await rig.answering(OK)
    told = await rig.http.post(rig.path(guest), content=b"12345")
    assert told.headers["content-length"] == "2"
    assert "content-length: 5" in guest.head
    assert "transfer-encoding" not in guest.head
    assert guest.seen[0].endswith(b"12345")


async def test_a_body_without_a_length_stays_one_both_ways(rig: Rig) -> None:
    guest = await rig.answering(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")

    async def chunks() -> object:
        yield b"ab"
        yield b"c"

    told = await rig.http.post(rig.path(guest), content=chunks())
    assert told.text == "until the end"
    assert told.headers["transfer-encoding"] == "chunked"
    assert guest.seen[0].partition(b"\r\n\r\n")[2] in (b"3\r\nabc\r\n0\r\n\r\n", b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_a_body_have_none(rig: Rig, status: bytes) -> None:
    guest = await rig.answering(b"HTTP/1.1 " + status + b"\r\nETag: x\r\nContent-Length: 10\r\n\r\n")
    told = await rig.http.get(rig.path(guest))
    assert (told.status_code, told.content, told.headers["etag"]) == (int(status[:3]), b"", "x")
    assert "transfer-encoding" not in told.headers


async def test_head_tells_the_length_of_what_it_does_not_send(rig: Rig) -> None:
    guest = await rig.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    told = await rig.http.head(rig.path(guest))
    assert (told.headers["content-length"], told.content) == ("1000", b"")
    assert guest.seen[0].startswith(b"HEAD / ")


async def test_every_method_and_repeated_headers_pass(rig: Rig) -> None:
    guest = await rig.answering(
        b"HTTP/1.1 207 Multi-Status\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    )
    for method in ("OPTIONS", "PATCH", "DELETE", "PROPFIND"):
        told = await rig.http.request(method, rig.path(guest), headers=[("x-two", "1"), ("x-two", "2")])
        assert told.status_code == 207
        assert told.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert guest.head.startswith(method.lower())
        assert guest.head.count("x-two: ") == 2


async def test_informational_answers_are_passed_over(rig: Rig) -> None:
    guest = await rig.answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
    told = await rig.http.get(rig.path(guest))
    assert (told.status_code, told.text) == (200, "ok")
    assert "link" not in told.headers


async def test_a_client_that_expects_100_is_asked_for_its_body_and_one_that_is_refused_is_not(rig: Rig) -> None:
    guest = await rig.answering(OK)
    hidden = await rig.answering(OK, is_public=False)

    def head(path: str) -> bytes:
        text = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n"
        return text.encode() + b"Expect: 100-continue\r\n\r\n"

    assert (await rig.raw(head(rig.path(guest)) + b"abc")).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert "expect" not in guest.head
    assert (await rig.raw(head(rig.path(hidden)))).startswith(b"HTTP/1.1 401 ")


async def test_bodies_stream_both_ways_at_once(rig: Rig) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while (line := await reader.readline()) not in (b"", b"0\r\n"):
            if line.startswith(b"word"):
                writer.write(line)

    guest = await rig.guest(echo)
    head = f"POST {rig.path(guest)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with rig.connection() as (reader, writer), asyncio.timeout(LIMIT):
        writer.write(head.encode())
        for number in range(5):
            word = b"word %d\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(word), word))
            await reader.readuntil(word)
        writer.write(b"0\r\n\r\n")
        assert (await reader.read()).endswith(b"0\r\n\r\n")


async def test_large_bodies_arrive_whole_and_wait_for_the_slower_side(rig: Rig) -> None:
    block = bytes(range(256)) * 4096
    count = 48
    sums: list[str] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        digest = hashlib.sha256()
        for _ in range(count):
            digest.update(await reader.readexactly(len(block)))
        sums.append(digest.hexdigest())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(block) * count))
        for _ in range(count):
            writer.write(block)
            await writer.drain()

    guest = await rig.guest(handler)

    async def body() -> object:
        for _ in range(count):
            yield block

    digest = hashlib.sha256()
    length = {"content-length": str(len(block) * count)}
    async with rig.http.stream("POST", rig.path(guest), content=body(), headers=length) as told:
        async for data in told.aiter_raw():
            digest.update(data)
    assert sums == [digest.hexdigest()] == [hashlib.sha256(block * count).hexdigest()]


async def test_a_guest_is_not_read_faster_than_its_client_reads(rig: Rig) -> None:
    written = 0
    stuck = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(2**20))
            drained = asyncio.ensure_future(writer.drain())
            if not (await asyncio.wait((drained,), timeout=2))[0]:
                stuck.set()
            await drained
            written += 2**20

    guest = await rig.guest(endless)
    async with rig.http.stream("GET", rig.path(guest)):
        await asyncio.wait_for(stuck.wait(), LIMIT)
        assert written < 64 * 2**20  # what sockets hold, and no more


async def test_an_event_stream_comes_as_it_is_sent(rig: Rig) -> None:
    go_on = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        writer.write(b"data: 2\n\n")

    guest = await rig.guest(handler)
    async with rig.http.stream("GET", rig.path(guest)) as told:
        events = told.aiter_bytes()
        assert await anext(events) == b"data: 1\n\n"
        go_on.set()
        assert await anext(events) == b"data: 2\n\n"


async def test_a_client_that_hangs_up_ends_the_request_of_the_guest(rig: Rig) -> None:
    begin = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
    guest = await rig.answering(begin, rest=True)
    async with rig.http.stream("GET", rig.path(guest)) as told:
        await anext(told.aiter_bytes())
    await asyncio.wait_for(guest.gone.wait(), LIMIT)
    waiting = await rig.answering(b"", rest=True)
    with pytest.raises(httpx.ReadTimeout):
        await rig.http.get(rig.path(waiting), timeout=0.5)
    await asyncio.wait_for(waiting.gone.wait(), LIMIT)


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na",
    ],
)
async def test_an_answer_that_breaks_off_breaks_off(rig: Rig, begin: bytes) -> None:
    guest = await rig.answering(begin)
    with pytest.raises(httpx.RemoteProtocolError):
        await rig.http.get(rig.path(guest))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX[]: ab\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9000,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none_is_a_502(rig: Rig, answer: bytes) -> None:
    guest = await rig.answering(answer)
    told = await rig.http.get(rig.path(guest))
    assert told.status_code == 502, told.text
    assert set(told.json()) == {"error"}


async def test_what_a_guest_says_after_its_answer_is_no_part_of_it(rig: Rig) -> None:
    guest = await rig.answering(OK + b"HTTP/1.1 500 Late\r\nX-Late: 1\r\nContent-Length: 0\r\n\r\n")
    told = await rig.http.get(rig.path(guest))
    assert (told.status_code, told.headers.get("x-late"), told.headers["content-length"]) == (200, None, "2")


async def test_a_guest_may_answer_before_it_has_read_the_body(rig: Rig) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        while await reader.read(65536):
            pass

    guest = await rig.guest(handler)
    head = f"POST {rig.path(guest)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99999\r\n\r\n"
    assert (await rig.raw(head.encode() + b"some")).startswith(b"HTTP/1.1 413 ")


async def test_requests_on_one_connection_are_answered_in_turn(rig: Rig) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await read_request(reader)).split(b" ")[1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    guest = await rig.guest(handler)
    one = f"GET {rig.path(guest, '/1')} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    two = f"GET {rig.path(guest, '/2')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    answer = await rig.raw(one + two)
    assert answer.index(b"\r\n\r\n/1") < answer.index(b"\r\n\r\n/2")
