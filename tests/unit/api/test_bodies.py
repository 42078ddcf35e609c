"""Reading bodies within a limit."""

from collections.abc import Iterable

import pytest
from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import Message

from hutch.api import bodies


class Point(BaseModel):
    x: int


def request(*chunks: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> Request:
    waiting = list(chunks) or [b""]

    async def receive() -> Message:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    return Request({"type": "http", "method": "POST", "headers": list(headers)}, receive)


async def test_a_body_is_read_whatever_content_type_it_claims() -> None:
    read = await bodies.parse(request(b'{"x"', b": 3}", headers=[(b"content-type", b"text/plain")]), Point)
    assert read.x == 3


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read_if_it_says_so() -> None:
    with pytest.raises(bodies.TooLarge):
        await bodies.whole(request(headers=[(b"content-length", b"11")]), limit=10)


async def test_a_body_that_does_not_tell_its_length_is_refused_as_soon_as_it_is_too_long() -> None:
    with pytest.raises(bodies.TooLarge):
        await bodies.whole(request(b"12345", b"678901", b"never read"), limit=10)


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"x": 1', b"{'x': 1}", b"\xff"])
async def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(bodies.Malformed):
        await bodies.parse(request(body), Point)


async def test_json_of_another_form_is_unfit() -> None:
    with pytest.raises(bodies.Unfit):
        await bodies.parse(request(b'{"y": 1}'), Point)
