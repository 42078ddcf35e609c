"""VMs: create, list, get, delete."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.answers import Json
from hutch.api.freestyle import bases, parse, present, recipe, refs, requests, responses, sizes, specs, states
from hutch.control.history import MOST
from hutch.control.keys import Principal
from hutch.control.plane import ControlPlane
from hutch.model import errors
from hutch.model.machine import Machine

router = APIRouter(tags=["vms"])

_ALL, _ID = "/v1/vms", "/v1/vms/{vm_id}"

PATIENCE = 0.3
"""Seconds that VMs have in all to tell how long their CPUs were busy, where they are only looked at."""


def domains(control: ControlPlane, caller: Principal, it: Machine) -> Sequence[str]:
    """The host names that lead to a VM: the proxy's own, and the tenant's verified ones, for who may look at them."""
    own = [control.exposure.host(it)] if it.ports else []
    try:
        claimed = control.domains.list(caller)
    except errors.Forbidden:
        return own
    return [*own, *(domain.name for domain in claimed if domain.machine == it.id and domain.verified_at is not None)]


@router.get(_ALL, responses={200: {"model": responses.ListVms}})
async def list_all(request: Request, wanted: Annotated[requests.Listing, Query()]) -> Response:
    """The newest first; `search` is for a part of an id or a name. Looking never wakes one."""
    caller, control = service.principal(request), service.of(request).control
    there = control.machines.list(caller)
    gone = await control.history.destroyed(caller, MOST) if wanted.include_deleted else ()
    found = [it for it in (*there, *gone) if _is_wanted(it, wanted)]
    first = wanted.offset or 0
    shown = found[first:] if wanted.limit is None else found[first : first + wanted.limit]
    cpu_times = await control.vitals.cpu_times(caller, [it.id for it in shown], PATIENCE)
    return Json(present.vms(shown, len(found), there, cpu_times, caller.tenant))


def _is_wanted(it: Machine, wanted: requests.Listing) -> bool:
    sought = (wanted.search or "").lower()
    return wanted.vm_state in (None, states.state(it)) and (sought in it.id or sought in present.name(it).lower())


@router.post(_ALL, responses={200: {"model": responses.CreatedVm}}, openapi_extra=openapi.body(specs.CreateVm))
async def create(request: Request) -> Response:
    """Make a VM of a spec, which is built if it is not there.

    If the client hangs up, what is being built is built, and a VM that is being made is made; it may ask again.
    """
    body = bodies.read(await bodies.whole(request, requests.SPEC_LIMIT), specs.CreateVm, optional=True)
    caller, its = service.principal(request), service.of(request)
    control, box = its.control, await its.control.health.capacity()
    plan = recipe.plan(body, sizes.ranges(box, its.settings.machines), sizes.default_disk(box))
    await bases.check(control, caller, plan.recipe.base)
    wanted = parse.launch_request(body, plan)
    it = await streams.unless_hung_up(request.receive, control.launches.launch(caller, wanted))
    return Json(present.created(it, domains(control, caller, it)))


@router.get(_ID, responses={200: {"model": responses.GetVm}})
async def get(request: Request, vm_id: str) -> Response:
    """One VM. Looking never wakes it."""
    caller, control = service.principal(request), service.of(request).control
    it = control.machines.get(caller, refs.machine(vm_id))
    cpu_times = await control.vitals.cpu_times(caller, [it.id], PATIENCE)
    return Json(present.vm(it, cpu_times.get(it.id)))


@router.delete(_ID, responses={200: {"model": responses.VmOnly}})
async def delete(request: Request, vm_id: str) -> Response:
    """End and remove it, disk and all, in whatever state it is."""
    id = refs.machine(vm_id)
    await service.of(request).control.machines.delete(service.principal(request), id)
    return Json({"id": id})
