"""The console of a machine, and of its own command: its last lines, or as it grows."""

import asyncio
import codecs
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hutch.api import service, streams
from hutch.api.smol import refs
from hutch.control.machines import Console, Cursor
from hutch.model import errors

router = APIRouter(tags=["machines"])

EVERY = 0.5
"""Seconds between two looks at a console that is followed."""


def last_lines(console: bytes, count: int) -> bytes:
    """The end of it, as UTF-8 with plain line ends. Pure."""
    lines = _text(console).splitlines(keepends=True)
    return "".join(lines[-count:] if count else ()).encode()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n")


class Text:
    """Bytes that come in pieces, as UTF-8 with plain line ends, whatever a piece ends in the middle of. Pure."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # a carriage return that a line feed may follow

    def add(self, piece: bytes) -> bytes:
        """What can be told now."""
        text = self._held + self._decoder.decode(piece)
        self._held = "\r" if text.endswith("\r") else ""
        return text.removesuffix("\r").replace("\r\n", "\n").encode()


async def _follow(
    look: Callable[[Cursor], Awaitable[Console]], seen: Console, tail: int
) -> AsyncGenerator[bytes, None]:
    yield last_lines(seen.text, tail)
    text = Text()
    while True:
        await asyncio.sleep(EVERY)
        try:
            seen = await look(seen.end)
        except errors.HutchError:
            return
        if fresh := text.add(seen.text):
            yield fresh


@router.get("/v1/machines/{id}/logs", response_class=PlainTextResponse)
async def logs(
    request: Request, id: str, tail: Annotated[int, Query(ge=0)] = 100, follow: Annotated[bool, Query()] = False
) -> Response:
    """The last `tail` lines of its console; with `follow`, also what comes, until the machine is gone."""
    caller, machine, machines = service.principal(request), refs.machine(request), service.of(request).control.machines
    console = await machines.console(caller, machine)
    if not follow:
        return PlainTextResponse(last_lines(console.text, tail))
    parts = _follow(lambda since: machines.console(caller, machine, since), console, tail)
    return streams.PulledResponse(parts, {"content-type": "text/plain; charset=utf-8", "x-accel-buffering": "no"})
