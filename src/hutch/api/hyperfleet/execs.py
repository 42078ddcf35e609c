"""Commands in machines that run."""

import re

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.answers import Json
from hutch.api.hyperfleet import errors, parse, present, requests, responses
from hutch.api.telling import Told
from hutch.model import errors as model_errors
from hutch.model.ids import MachineId

router = APIRouter(tags=["commands"])

OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of each stream that are answered; the rest is dropped."""

_FREE = re.compile(r"/machines/[^/]+/exec")


def is_free(path: str) -> bool:
    """Whether a request runs a command: it is never refused for coming too often."""
    return _FREE.fullmatch(path) is not None


@router.post(
    "/machines/{id}/exec",
    responses={200: {"model": responses.ExecResult}},
    openapi_extra=openapi.body(requests.Exec),
)
async def exec_command(request: Request, id: str) -> Response:
    """Run a command in a machine that runs. One that fails is no error; one that takes too long is ended: 504."""
    body = await bodies.parse(request, requests.Exec)
    caller, its = service.principal(request), service.of(request)
    its.metrics.count_exec("buffered")
    running = its.control.processes.run(caller, MachineId(id), parse.command(body), keep=OUTPUT_LIMIT, wakes=False)
    try:
        done = await streams.unless_hung_up(request.receive, running)
    except model_errors.NotRunning:
        raise Told(400, errors.BAD_REQUEST, "Machine must be running to execute commands") from None
    if done.exit.timed_out:
        told = f"Command execution timed out after {parse.seconds(body):g} seconds"
        raise Told(504, errors.TIMEOUT, told)
    return Json(present.exec_result(done))
