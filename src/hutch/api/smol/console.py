"""The console of a machine, and of its own command: its last lines, or as it grows."""

import asyncio
import bisect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hutch.api import service, streams
from hutch.api.smol import refs
from hutch.model import errors

router = APIRouter(tags=["machines"])

EVERY = 0.5
"""Seconds between two looks at a console that is followed."""

_MARK = 512  # bytes by which the end of what was shown is found again


def last_lines(console: bytes, count: int) -> bytes:
    """The end of it, as UTF-8 with plain line ends. Pure."""
    lines = _text(console).splitlines(keepends=True)
    return "".join(lines[-count:] if count else ()).encode()


def grown(before: bytes, now: bytes) -> bytes:
    """What has come since `before`, both being the end of something that only grows, mostly at its end. Pure.

    All of it if the two have nothing in common: the machine was started anew, or wrote faster than we look.
    """
    more = len(now) - len(before)
    if more >= 0:
        at = bisect.bisect(range(len(before)), False, key=lambda end: before[: end + 1] != now[: end + 1])
        if before[at:] == now[at + more :]:
            return now[at : at + more]
    mark = before[-_MARK:]
    found = now.rfind(mark) if mark else 0
    return now[found + len(mark) :] if found >= 0 else now


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n")


async def _follow(look: Callable[[], Awaitable[bytes]], seen: bytes, tail: int) -> AsyncGenerator[bytes, None]:
    yield last_lines(seen, tail)
    while True:
        await asyncio.sleep(EVERY)
        try:
            now = await look()
        except errors.HutchError:
            return
        if fresh := grown(seen, now):
            yield _text(fresh).encode()
        seen = now


@router.get("/v1/machines/{id}/logs", response_class=PlainTextResponse)
async def logs(
    request: Request, id: str, tail: Annotated[int, Query(ge=0)] = 100, follow: Annotated[bool, Query()] = False
) -> Response:
    """The last `tail` lines of its console; with `follow`, also what comes, until the machine is gone."""
    caller, machine, machines = service.principal(request), refs.machine(request), service.of(request).control.machines
    console = await machines.console(caller, machine)
    if not follow:
        return PlainTextResponse(last_lines(console, tail))
    parts = _follow(lambda: machines.console(caller, machine), console, tail)
    return streams.PulledResponse(parts, {"content-type": "text/plain; charset=utf-8", "x-accel-buffering": "no"})
