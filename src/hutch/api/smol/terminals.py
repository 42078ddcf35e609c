"""A terminal in a machine, over a WebSocket.

From the client: binary is what is typed, text is `{"type":"resize","cols":…,"rows":…}`. To the client: binary is
output, and at last the text `{"type":"exit","code":N}`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Any, Literal

import pydantic
from fastapi import APIRouter, Query
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from hutch.api import service, streams
from hutch.api.smol import errors as wording
from hutch.api.smol import exec_stream, refs, requests
from hutch.control.commands import Command
from hutch.control.terminals import Terminal, Terminals
from hutch.model import errors
from hutch.model.guest import Exit, TerminalSize

router = APIRouter(tags=["exec"])

_PATH = "/v1/machines/{id}/exec/interactive"
_NO_WEBSOCKET = "exec/interactive is a WebSocket: ask for an upgrade\n"
_FAULT = 1011  # RFC 6455, 7.4.1


class Opening(requests.Body):
    """What to open, in the query. All but `cmd`, `cols` and `rows` are native."""

    model_config = pydantic.ConfigDict(strict=False, extra="ignore", frozen=True)

    cmd: tuple[str, ...] = ()
    cols: Annotated[int, pydantic.Field(ge=1, le=65535)] = 80
    rows: Annotated[int, pydantic.Field(ge=1, le=65535)] = 24
    cwd: str | None = None
    user: str | None = None
    process: str | None = None
    offset: Annotated[int, pydantic.Field(ge=0, le=2**53)] = 0
    keep: bool = False


class Resize(requests.Terminal):
    """The client's terminal has another size."""

    type: Literal["resize"]


def command(wanted: Opening) -> Command:
    """One `cmd` is a line for the shell, several are an argv, none is the user's login shell. Pure."""
    is_line = len(wanted.cmd) == 1
    return Command(
        argv=wanted.cmd if wanted.cmd and not is_line else None,
        shell=wanted.cmd[0] if is_line else None,
        cwd=wanted.cwd,
        user=wanted.user,
        terminal=TerminalSize(wanted.cols, wanted.rows),
    )


@router.get(
    _PATH,
    response_class=PlainTextResponse,
    status_code=426,
    responses={101: {"description": "A terminal"}, 426: {"description": "Not a WebSocket"}},
)
async def not_upgraded(
    request: Request,
    id: str,
    cmd: Annotated[Sequence[str], Query()] = (),
    cols: Annotated[int, Query(ge=1, le=65535)] = 80,
    rows: Annotated[int, Query(ge=1, le=65535)] = 24,
    cwd: str | None = None,
    user: str | None = None,
    process: str | None = None,
    offset: Annotated[int, Query(ge=0)] = 0,
    keep: bool = False,
) -> Response:
    """A terminal over a WebSocket; asked for otherwise, 426.

    `cmd` is a shell line, or given more than once an argv; without it, the user's login shell. Binary messages are
    what is typed and what is shown; `{"type":"resize","cols":80,"rows":24}` tells another size; the last message is
    `{"type":"exit","code":0}`. Native: the handshake's header `x-hutch-process-id` tells what the terminal is called;
    `process` and `offset` come back to one that was left; `keep` leaves it running when the client goes.
    """
    return PlainTextResponse(_NO_WEBSOCKET, 426, {"upgrade": "websocket"})


@router.websocket(_PATH)
async def interactive(websocket: WebSocket, id: str) -> None:
    """Open a terminal, or come back to one, and join it with the client."""
    try:
        wanted = _wanted(websocket)
        terminal = await _opened(websocket, wanted)
    except errors.HutchError as error:
        await websocket.send_denial_response(wording.response(error))
        return
    service.of(websocket).metrics.count_exec("interactive")
    await websocket.accept(headers=[(exec_stream.PROCESS_ID.encode(), terminal.process.encode())])
    ended = await _join(websocket, terminal, wanted.offset)
    if not ended and not wanted.keep:
        with suppress(errors.HutchError):
            await service.of(websocket).control.terminals.end(service.principal(websocket), terminal)


def _wanted(websocket: WebSocket) -> Opening:
    asked: dict[str, Any] = dict(websocket.query_params)
    try:
        return Opening.model_validate(asked | {"cmd": tuple(websocket.query_params.getlist("cmd"))})
    except pydantic.ValidationError as flaws:
        words = wording.misfit(flaws.errors(include_url=False)[0])
        raise errors.InvalidRequest(f"Failed to deserialize query string: {words}") from None


async def _opened(websocket: WebSocket, wanted: Opening) -> Terminal:
    caller, machine, terminals = service.principal(websocket), refs.machine(websocket), _terminals(websocket)
    if wanted.process is not None:
        return await terminals.find(caller, machine, wanted.process)
    return await terminals.open(caller, machine, command(wanted))


def _terminals(websocket: WebSocket) -> Terminals:
    return service.of(websocket).control.terminals


async def _join(websocket: WebSocket, terminal: Terminal, offset: int) -> bool:
    """Until the terminal's program or the client goes; True if the program did."""
    showing = asyncio.create_task(_show(websocket, terminal, offset))
    inbox = streams.Inbox(websocket.receive)
    typing = asyncio.create_task(streams.either(_type(websocket, inbox, terminal), inbox.fill()))
    try:
        await asyncio.wait((showing, typing), return_when=asyncio.FIRST_COMPLETED)
        if typing.done() and not showing.done():
            typing.result()
            return False
        return await showing
    finally:
        for task in (showing, typing):
            task.cancel()
        await asyncio.gather(showing, typing, return_exceptions=True)


async def _show(websocket: WebSocket, terminal: Terminal, offset: int) -> bool:
    """Its output, as fast as the client takes it."""
    with suppress(WebSocketDisconnect):
        try:
            async with aclosing(_terminals(websocket).read(service.principal(websocket), terminal, offset)) as told:
                async for item in told:
                    if isinstance(item, Exit):
                        await websocket.send_text(to_json({"type": "exit", "code": item.shell_code}).decode())
                        await websocket.close()
                        return True
                    await websocket.send_bytes(item)
        except errors.HutchError as error:
            await websocket.close(_FAULT, streams.reason(error.message))
    return False


async def _type(websocket: WebSocket, inbox: streams.Inbox, terminal: Terminal) -> None:
    """What the client types. What arrives after the program's end is dropped."""
    caller, terminals = service.principal(websocket), _terminals(websocket)
    while True:
        message = await inbox.next()
        with suppress(errors.HutchError):
            if message.get("bytes") is not None:
                await terminals.write(caller, terminal, message["bytes"])
            elif size := _size(message.get("text") or ""):
                await terminals.resize(caller, terminal, size)


def _size(text: str) -> TerminalSize | None:
    """The size that a text message tells; None if it tells something else, which documented servers pass over."""
    try:
        told = Resize.model_validate_json(text)
    except pydantic.ValidationError:
        return None
    return TerminalSize(told.cols, told.rows)
