"""Machines: create, list, get, start, stop, delete, events, console."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.smol import parse, present, refs, requests, responses
from hutch.model import errors

router = APIRouter(tags=["machines"])


@router.post(
    "/v1/machines",
    status_code=201,
    responses={201: {"model": responses.Machine}},
    openapi_extra=openapi.body(requests.CreateMachine),
)
async def create(request: Request) -> Response:
    """Make a machine, stopped; of a checkpoint (native), suspended in it."""
    wanted = parse.machine_request(await bodies.parse(request, requests.CreateMachine))
    making = service.of(request).control.machines.create(service.principal(request), wanted)
    return present.Json(present.machine(await streams.unless_hung_up(request.receive, making)), 201)


@router.get("/v1/machines", responses={200: {"model": list[responses.Machine]}})
async def list_all(request: Request, label: Annotated[Sequence[str], Query()] = ()) -> Response:
    """All machines, newest first; with `label=name%3Dvalue`, once or more, those that have all of these."""
    caller, machines = service.principal(request), service.of(request).control.machines
    found = machines.list(caller, parse.labels(label))
    return present.Json([present.machine(it, machines.progress(caller, it.id)) for it in found])


@router.get("/v1/machines/{id}", responses={200: {"model": responses.Machine}})
async def get(request: Request, id: str) -> Response:
    """One machine. Looking never wakes it."""
    caller, machines = service.principal(request), service.of(request).control.machines
    it = machines.find(caller, parse.machine_ref(id))
    return present.Json(present.machine(it, machines.progress(caller, it.id), machines.remaining(caller, it.id)))


@router.post("/v1/machines/{id}/start", responses={200: {"model": responses.Machine}})
async def start(request: Request, id: str) -> Response:
    """Start it; answers when it is ready. A started one is left alone, a suspended one goes on where it was."""
    machines = service.of(request).control.machines
    return present.Json(present.machine(await machines.start(service.principal(request), refs.machine(request))))


@router.post("/v1/machines/{id}/stop", responses={200: {"model": responses.Machine}})
async def stop(request: Request, id: str) -> Response:
    """Stop it; answers when it has shut down. Its disk stays, unless it is ephemeral."""
    machines = service.of(request).control.machines
    return present.Json(present.machine(await machines.stop(service.principal(request), refs.machine(request))))


@router.delete("/v1/machines/{id}", status_code=204)
async def delete(
    request: Request, id: str, include_usage: Annotated[bool, Query(alias="includeUsage")] = False
) -> Response:
    """End and remove it, disk and all."""
    if include_usage:
        raise errors.Unsupported("includeUsage: this service does not meter usage yet")
    await service.of(request).control.machines.delete(service.principal(request), refs.machine(request))
    return Response(status_code=204)


@router.get("/v1/machines/{id}/events", responses={200: {"model": list[responses.Event]}})
async def events(request: Request, id: str) -> Response:
    """What happened to it, oldest first."""
    machines = service.of(request).control.machines
    return present.Json(
        [present.event(it) for it in await machines.events(service.principal(request), refs.machine(request))]
    )


@router.get("/v1/machines/{id}/logs", responses={200: {"content": {"text/plain": {}}}})
async def logs(request: Request, id: str, tail: Annotated[int, Query(ge=0)] = 100) -> Response:
    """The last `tail` lines of its console."""
    machines = service.of(request).control.machines
    console = await machines.console(service.principal(request), refs.machine(request))
    lines = console.decode("utf-8", "replace").replace("\r\n", "\n").splitlines(keepends=True)
    return PlainTextResponse("".join(lines[-tail:] if tail else ()))
