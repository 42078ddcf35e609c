"""Commands in machines: buffered, streamed as server-sent events, and programs in a language's interpreter."""

import dataclasses
from collections.abc import Coroutine
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.smol import exec_stream, parse, present, refs, requests, responses
from hutch.control import processes
from hutch.model import errors

router = APIRouter(tags=["exec"])

EXACT_LIMIT = 16 * 1024 * 1024
"""Bytes of a stream that the base64 fields of a buffered exec hold; beyond that, stream or write to a file."""

Output = Literal["text", "b64", "both"]
EVENT_STREAM: dict[str, Any] = {"content": {"text/event-stream": {}}}
RESPONSES: dict[int | str, dict[str, Any]] = {200: {"model": responses.ExecResult} | EVENT_STREAM}


def keep(output: Output) -> int:
    """How many bytes of each stream an answer can show."""
    return present.TEXT_LIMIT if output == "text" else EXACT_LIMIT


def check_buffered(body: requests.Exec) -> None:
    """What only a stream can give is not asked of an answer in one piece."""
    if body.interactive or body.terminal:
        raise errors.InvalidRequest("interactive and terminal need exec/stream")


async def answer(
    request: Request, body: requests.Exec, output: Output, running: Coroutine[Any, Any, processes.Completed]
) -> Response:
    """A command's end, once it has come. A caller that hangs up ends it."""
    service.of(request).metrics.count_exec("buffered")
    done = await streams.unless_hung_up(request.receive, running)
    if body.background and done.pid:
        done = dataclasses.replace(done, stdout=b"pid=%d\n" % done.pid + done.stdout)
    return present.Json(present.exec_result(done, refs.machine(request), output, body.user))


@router.post("/v1/machines/{id}/exec", responses=RESPONSES, openapi_extra=openapi.body(requests.Exec))
async def exec_command(request: Request, id: str, output: Annotated[Output, Query()] = "both") -> Response:
    """Run a command; a machine that does not run is started or resumed first. A command that fails is no error.

    `output` chooses text, base64 or both. With `stream`, as `exec/stream`.
    """
    body = await bodies.parse(request, requests.Exec)
    if body.stream:
        return await _streamed(request, body, output)
    check_buffered(body)
    caller, run = service.principal(request), service.of(request).control.processes.run
    return await answer(request, body, output, run(caller, refs.machine(request), parse.command(body), keep(output)))


async def _streamed(request: Request, body: requests.Exec, output: Output) -> Response:
    stream = service.of(request).control.processes.stream
    told = stream(service.principal(request), refs.machine(request), parse.command(body))
    return await exec_stream.response(request, told, as_text=output != "b64")


@router.post(
    "/v1/machines/{id}/exec/stream",
    response_class=Response,
    responses={200: EVENT_STREAM},
    openapi_extra=openapi.body(requests.Exec),
)
async def exec_streamed(request: Request, id: str, output: Annotated[Output, Query()] = "text") -> Response:
    """Run a command and tell its output as it comes: events `stdout`, `stderr`, at last `exit` or `error`.

    With `output=b64` (native) the data of `stdout` and `stderr` are base64: exact bytes. A client that hangs up ends
    the command. The header `x-hutch-process-id` (native) is its id under …/processes.
    """
    return await _streamed(request, await bodies.parse(request, requests.Exec), output)


@router.post(
    "/v1/machines/{id}/code",
    responses={200: {"model": responses.ExecResult}},
    openapi_extra=openapi.body(requests.Code),
)
async def code(request: Request, id: str, output: Annotated[Output, Query()] = "both") -> Response:
    """Run a program in `python` or `javascript` (`node`)."""
    body = await bodies.parse(request, requests.Code)
    command, its = parse.program(body), service.of(request)
    its.metrics.count_exec("code")
    running = its.control.processes.run(service.principal(request), refs.machine(request), command, keep(output))
    done = await streams.unless_hung_up(request.receive, running)
    if not done.pid and command.argv:
        hint = f"\nthe image of this machine has no {command.argv[0]}; `debian` has python3 and node\n"
        done = dataclasses.replace(done, stderr=done.stderr.rstrip() + hint.encode())
    return present.Json(present.exec_result(done, refs.machine(request), output, body.user))
