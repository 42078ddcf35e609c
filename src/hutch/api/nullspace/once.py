"""Requests that are done once, however often they are sent: the header `Idempotency-Key`."""

from collections.abc import Awaitable, Callable

from pydantic import BaseModel
from starlette.requests import Request

from hutch.api import service

HEADER = "idempotency-key"


async def once(request: Request, operation: str, body: BaseModel | None, work: Callable[[], Awaitable[str]]) -> str:
    """The id that `work` returns, or returned when this request came first. Without the header: just do it."""
    said = b"" if body is None else body.model_dump_json().encode()
    idempotency = service.of(request).control.idempotency
    return await idempotency.once(
        service.principal(request), request.headers.get(HEADER), f"nullspace {operation}", said, work
    )
