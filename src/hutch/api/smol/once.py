"""`Idempotency-Key`: a request that is sent twice is done once."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from starlette.requests import Request

from hutch.api import service

HEADER = "idempotency-key"


class _Thing(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Thing)


async def made(
    request: Request, body: bytes, make: Callable[[], Awaitable[Sequence[T]]], look: Callable[[str], T]
) -> Sequence[T]:
    """What `make` makes, or made when this request was sent before with the same key, as `look` finds it now.

    Without a key it is made each time.
    """
    fresh: list[T] = []

    async def work() -> str:
        fresh.extend(await make())
        return ",".join(it.id for it in fresh)

    key, operation = request.headers.get(HEADER), f"{request.method} {request.scope['path']}"
    once = service.of(request).control.idempotency.once
    ids = await once(service.principal(request), key, operation, body, work)
    return fresh or [look(id) for id in ids.split(",")]
