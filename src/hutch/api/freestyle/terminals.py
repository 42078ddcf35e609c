"""Terminals of VMs, looked at: which there are, and what they have shown."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.answers import Json, moment, unix
from hutch.api.freestyle import guest_responses, reach
from hutch.control import terminal_shell
from hutch.control.terminals import LOGIN, Terminal

router = APIRouter(tags=["terminals"])

_ALL = "/v1/vms/{vm_id}/terminals"
_ONE = f"{_ALL}/{{terminal_id}}"


async def latest(request: Request, vm_id: str) -> list[Terminal]:
    """The terminals of a VM, of each name the one that runs, or the last one. None of a VM that does not run."""
    terminals, machine = service.of(request).control.terminals, reach.vm(request, vm_id)
    there = await terminals.list(service.principal(request), machine)
    return list({it.name: it for it in sorted(there, key=lambda it: it.exit is None)}.values())


def line(it: Terminal) -> str | None:
    """What it was told to run, other than the user's shell."""
    argv = terminal_shell.unnamed(it.argv)
    return None if argv == LOGIN else argv[-1]


async def _found(request: Request, vm_id: str, terminal_id: str) -> Terminal:
    machine = reach.vm(request, vm_id)
    return await service.of(request).control.terminals.find(service.principal(request), machine, terminal_id)


@router.get(_ALL, responses={200: {"model": guest_responses.Terminals}})
async def list_all(request: Request, vm_id: str) -> Response:
    """Those that were opened by name, by an exec or as a PTY session. Looking does not wake a VM."""
    told = [
        {"name": it.name, "status": "exited" if it.exit else "running", "created": unix(it.started_at)}
        for it in await latest(request, vm_id)
    ]
    return Json({"terminals": told})


@router.get(f"{_ONE}/logs", responses={200: {"model": guest_responses.TerminalLogs}})
async def logs(request: Request, vm_id: str, terminal_id: str) -> Response:
    """The last MiB it has shown, as lines of plain text. A line has a time if somebody was reading when it came."""
    terminal = await _found(request, vm_id, terminal_id)
    lines = await service.of(request).control.terminals.log(service.principal(request), terminal)
    return Json({"logs": [{"line": it.text, "timestamp": it.at and moment(it.at)} for it in lines]})


@router.get(f"{_ONE}/xterm-256color", responses={200: {"model": guest_responses.TerminalOutput}})
async def output(request: Request, vm_id: str, terminal_id: str) -> Response:
    """The same, with all its escape sequences, as a terminal can show it again."""
    terminal = await _found(request, vm_id, terminal_id)
    shown = await service.of(request).control.terminals.screen(service.principal(request), terminal)
    return Json({"output": shown.decode(errors="replace")})
