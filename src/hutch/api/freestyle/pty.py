"""PTY sessions: terminals on a WebSocket, that live on when it goes.

    client: binary what is typed, {"type":"resize","cols","rows"}, {"type":"signal","signal":"SIGINT"}
    server: {"type":"sessionInfo","sessionId"}, binary what is shown, {"type":"exited","exitCode"}

Who comes back is shown the last MiB first. A session is a terminal: an exec that names it runs in it.
"""

import signal
from contextlib import aclosing, suppress

import pydantic
from fastapi import APIRouter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from hutch.api import service, streams
from hutch.api.answers import Json
from hutch.api.freestyle import errors as wording
from hutch.api.freestyle import guest_requests, guest_responses, reach
from hutch.api.freestyle import terminals as looking
from hutch.api.telling import Told, plain_flaw
from hutch.control.commands import Command
from hutch.control.terminals import Terminal, TooManyTerminals
from hutch.model import errors
from hutch.model.guest import Exit, TerminalSize
from hutch.model.ids import MachineId

router = APIRouter(tags=["pty"])

_PTY = "/v1/vms/{vm_id}/pty"
_SESSIONS = f"{_PTY}/sessions"
_SESSION = f"{_SESSIONS}/{{session_id}}"
_FAULT = 1011  # RFC 6455, 7.4.1

_TYPED = {"SIGINT": b"\x03", "SIGQUIT": b"\x1c", "SIGTSTP": b"\x1a"}
"""Signals that the terminal sends to what is in its foreground, when they are typed."""


@router.websocket(_PTY)
async def open_session(socket: WebSocket, vm_id: str) -> None:
    """Open one, with the user's shell or a line of it (`exec`), under a name (`sessionId`) or without."""
    await _serve(socket, vm_id, None)


@router.websocket(_SESSION)
async def attach(socket: WebSocket, vm_id: str, session_id: str) -> None:
    """Come back to one."""
    await _serve(socket, vm_id, session_id)


async def _serve(socket: WebSocket, vm_id: str, session_id: str | None) -> None:
    try:
        terminal = await _terminal(socket, vm_id, session_id)
    except (errors.HutchError, Told) as error:
        await socket.send_denial_response(wording.TELLER.response(error, socket))
        return
    service.of(socket).metrics.count_exec("interactive")
    await socket.accept()
    inbox = streams.Inbox(socket.receive)
    await streams.either(_show(socket, terminal), _type(socket, inbox, terminal), inbox.fill())


async def _terminal(socket: WebSocket, vm_id: str, session_id: str | None) -> Terminal:
    wanted, caller, its = _wanted(socket), service.principal(socket), service.of(socket).control
    try:
        machine = reach.vm(socket, vm_id)
    except errors.NotFound:
        raise Told(404, "VM_NOT_FOUND", f"VM not found: {vm_id}") from None
    size = TerminalSize(wanted.cols, wanted.rows)
    if session_id is None:
        command = Command(shell=wanted.exec, terminal=size, user=reach.user(socket) or "root")
        return await _opened(socket, machine, command, wanted.session_id)
    try:
        terminal = await its.terminals.find(caller, machine, session_id)
    except errors.NotFound:
        raise Told(404, "SESSION_NOT_FOUND", f"PTY session {session_id} not found on VM {vm_id}") from None
    if terminal.exit is None:
        with suppress(errors.GuestError):  # it may end at this moment
            await its.terminals.resize(caller, terminal, size)
    return terminal


async def _opened(socket: WebSocket, machine: MachineId, command: Command, name: str | None) -> Terminal:
    try:
        return await service.of(socket).control.terminals.open(service.principal(socket), machine, command, name)
    except TooManyTerminals as error:
        raise Told(429, "SESSION_CAP_REACHED", error.message) from None
    except errors.Conflict as error:
        if type(error) is not errors.Conflict:
            raise
        raise Told(409, "SESSION_ALREADY_EXISTS", f"PTY session id {name} already exists on VM {machine}") from None


def _wanted(socket: WebSocket) -> guest_requests.PtyOpening:
    try:
        return guest_requests.PtyOpening.model_validate(dict(socket.query_params))
    except pydantic.ValidationError as flaws:
        raise errors.InvalidRequest(plain_flaw(flaws.errors(include_url=False)[0])) from None


async def _show(socket: WebSocket, terminal: Terminal) -> None:
    """Its output, as fast as the client takes it, until its program ends."""
    terminals, caller = service.of(socket).control.terminals, service.principal(socket)
    with suppress(WebSocketDisconnect):
        await _tell(socket, "sessionInfo", sessionId=terminal.name)
        try:
            async with aclosing(terminals.read(caller, terminal)) as told:
                async for item in told:
                    if isinstance(item, Exit):
                        await _tell(socket, "exited", exitCode=item.shell_code)
                    else:
                        await socket.send_bytes(item)
            await socket.close()
        except errors.HutchError as error:
            await socket.close(_FAULT, streams.reason(error.message))


async def _tell(socket: WebSocket, type_: str, **fields: object) -> None:
    await socket.send_text(to_json({"type": type_, **fields}).decode())


async def _type(socket: WebSocket, inbox: streams.Inbox, terminal: Terminal) -> None:
    """What the client types. What arrives after the program's end is dropped."""
    terminals, caller = service.of(socket).control.terminals, service.principal(socket)
    while True:
        message = await inbox.next()
        with suppress(errors.HutchError):
            if message.get("bytes") is not None:
                await terminals.write(caller, terminal, message["bytes"])
            else:
                await _act(socket, terminal, message.get("text") or "")


async def _act(socket: WebSocket, terminal: Terminal, text: str) -> None:
    """A message that is none of those it may be is passed over, as the documented server does."""
    its, caller = service.of(socket).control, service.principal(socket)
    with suppress(pydantic.ValidationError):
        size = guest_requests.PtySize.model_validate_json(text)
        await its.terminals.resize(caller, terminal, TerminalSize(size.cols, size.rows))
        return
    with suppress(pydantic.ValidationError):
        name = guest_requests.PtySignal.model_validate_json(text).signal
        if name in _TYPED:
            await its.terminals.write(caller, terminal, _TYPED[name])
        elif name in signal.Signals.__members__:
            await its.processes.signal(caller, terminal.machine, terminal.process, signal.Signals[name])


def _shown(it: Terminal, attached: int) -> dict[str, object]:
    return {
        "sessionId": it.name,
        "running": it.exit is None,
        "exitCode": it.exit and it.exit.shell_code,
        "cols": it.size.columns,
        "rows": it.size.rows,
        "exec": looking.line(it),
        "createdAtMs": round(it.started_at * 1000),
        "attachedCount": attached,
    }


@router.get(_SESSIONS, responses={200: {"model": guest_responses.PtySessions}})
async def list_all(request: Request, vm_id: str) -> Response:
    """All sessions, also those an exec has opened. Looking does not wake a VM."""
    terminals = service.of(request).control.terminals
    there = await looking.latest(request, vm_id)
    return Json({"sessions": [_shown(it, terminals.readers(it)) for it in there]})


@router.delete(_SESSION, responses={200: {"model": guest_responses.ClosedPty}})
async def close(request: Request, vm_id: str, session_id: str) -> Response:
    """Hang up, and forget it; answers when it has ended."""
    terminals, caller = service.of(request).control.terminals, service.principal(request)
    terminal = await terminals.find(caller, reach.vm(request, vm_id), session_id)
    end = await terminals.close(caller, terminal)
    return Json({"sessionId": terminal.name, "exitCode": end and end.shell_code})
