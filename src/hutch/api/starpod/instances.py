"""Instances: create, list, get, delete, pause, restart, and what is told of them."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.answers import Json
from hutch.api.starpod import parse, present, refs, requests, responses
from hutch.model import errors
from hutch.model.machine import Machine

router = APIRouter(tags=["instances"])

_ID = "/api/instances/{id}"
_NDJSON = "application/x-ndjson"

PATIENCE = 5.0
"""Seconds a new instance is waited for; one that needs longer is told of as `creating`."""

QUICKLY = 1.0
"""Seconds that instances have in all to tell of their health, where they are only looked at."""


def _region(request: Request) -> str:
    return service.of(request).settings.service.region


@router.get("/api/instances", responses={200: {"model": list[responses.Instance]}})
async def list_all(request: Request) -> Response:
    """All instances, newest first. Looking never wakes one."""
    caller, control, region = service.principal(request), service.of(request).control, _region(request)
    found = control.machines.list(caller)
    vitals = await control.vitals.glance(caller, [it.id for it in found], QUICKLY)
    return Json([present.instance(it, region, vitals.get(it.id)) for it in found])


@router.post(
    "/api/instances",
    status_code=201,
    responses={201: {"model": responses.Instance}},
    openapi_extra=openapi.body(requests.CreateInstance, optional=True),
)
async def create(request: Request) -> Response:
    """Make an instance and run it; one that takes long is `creating` when this answers."""
    body, region = await bodies.parse(request, requests.CreateInstance, optional=True), _region(request)
    parse.check_region(body.region, region)
    made = await streams.unless_hung_up(request.receive, _launch(request, body))
    return Json(present.instance(made, region, None), 201)


async def _launch(request: Request, body: requests.CreateInstance) -> Machine:
    """A machine of this name, or of one of its own if another has it: instances may share theirs."""
    caller, machines = service.principal(request), service.of(request).control.machines
    wanted = parse.machine_request(body)
    try:
        return await machines.launch(caller, wanted, PATIENCE)
    except errors.Conflict:
        if wanted.name is None or not machines.is_taken(caller, wanted.name):
            raise
    return await machines.launch(caller, parse.machine_request(body, named=False), PATIENCE)


@router.get(_ID, responses={200: {"model": responses.Instance}})
async def get(request: Request, id: str) -> Response:
    """One instance. Looking never wakes it."""
    caller, control, machine = service.principal(request), service.of(request).control, refs.machine(id)
    it = control.machines.get(caller, machine)
    vitals = await control.vitals.glance(caller, [machine], QUICKLY)
    return Json(present.instance(it, _region(request), vitals.get(machine)))


@router.delete(_ID, status_code=204)
async def delete(request: Request, id: str) -> Response:
    """End and remove it, disk and all."""
    await service.of(request).control.machines.delete(service.principal(request), refs.machine(id))
    return Response(status_code=204)


@router.post(f"{_ID}/pause", responses={200: {"model": responses.Paused}})
async def pause(request: Request, id: str) -> Response:
    """Keep its memory on disk and free everything else; a restart lets its processes go on."""
    await service.of(request).control.machines.suspend(service.principal(request), refs.machine(id))
    return Json({"status": "paused"})


@router.post(f"{_ID}/restart", responses={200: {"model": responses.Restarted}})
async def restart(request: Request, id: str) -> Response:
    """Let a paused one go on; boot any other anew from its disk. It runs when this answers."""
    machines = service.of(request).control.machines
    await machines.restart(service.principal(request), refs.machine(id), resumes=True)
    return Json({"status": "restarted"})


@router.get(f"{_ID}/health", responses={200: {"model": responses.InstanceHealth}})
async def health(request: Request, id: str) -> Response:
    """How it fares, asked of its guest now. 409 unless it runs."""
    vitals = service.of(request).control.vitals
    return Json(present.health(await vitals.look(service.principal(request), refs.machine(id))))


@router.get(
    f"{_ID}/logs",
    response_class=Response,
    responses={200: {"content": {_NDJSON: {"schema": {"type": "string"}}}, "description": "A LogLine on each line"}},
)
async def logs(request: Request, id: str, tail: Annotated[int, Query(ge=0, le=2**31)] = 50) -> Response:
    """The last lines of its console and, while it runs, of its services' journal."""
    logbook = service.of(request).control.logbook
    lines = await logbook.read(service.principal(request), refs.machine(id), tail)
    return Response(present.log(lines), media_type=_NDJSON)


@router.get(f"{_ID}/ssh", responses={501: {"model": responses.Error}})
async def ssh(request: Request, id: str) -> Response:
    """Not done here: machines run no SSH server, and commands and terminals need none."""
    service.of(request).control.machines.get(service.principal(request), refs.machine(id))
    raise errors.Unsupported("ssh: instances run no SSH server; use `hutch shell`, or exec of another dialect")
