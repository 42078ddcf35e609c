"""What happened to machines, and what happens: as a list, or live as server-sent events."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import events, service, streams
from hutch.api.smol import execs, present, refs, responses
from hutch.model import errors
from hutch.model.machine import Event

router = APIRouter(tags=["events"])

_EVENTS: dict[int | str, dict[str, Any]] = {200: {"model": list[responses.Event]} | execs.EVENT_STREAM}


def _frame(it: Event) -> bytes:
    return events.frame(it.kind, to_json(present.event(it)).decode())


async def frames(past: Sequence[Event], told: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    """What was, then what happens; an event that is in both is told once."""
    seen = {it.id for it in past}
    async with aclosing(told):
        for it in past:
            yield _frame(it)
        try:
            async for it in told:
                if it.id not in seen:
                    yield _frame(it)
        except errors.HutchError as error:
            yield events.frame("error", error.message)


def _live(past: Sequence[Event], told: AsyncGenerator[Event, None]) -> Response:
    return streams.PulledResponse(
        frames(past, told), streams.EVENT_STREAM_HEADERS, keep_alive=streams.EVENT_STREAM_KEEP_ALIVE
    )


@router.get("/v1/machines/{id}/events", responses=_EVENTS)
async def of_machine(request: Request, id: str, follow: Annotated[bool, Query()] = False) -> Response:
    """What happened to it, oldest first. With `follow` (native) as server-sent events, which go on as more happens.

    An event's name is its kind, its data are the same JSON as in the list.
    """
    caller, machine, control = service.principal(request), refs.machine(request), service.of(request).control
    if not follow:
        return present.Json([present.event(it) for it in await control.machines.events(caller, machine)])
    told = control.feed.listen(caller, machine)
    return _live(await control.machines.events(caller, machine), told)


@router.get("/v1/events", response_class=Response, responses={200: execs.EVENT_STREAM})
async def of_all(request: Request, kind: Annotated[Sequence[str], Query()] = ()) -> Response:
    """What happens to all machines from now on, as server-sent events. Native.

    `kind`, once or more, chooses: `machine.failed`, or `machine.*`.
    """
    return _live((), service.of(request).control.feed.listen(service.principal(request), None, kind))
