"""Commands in machines, and the processes that run there."""

import re

from fastapi import APIRouter
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.answers import Json
from hutch.api.nullspace import errors, parse, present, refs, requests, responses
from hutch.model import guest
from hutch.model.ids import MachineId

router = APIRouter(tags=["processes"])

_PROCESS = "/v1/machines/{id}/processes/{pid}"
OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of each stream that are answered; beyond that, use a WebSocket or write to a file."""

_KILL = 9
_FREE = re.compile(r"/v1/machines/[^/]+/(exec|ws|processes/[\s\S]+)")


def is_free(path: str) -> bool:
    """Whether a request runs a command, or goes on with one that runs: it is never refused for coming too often."""
    return _FREE.fullmatch(path) is not None


@router.post(
    "/v1/machines/{id}/exec",
    responses={200: {"model": responses.ExecResult}},
    openapi_extra=openapi.body(requests.Exec),
)
async def exec_command(request: Request, id: str) -> Response:
    """Run a command; a machine that does not run is started or resumed first. A command that fails is no error.

    One that takes longer than `timeout_secs` is ended, which is a 504. With `background` its pid is told at once.
    """
    body = await bodies.parse(request, requests.Exec)
    caller, control, machine = service.principal(request), service.of(request).control, refs.machine(id)
    service.of(request).metrics.count_exec("background" if body.background else "buffered")
    with errors.running():
        if body.background:
            info = await control.processes.start(caller, machine, parse.command(body, keep=True))
            return Json({"exit_code": 0, "stdout": "", "stderr": "", "pid": info.pid})
        running = control.processes.run(caller, machine, parse.command(body), keep=OUTPUT_LIMIT)
        done = await streams.unless_hung_up(request.receive, running)
    if done.exit.timed_out:
        raise errors.Told(504, "exec_timeout", f"the command was ended: it took longer than {timeout(body)} s")
    return Json(present.exec_result(done))


def timeout(body: requests.Exec) -> int:
    """Seconds a command may take."""
    return parse.EXEC_SECONDS if body.timeout_secs is None else body.timeout_secs


async def find(request: HTTPConnection, machine: MachineId, pid: int) -> guest.ProcessInfo:
    """The newest process of this pid that the agent knows. `not_found`."""
    control = service.of(request).control
    known = await control.processes.list(service.principal(request), machine)
    for info in reversed(known):
        if info.pid == pid:
            return info
    raise errors.Told(404, "not_found", f"there is no process {pid}")


@router.get("/v1/machines/{id}/processes", responses={200: {"model": list[responses.Process]}})
async def list_all(request: Request, id: str) -> Response:
    """What was started here and is kept by the guest's agent; nothing of a machine that does not run."""
    found = await service.of(request).control.processes.list(service.principal(request), refs.machine(id))
    return Json([present.process(it) for it in found])


@router.get(f"{_PROCESS}/logs", responses={200: {"model": responses.Logs}})
async def logs(request: Request, id: str, pid: str) -> Response:
    """What it wrote: the last MiB of each stream is kept."""
    caller, control, machine = service.principal(request), service.of(request).control, refs.machine(id)
    found = await find(request, machine, parse.pid(pid))
    stdout, stderr, at, end = b"", b"", (0, 0), None
    while end is None:
        page = await control.processes.output(caller, machine, found.id, at)
        stdout, stderr, end = stdout + page.stdout, stderr + page.stderr, page.exit
        at = (page.stdout_at + len(page.stdout), page.stderr_at + len(page.stderr))
        if not (page.stdout or page.stderr):
            break
    return Json(present.logs(stdout, stderr, end))


@router.post(f"{_PROCESS}/kill", status_code=204)
async def kill(request: Request, id: str, pid: str) -> Response:
    """End it and its whole process group."""
    caller, control, machine = service.principal(request), service.of(request).control, refs.machine(id)
    found = await find(request, machine, parse.pid(pid))
    await control.processes.signal(caller, machine, found.id, _KILL)
    return Response(status_code=204)


@router.post(f"{_PROCESS}/stdin", status_code=204, openapi_extra=openapi.body(requests.SendStdin))
async def send_stdin(request: Request, id: str, pid: str) -> Response:
    """Write to its stdin, which stays open."""
    body = await bodies.parse(request, requests.SendStdin)
    caller, control, machine = service.principal(request), service.of(request).control, refs.machine(id)
    found = await find(request, machine, parse.pid(pid))
    await control.processes.write(caller, machine, found.id, body.data.encode("utf-8", "surrogatepass"))
    return Response(status_code=204)
