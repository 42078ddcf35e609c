"""Commands in VMs, in a shell of their own or in a terminal that is kept by name."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.answers import Json
from hutch.api.freestyle import guest_requests, guest_responses, reach
from hutch.api.telling import Told
from hutch.control.commands import Command
from hutch.control.shells import WAIT

router = APIRouter(tags=["exec"])

OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of each stream that are answered; the rest is dropped."""


@router.post(
    "/v1/vms/{vm_id}/exec-await",
    responses={200: {"model": guest_responses.ExecAwaited}},
    openapi_extra=openapi.body(guest_requests.ExecAwait),
)
async def exec_await(request: Request, vm_id: str) -> Response:
    """Run a line of shell to its end, as root unless a header names a user, in the VM's workdir.

    With `terminal` it runs in the terminal of this name, which is opened when it is first named, and keeps directory
    and variables; all it wrote is stdout then. What takes longer than `timeoutMs` is ended: 408.
    """
    body = await bodies.parse(request, guest_requests.ExecAwait)
    caller, its, machine = service.principal(request), service.of(request), reach.vm(request, vm_id)
    timeout = None if body.timeout_ms is None else body.timeout_ms / 1000
    command = Command(shell=body.command, user=reach.user(request) or "root", timeout=timeout)
    its.metrics.count_exec("buffered")
    if body.terminal is None:
        running = its.control.processes.run(caller, machine, command, keep=OUTPUT_LIMIT)
    else:
        running = its.control.shells.run(caller, machine, body.terminal, command, keep=OUTPUT_LIMIT)
    done = await streams.unless_hung_up(request.receive, running)
    if done.exit.timed_out:
        raise Told(408, "EXEC_TIMED_OUT", f"Command timed out after {overrun(body)}")
    text = {"stdout": done.stdout.decode(errors="replace"), "stderr": done.stderr.decode(errors="replace")}
    return Json({**text, "statusCode": done.exit.shell_code})


def overrun(it: guest_requests.ExecAwait) -> str:
    """What it took longer than. Without a limit only its turn in a terminal is not waited for without end."""
    if it.timeout_ms is not None:
        return f"{it.timeout_ms}ms"
    return f"{WAIT:g}s: terminal {it.terminal} is not free"
