"""Bodies of requests: JSON read whole within a limit, anything else passed on in chunks.

The framework's own body parameters are not used: they read without a limit, want a content type that clients
forget, and validate twice.
"""

from collections.abc import AsyncIterator
from typing import TypeVar

import pydantic
from starlette.requests import Request

JSON_LIMIT = 16 * 1024 * 1024
"""Bytes of a JSON body: room for a long stdin or script, no room to fill memory. Files go another way."""

Model = TypeVar("Model", bound=pydantic.BaseModel)


class TooLarge(Exception):
    """The body is larger than what is taken here."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request body is larger than {limit} bytes")


class Malformed(Exception):
    """The body is not JSON at all; the message says where it stops being it."""


class Unfit(Exception):
    """The body is JSON but not of the form asked for; `flaws` are pydantic's, each dialect words them."""

    def __init__(self, flaws: pydantic.ValidationError) -> None:
        super().__init__(str(flaws))
        self.flaws = flaws


def declared_length(request: Request) -> int | None:
    """The length the client announced, if it did."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() else None


async def whole(request: Request, limit: int = JSON_LIMIT) -> bytes:
    """All of the body. Raises `TooLarge` as soon as that is known."""
    if (declared_length(request) or 0) > limit:
        raise TooLarge(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(limit)
    return bytes(body)


async def parse(request: Request, model: type[Model], optional: bool = False) -> Model:
    """The body as `model`, whatever content type it claims. Raises `TooLarge`, `Malformed` or `Unfit`.

    With `optional` no body is as good as an empty object.
    """
    return read(await whole(request), model, optional)


def read(body: bytes, model: type[Model], optional: bool = False) -> Model:
    """The same of a body that is there. Raises `Malformed` or `Unfit`."""
    if optional and not body.strip():
        body = b"{}"
    try:
        return model.model_validate_json(body)
    except pydantic.ValidationError as flaws:
        first = flaws.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise Malformed(str(first["ctx"]["error"])) from None
        raise Unfit(flaws) from None


async def chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes: pulled, so memory stays flat.

    Raises `TooLarge` before any of it is read, and `ClientDisconnect` if it stops short. A body that did not announce
    its length is for the receiver to count.
    """
    if (declared_length(request) or 0) > limit:
        raise TooLarge(limit)
    async for chunk in request.stream():
        if chunk:
            yield chunk
