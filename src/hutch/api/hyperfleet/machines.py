"""Machines: create, list, get, delete, and their states."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.answers import Json
from hutch.api.hyperfleet import errors, parse, present, requests, responses, states
from hutch.api.telling import Told
from hutch.control.machines import Machines
from hutch.model import errors as model_errors
from hutch.model.ids import MachineId
from hutch.model.machine import Machine

router = APIRouter(tags=["machines"])

_ID = "/machines/{id}"


def _told(request: Request, it: Machine, status: int = 200) -> Response:
    machines = service.of(request).control.machines
    return Json(present.machine(it, *machines.facts(service.principal(request), it.id)), status)


@router.post(
    "/machines",
    status_code=201,
    responses={201: {"model": responses.Machine}},
    openapi_extra=openapi.body(requests.CreateMachine),
)
async def create(request: Request) -> Response:
    """Make a machine; it is `pending` until it is started."""
    body = await bodies.parse(request, requests.CreateMachine)
    its = service.of(request)
    wanted = parse.machine_request(body, its.settings.machines.min_memory_mib)
    making = its.control.machines.create(service.principal(request), wanted)
    return _told(request, await streams.unless_hung_up(request.receive, making), 201)


@router.get("/machines", responses={200: {"model": responses.Machines}})
async def list_all(request: Request, wanted: Annotated[requests.Listing, Query()]) -> Response:
    """Machines, newest first, from `offset` on; `total` counts all of this `status`."""
    every = service.of(request).control.machines.list(service.principal(request))
    found = [it for it in every if wanted.status in (None, states.status(it))]
    shown = [present.listed(it) for it in found[wanted.offset : wanted.offset + wanted.limit]]
    return Json({"machines": shown, "total": len(found)})


@router.get(_ID, responses={200: {"model": responses.Machine}})
async def get(request: Request, id: str) -> Response:
    """One machine, with what it is really run with. Looking never wakes it."""
    it = service.of(request).control.machines.get(service.principal(request), MachineId(id))
    return _told(request, it)


@router.delete(_ID, status_code=204)
async def delete(request: Request, id: str) -> Response:
    """Remove it, disk and all: only one that is pending, stopped or failed."""
    machines = service.of(request).control.machines
    with errors.allowing("delete"):
        await machines.delete(service.principal(request), MachineId(id), only_in=states.ALLOWED["delete"])
    return Response(status_code=204)


async def _change(request: Request, verb: str, does: Callable[..., Awaitable[Machine]]) -> Response:
    machine = MachineId(request.path_params["id"])
    with errors.allowing(verb):
        it = await does(service.principal(request), machine, only_in=states.ALLOWED[verb])
    return _told(request, it)


def _machines(request: Request) -> Machines:
    return service.of(request).control.machines


@router.post(f"{_ID}/start", responses={200: {"model": responses.Machine}})
async def start(request: Request, id: str) -> Response:
    """Start one that is pending or stopped; it runs when this answers."""
    return await _change(request, "start", _machines(request).start)


@router.post(f"{_ID}/stop", responses={200: {"model": responses.Machine}})
async def stop(request: Request, id: str) -> Response:
    """Stop one that runs or is paused; it has shut down when this answers."""
    return await _change(request, "stop", _machines(request).stop)


@router.post(f"{_ID}/restart", responses={200: {"model": responses.Machine}})
async def restart(request: Request, id: str) -> Response:
    """Stop one that runs and boot it from its disk; it runs again when this answers."""
    return await _change(request, "restart", _machines(request).restart)


@router.post(f"{_ID}/pause", responses={200: {"model": responses.Machine}})
async def pause(request: Request, id: str) -> Response:
    """Let one that runs stand still; its memory stays."""
    return await _change(request, "pause", _machines(request).pause)


@router.post(f"{_ID}/resume", responses={200: {"model": responses.Machine}})
async def resume(request: Request, id: str) -> Response:
    """Let one that is paused go on."""
    return await _change(request, "resume", _machines(request).resume)


@router.get(f"{_ID}/wait", responses={200: {"model": responses.Machine}})
async def wait(request: Request, id: str, wanted: Annotated[requests.Waiting, Query()]) -> Response:
    """Answers as soon as it has this status; 504 after `timeout` seconds, 500 as soon as it fails instead."""
    caller, machine = service.principal(request), MachineId(id)
    coming = _machines(request).wait_until(
        caller, machine, lambda it: states.status(it) == wanted.status, wanted.status, wanted.timeout
    )
    try:
        return _told(request, await streams.unless_hung_up(request.receive, coming))
    except model_errors.TimedOut:
        told = f"Timed out waiting for machine {id} to reach status {wanted.status}"
        raise Told(504, errors.TIMEOUT, told) from None
