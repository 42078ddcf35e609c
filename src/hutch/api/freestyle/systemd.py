"""Services of a VM's systemd."""

from collections.abc import Awaitable, Callable, Collection
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json, moment
from hutch.api.freestyle import guest_requests, guest_responses, reach, units
from hutch.control.keys import Principal
from hutch.control.services import ServiceResult, Services
from hutch.model.ids import MachineId

router = APIRouter(tags=["systemd"])

_SYSTEMD = "/v1/vms/{vm_id}/systemd"
_SERVICES = f"{_SYSTEMD}/services"
_SERVICE = f"{_SERVICES}/{{service_id}}"

Batch = Callable[[Services, Principal, MachineId, Collection[str]], Awaitable[list[ServiceResult]]]


def _its(request: Request, vm_id: str) -> tuple[Services, Principal, MachineId]:
    return service.of(request).control.services, service.principal(request), reach.vm(request, vm_id)


@router.get(_SERVICES, responses={200: {"model": guest_responses.Services}})
async def list_all(request: Request, vm_id: str) -> Response:
    """Those that were made through this service, by name."""
    services, caller, machine = _its(request, vm_id)
    return Json({"services": [{"name": name} for name in await services.list(caller, machine)]})


@router.post(
    _SERVICES,
    responses={200: {"model": guest_responses.CreatedService}},
    openapi_extra=openapi.body(units.SystemdUnitSpec),
)
async def create(request: Request, vm_id: str) -> Response:
    """Write a service, enable it unless it says otherwise, and start it."""
    body = await bodies.parse(request, units.SystemdUnitSpec)
    services, caller, machine = _its(request, vm_id)
    await services.create(caller, machine, units.unit(body))
    return Json({"success": True, "message": f"Service '{body.name}' created", "serviceName": body.name})


@router.delete(_SERVICE, responses={200: {"model": guest_responses.DeletedService}})
async def delete(request: Request, vm_id: str, service_id: str) -> Response:
    """Stop it, and remove it."""
    services, caller, machine = _its(request, vm_id)
    await services.delete(caller, machine, service_id)
    return Json({"success": True, "message": f"Service '{service_id}' deleted"})


@router.get(f"{_SERVICE}/status", responses={200: {"model": guest_responses.ServiceStatus}})
async def status(request: Request, vm_id: str, service_id: str) -> Response:
    """Any service of the VM, in systemd's words."""
    services, caller, machine = _its(request, vm_id)
    it = await services.status(caller, machine, service_id)
    states = {"activeState": it.active, "subState": it.sub, "loadState": it.load}
    return Json({"name": it.name, **states, "description": it.description})


@router.get(f"{_SERVICE}/logs", responses={200: {"model": guest_responses.Journal}})
async def logs(
    request: Request,
    vm_id: str,
    service_id: str,
    lines: Annotated[int, Query(ge=0, le=2**31)] = 100,
    since: str | None = None,
) -> Response:
    """The last lines of its journal; `since` is a moment as RFC 3339 or journalctl has it."""
    services, caller, machine = _its(request, vm_id)
    told = [
        {
            "message": it.message,
            "timestamp": moment(it.at),
            "priority": None if it.priority is None else str(it.priority),
            "unit": it.unit,
        }
        for it in await services.logs(caller, machine, service_id, lines, since)
    ]
    return Json({"logs": told})


def _batch(what: str, do: Batch) -> None:
    async def act(request: Request, vm_id: str) -> Response:
        body = await bodies.parse(request, guest_requests.BatchService)
        services, caller, machine = _its(request, vm_id)
        results = await do(services, caller, machine, [it.id for it in body.services])
        told = [{"serviceId": it.name, "success": it.is_done, "message": it.message} for it in results]
        return Json({"results": told})

    router.add_api_route(
        f"{_SYSTEMD}/{what}",
        act,
        methods=["POST"],
        name=f"{what}_services",
        description=f"{what.capitalize()} each of these, whatever becomes of the others.",
        responses={200: {"model": guest_responses.Batch}},
        openapi_extra=openapi.body(guest_requests.BatchService),
    )


_batch("start", lambda services, *of: services.start(*of))
_batch("stop", lambda services, *of: services.stop(*of))
_batch("restart", lambda services, *of: services.restart(*of))
