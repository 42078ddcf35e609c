"""The images that are here, native."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeAlias

from fastapi import APIRouter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, events, openapi, service, streams
from hutch.api.smol import present, requests, responses
from hutch.control.images import Image, Progress
from hutch.model import errors

router = APIRouter(tags=["images"])

Told: TypeAlias = AsyncGenerator[Progress | Image, None]


def _frame(item: Progress | Image) -> bytes:
    if isinstance(item, Image):
        return events.frame("image", to_json(present.image(item)).decode())
    return events.frame("progress", to_json(present.progress(item)).decode())


async def _frames(first: Progress | Image, told: Told) -> AsyncGenerator[bytes, None]:
    async with aclosing(told):
        yield _frame(first)
        try:
            async for item in told:
                yield _frame(item)
        except errors.HutchError as error:
            yield events.frame("error", error.message)


@router.get("/v1/images", responses={200: {"model": list[responses.Image]}})
async def list_all(request: Request) -> Response:
    """All that are here, newest first."""
    return present.Json(
        [present.image(it) for it in await service.of(request).control.images.list(service.principal(request))]
    )


@router.post(
    "/v1/images/pull",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}},
    openapi_extra=openapi.body(requests.PullImage),
)
async def pull(request: Request) -> Response:
    """Pull or build an image: events `progress` (`{phase, fraction}`), at last `image` or `error`.

    What is wrong at once has a status of its own. A client that hangs up gives up the pull.
    """
    body = await bodies.parse(request, requests.PullImage)
    told = service.of(request).control.images.pull(service.principal(request), body.reference)
    first = await streams.unless_hung_up(request.receive, streams.first(told))
    return streams.PulledResponse(
        _frames(first, told), streams.EVENT_STREAM_HEADERS, keep_alive=streams.EVENT_STREAM_KEEP_ALIVE
    )


@router.delete("/v1/images/{reference:path}", status_code=204)
async def remove(request: Request, reference: str) -> Response:
    """Remove an image by reference or digest; 409 while a machine is made of it."""
    await service.of(request).control.images.remove(service.principal(request), reference)
    return Response(status_code=204)
