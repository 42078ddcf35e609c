"""Terminals on a WebSocket, and as requests. They live on when the socket goes, and are found again by id or pid.

    pty_start {id, cols, rows, cwd, envs}     ─►  pty_started {id, session_id, pid, cols, rows, exec_id},
    pty_connect {id, session_id|pid}              pty_output {id, session_id, data, data_base64}…,
    pty_input {session_id, data|data_base64}      pty_exited {id, session_id, exit_code}
    pty_resize {session_id, cols, rows} · pty_kill {session_id}

Who connects again is told the last MiB of what was written.
"""

import base64
import codecs
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import errors, refs, requests, responses
from hutch.api.nullspace.conversation import Conversation, Handler, fit
from hutch.control.commands import Command
from hutch.control.terminals import PREFIX, Terminal
from hutch.model.guest import TerminalSize
from hutch.model.ids import MachineId

router = APIRouter(tags=["pty"])

_MISSING = "not_found"
_PTY = "/v1/machines/{id}/pty"
Side = Annotated[int, Field(ge=1, le=65535)]


class Start(requests.Body):
    """A terminal to open."""

    id: str
    cols: Side = 120
    rows: Side = 30
    cwd: str | None = None
    envs: requests.Environment | None = None


class Connect(requests.Body):
    """A terminal to come back to, by one of the two."""

    id: str
    session_id: str | None = None
    pid: int | None = None


class Input(requests.Body):
    """What is typed, as text or exactly."""

    id: str | None = None
    session_id: str | None = None
    data: str | None = None
    data_base64: str | None = None


class Resize(requests.Resize):
    """A terminal's new size."""

    id: str | None = None
    session_id: str | None = None


def shown(it: Terminal) -> dict[str, Any]:
    """A terminal."""
    return {
        "session_id": it.process,
        "pid": it.pid,
        "cols": it.size.columns,
        "rows": it.size.rows,
        "exec_id": it.process,
    }


async def find(request: HTTPConnection, machine: MachineId, id_or_pid: str) -> Terminal:
    """One that was opened before."""
    machines, terminals = service.of(request).control.machines, service.of(request).control.terminals
    machines.get(service.principal(request), machine)
    with errors.naming(_MISSING):
        return await terminals.find(service.principal(request), machine, id_or_pid)


class Ptys:
    """The terminals of one socket."""

    def __init__(self, talk: Conversation, machine: MachineId) -> None:
        self._talk = talk
        self._machine = machine
        self._terminals = service.of(talk.socket).control.terminals
        self._caller = service.principal(talk.socket)
        self._open: dict[str, Terminal] = {}  # by the id of the message that asked for it
        self.handlers: dict[str, Handler] = {
            "pty_start": self._start,
            "pty_connect": self._connect,
            "pty_input": self._input,
            "pty_resize": self._resize,
            "pty_kill": self._kill,
        }

    async def _start(self, message: dict[str, Any]) -> None:
        wanted = fit(message, Start)
        command = Command(cwd=wanted.cwd, env=wanted.envs or {}, terminal=TerminalSize(wanted.cols, wanted.rows))
        await self._follow(wanted.id, await self._terminals.open(self._caller, self._machine, command))

    async def _connect(self, message: dict[str, Any]) -> None:
        wanted = fit(message, Connect)
        if (wanted.session_id is None) == (wanted.pid is None):
            raise errors.Told(400, errors.INVALID, "give one of session_id and pid")
        meant = str(wanted.pid) if wanted.session_id is None else wanted.session_id
        await self._follow(wanted.id, await find(self._talk.socket, self._machine, meant))

    async def _follow(self, id: str, terminal: Terminal) -> None:
        self._open[id] = terminal
        await self._talk.tell("pty_started", id=id, **shown(terminal))
        self._talk.run(self._told(id, terminal), id)

    async def _told(self, id: str, terminal: Terminal) -> None:
        decoder, session = codecs.getincrementaldecoder("utf-8")("replace"), terminal.process
        async for told in self._terminals.read(self._caller, terminal):
            if isinstance(told, bytes):
                exact = base64.b64encode(told).decode("ascii")
                await self._talk.tell(
                    "pty_output", id=id, session_id=session, data=decoder.decode(told), data_base64=exact
                )
            else:
                self._open.pop(id, None)
                await self._talk.tell("pty_exited", id=id, session_id=session, exit_code=told.shell_code)

    def _meant(self, wanted: Input | Resize) -> Terminal:
        for id, terminal in self._open.items():
            if wanted.session_id == terminal.process or (wanted.session_id is None and wanted.id == id):
                return terminal
        raise errors.Told(404, _MISSING, f"there is no terminal {wanted.session_id or wanted.id!r} on this socket")

    async def _input(self, message: dict[str, Any]) -> None:
        wanted = fit(message, Input)
        try:
            data = base64.b64decode(wanted.data_base64 or "", validate=True)
        except ValueError as flaw:
            raise errors.Told(400, errors.INVALID, f"data_base64: {flaw}") from None
        data = data or (wanted.data or "").encode("utf-8", "surrogatepass")
        await self._terminals.write(self._caller, self._meant(wanted), data)

    async def _resize(self, message: dict[str, Any]) -> None:
        wanted = fit(message, Resize)
        await self._terminals.resize(self._caller, self._meant(wanted), TerminalSize(wanted.cols, wanted.rows))

    async def _kill(self, message: dict[str, Any]) -> None:
        terminal = self._meant(fit(message, Input))
        self._talk.run(self._terminals.end(self._caller, terminal))


@router.get(_PTY, responses={200: {"model": list[responses.Pty]}})
async def list_all(request: Request, id: str) -> Response:
    """The terminals that are open; nothing of a machine that does not run."""
    machine = refs.machine(id)
    known = await service.of(request).control.processes.list(service.principal(request), machine)
    terminals = [info.id for info in known if info.id.startswith(PREFIX) and info.exit is None]
    return Json([shown(await find(request, machine, terminal)) for terminal in terminals])


@router.get(f"{_PTY}/{{sid}}", responses={200: {"model": responses.Pty}})
async def get(request: Request, id: str, sid: str) -> Response:
    """One. Its size is told as it was last set here."""
    return Json(shown(await find(request, refs.machine(id), sid)))


@router.delete(f"{_PTY}/{{sid}}", status_code=204)
async def kill(request: Request, id: str, sid: str) -> Response:
    """Hang up; answers when it has ended."""
    terminal = await find(request, refs.machine(id), sid)
    await service.of(request).control.terminals.end(service.principal(request), terminal)
    return Response(status_code=204)


@router.post(f"{_PTY}/{{sid}}/resize", status_code=204, openapi_extra=openapi.body(requests.Resize))
async def resize(request: Request, id: str, sid: str) -> Response:
    """Tell its program another size."""
    body = await bodies.parse(request, requests.Resize)
    terminal = await find(request, refs.machine(id), sid)
    terminals = service.of(request).control.terminals
    await terminals.resize(service.principal(request), terminal, TerminalSize(body.cols, body.rows))
    return Response(status_code=204)
