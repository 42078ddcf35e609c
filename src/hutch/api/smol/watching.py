"""Machines watched: what happens to their files, and how they fare. Native."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import events, service, streams
from hutch.api.smol import execs, present, refs, responses
from hutch.control.vitals import INTERVALS, Sample
from hutch.model import errors
from hutch.model.guest import Change

router = APIRouter(tags=["watching"])


class FileChange(responses.Answer):
    """Something that happened to a file or a directory."""

    kind: Literal["created", "written", "removed", "renamed", "changed"]
    path: str
    directory: bool


class Stats(responses.Answer):
    """How a machine fares, as its own kernel says; `cpuPercent` is of all its vCPUs, 0 to 100."""

    cpu_percent: float
    memory_total_bytes: int
    memory_used_bytes: int
    memory_available_bytes: int
    at: str


def change_shown(it: Change) -> dict[str, Any]:
    """A change as JSON."""
    return {"kind": it.kind.value, "path": it.path, "directory": it.is_directory}


def stats_shown(it: Sample) -> dict[str, Any]:
    """A sample as JSON."""
    return {
        "cpuPercent": round(it.cpu_percent, 2),
        "memoryTotalBytes": it.memory_total,
        "memoryUsedBytes": it.memory_used,
        "memoryAvailableBytes": it.memory_available,
        "at": present.time(it.at),
    }


async def _changes(told: AsyncGenerator[Change | None, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(told):
        try:
            async for it in told:
                if it is not None:
                    yield events.frame("change", to_json(change_shown(it)).decode())
        except errors.HutchError as error:
            yield events.frame("error", error.message)


async def _samples(first: Sample, told: AsyncGenerator[Sample, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(told):
        yield events.frame("stats", to_json(stats_shown(first)).decode())
        async for it in told:
            yield events.frame("stats", to_json(stats_shown(it)).decode())


def _live(parts: AsyncGenerator[bytes, None]) -> Response:
    return streams.PulledResponse(parts, streams.EVENT_STREAM_HEADERS, keep_alive=streams.EVENT_STREAM_KEEP_ALIVE)


@router.get("/v1/machines/{id}/watch", response_class=Response, responses={200: execs.EVENT_STREAM})
async def watch(request: Request, id: str, path: str = "/") -> Response:
    """What happens to files below a directory from now on, as server-sent events `change`; of `/` not the system's own.

    The machine is in use meanwhile. It ends with an `error` that says why: the machine stands still or ends, the
    directory is gone, or more happens than can be told of.
    """
    told = service.of(request).control.watches.watch(service.principal(request), refs.machine(request), path)
    await streams.unless_hung_up(request.receive, streams.first(told))
    return _live(_changes(told))


@router.get("/v1/machines/{id}/stats", responses={200: {"model": Stats, "content": {"text/event-stream": {}}}})
async def stats(
    request: Request,
    id: str,
    follow: Annotated[bool, Query()] = False,
    interval: Annotated[float, Query(ge=INTERVALS[0], le=INTERVALS[1])] = 1,
) -> Response:
    """How a machine that runs fares; with `follow` as server-sent events `stats`, one every `interval` seconds.

    Looking keeps it from nothing: the stream ends with its run.
    """
    told = service.of(request).control.vitals.stream(service.principal(request), refs.machine(request), interval)
    first = await streams.unless_hung_up(request.receive, streams.first(told))
    if follow:
        return _live(_samples(first, told))
    await told.aclose()
    return present.Json(stats_shown(first))
