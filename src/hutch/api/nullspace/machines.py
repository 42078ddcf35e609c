"""Machines: create, list, get, delete, and their leases."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import launch, listing, once, present, refs, requests, responses
from hutch.control.keys import Principal
from hutch.control.machines import Machines
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Machine

router = APIRouter(tags=["machines"])

_ID = "/v1/machines/{id}"
_ACCESS = "traffic_access_token"


def shown(machines: Machines, caller: Principal, it: Machine) -> dict[str, Any]:
    """A machine as it is now."""
    return present.machine(it, machines.remaining(caller, it.id).lifetime)


def look(request: Request, id: str) -> dict[str, Any]:
    """The machine of `id` as it is now."""
    return _look(request, service.principal(request), refs.machine(id))


def done(request: Request, id: str) -> dict[str, Any]:
    """The same, of one that the caller has made or changed with this request, or with the same one before."""
    return _look(request, service.principal(request).seeing(), refs.machine(id))


def _look(request: Request, caller: Principal, id: MachineId) -> dict[str, Any]:
    machines = service.of(request).control.machines
    return shown(machines, caller, machines.get(caller, id))


def _token(request: Request, it: Machine) -> dict[str, str]:
    """The way in to a machine without public traffic, for those who may use it."""
    if not it.private_traffic:
        return {}
    try:
        return {_ACCESS: service.of(request).control.exposure.token(service.principal(request), it.id)}
    except errors.Forbidden:
        return {}


def _masked(request: Request, it: Machine, mask: Sequence[str] | None) -> dict[str, Any]:
    """What the mask leaves of a machine; with its token only if the mask names that."""
    whole = shown(service.of(request).control.machines, service.principal(request), it)
    return whole if mask is None else listing.masked(whole | (_token(request, it) if _ACCESS in mask else {}), mask)


@router.post(
    "/v1/machines",
    status_code=201,
    responses={201: {"model": responses.Machine}},
    openapi_extra=openapi.body(requests.CreateMachine),
)
async def create(request: Request) -> Response:
    """Make a machine and run it; it runs when this answers. Header `Idempotency-Key`: at most one for a key."""
    body = await bodies.parse(request, requests.CreateMachine)
    made = await once.once(request, "create_machine", body, lambda: launch.machine(request, body))
    it = service.of(request).control.machines.get(service.principal(request).seeing(), MachineId(made))
    return Json(done(request, made) | _token(request, it), 201)


@router.get("/v1/machines", responses={200: {"model": list[responses.Machine] | responses.MachinePage}})
async def list_all(
    request: Request,
    state: str | None = None,
    limit: Annotated[int | None, Query(ge=1, le=listing.MAX_PAGE)] = None,
    next_token: str | None = None,
    template: str | None = None,
    metadata: str | None = None,
    fields: str | None = None,
) -> Response:
    """All machines, newest first, as an array; filtered, paged or masked as an object."""
    caller, machines = service.principal(request), service.of(request).control.machines
    mask = None if fields is None else listing.fields(fields)
    if (state, limit, next_token, template, metadata, fields) == (None,) * 6:
        return Json([shown(machines, caller, it) for it in machines.list(caller)])
    found = machines.page(caller, listing.query(state, template, metadata, limit, next_token))
    return Json(listing.page([_masked(request, it, mask) for it in found.items], found.next_token))


@router.get(_ID, responses={200: {"model": responses.Machine | responses.Masked}})
async def get(request: Request, id: str, fields: str | None = None) -> Response:
    """One machine; with `fields`, only these. Looking never wakes it."""
    mask = None if fields is None else listing.fields(fields)
    caller, machines = service.principal(request), service.of(request).control.machines
    return Json(_masked(request, machines.get(caller, refs.machine(id)), mask))


@router.delete(_ID, responses={200: {"model": responses.Destroyed}})
async def destroy(request: Request, id: str) -> Response:
    """End and remove it, disk and all."""
    machine = refs.machine(id)
    await service.of(request).control.machines.delete(service.principal(request), machine)
    return Json({"id": refs.MACHINE + machine, "status": "destroyed"})
