"""Processes in machines, native: what runs, what it wrote from an offset on, stdin, signals."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.smol import parse, present, refs, requests, responses

router = APIRouter(tags=["processes"])

_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


@router.get("/v1/machines/{id}/processes", responses={200: {"model": list[responses.Process]}})
async def list_all(request: Request, id: str) -> Response:
    """What the guest's agent knows, oldest first; none if the machine is not running."""
    found = await service.of(request).control.processes.list(service.principal(request), refs.machine(request))
    return present.Json([present.process(it) for it in found])


@router.get("/v1/machines/{id}/processes/{process}/output", responses={200: {"model": responses.ProcessOutput}})
async def output(request: Request, id: str, process: str, page: Annotated[requests.Page, Query()]) -> Response:
    """What it wrote from these offsets on; waits up to `wait` seconds until there is any."""
    reading = service.of(request).control.processes.output(
        service.principal(request),
        refs.machine(request),
        process,
        (page.stdout, page.stderr),
        page.wait,
        page.limit,
    )
    return present.Json(present.process_output(await streams.unless_hung_up(request.receive, reading)))


@router.post(
    "/v1/machines/{id}/processes/{process}/stdin",
    status_code=204,
    openapi_extra={"requestBody": {"required": True, **_BYTES}},
)
async def stdin(request: Request, id: str, process: str, end: Annotated[bool, Query()] = False) -> Response:
    """Write the body to its stdin as it comes; with `end`, close it then. It must have been started `interactive`."""
    processes, machine = service.of(request).control.processes, refs.machine(request)
    async for chunk in bodies.chunks(request, service.of(request).settings.machines.file_limit):
        await processes.write(service.principal(request), machine, process, chunk)
    await processes.write(service.principal(request), machine, process, b"", end)
    return Response(status_code=204)


@router.post(
    "/v1/machines/{id}/processes/{process}/signal", status_code=204, openapi_extra=openapi.body(requests.Signal)
)
async def signal(request: Request, id: str, process: str) -> Response:
    """Send a signal to its whole process group."""
    number = parse.signal_number((await bodies.parse(request, requests.Signal)).signal)
    await service.of(request).control.processes.signal(
        service.principal(request), refs.machine(request), process, number
    )
    return Response(status_code=204)


@router.post(
    "/v1/machines/{id}/processes/{process}/resize", status_code=204, openapi_extra=openapi.body(requests.Terminal)
)
async def resize(request: Request, id: str, process: str) -> Response:
    """Resize its terminal."""
    size = parse.terminal(await bodies.parse(request, requests.Terminal))
    await service.of(request).control.processes.resize(service.principal(request), refs.machine(request), process, size)
    return Response(status_code=204)


@router.delete("/v1/machines/{id}/processes/{process}", status_code=204)
async def forget(request: Request, id: str, process: str) -> Response:
    """Drop it and its output; a running one is killed first."""
    await service.of(request).control.processes.forget(service.principal(request), refs.machine(request), process)
    return Response(status_code=204)
