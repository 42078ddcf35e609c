"""Services of a machine's systemd: written, changed, started, looked at. Native."""

from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.smol import present, recipes, refs, responses
from hutch.control import services
from hutch.control.keys import Principal
from hutch.model.ids import MachineId

router = APIRouter(tags=["services"])


class Named(responses.Answer):
    """A service that was made or changed."""

    name: str


class ServiceStatus(responses.Answer):
    """What systemd says of a service, in its words."""

    name: str
    active: str = Field(description="active, inactive, failed, activating …")
    sub: str = Field(description="running, dead, exited …")
    load: str = Field(description="loaded, not-found, masked …")
    description: str


class JournalLine(responses.Answer):
    """A line of a service's journal; `priority` is syslog's, 0 to 7."""

    message: str
    at: str
    priority: int | None
    unit: str | None


class ServiceResult(responses.Answer):
    """What became of one of several services."""

    name: str
    done: bool
    message: str


def status_shown(it: services.ServiceStatus) -> dict[str, Any]:
    """A service as JSON."""
    return {"name": it.name, "active": it.active, "sub": it.sub, "load": it.load, "description": it.description}


def line_shown(it: services.JournalLine) -> dict[str, Any]:
    """A line of a journal as JSON."""
    return {"message": it.message, "at": present.time(it.at), "priority": it.priority, "unit": it.unit}


def _asked(request: Request) -> tuple[services.Services, Principal, MachineId]:
    return service.of(request).control.services, service.principal(request), refs.machine(request)


@router.post(
    "/v1/machines/{id}/services",
    status_code=201,
    responses={201: {"model": Named}},
    openapi_extra=openapi.body(recipes.NewService),
)
async def create(request: Request, id: str) -> Response:
    """Write a service, enable it unless told otherwise, and start it; the machine is started or resumed first."""
    unit = recipes.service(await bodies.parse(request, recipes.NewService))
    its, caller, machine = _asked(request)
    await its.create(caller, machine, unit)
    return present.Json({"name": unit.name}, 201)


@router.get("/v1/machines/{id}/services", responses={200: {"model": list[str]}})
async def list_all(request: Request, id: str) -> Response:
    """Those that were made here, by name."""
    its, caller, machine = _asked(request)
    return present.Json(await its.list(caller, machine))


async def _each(
    request: Request,
    act: Callable[[Principal, MachineId, Collection[str]], Awaitable[list[services.ServiceResult]]],
) -> Response:
    wanted = await bodies.parse(request, recipes.ServiceNames)
    results = await act(service.principal(request), refs.machine(request), wanted.services)
    return present.Json([{"name": it.name, "done": it.is_done, "message": it.message} for it in results])


@router.post(
    "/v1/machines/{id}/services/start",
    responses={200: {"model": list[ServiceResult]}},
    openapi_extra=openapi.body(recipes.ServiceNames),
)
async def start(request: Request, id: str) -> Response:
    """Start each of them, whatever becomes of the others."""
    return await _each(request, service.of(request).control.services.start)


@router.post(
    "/v1/machines/{id}/services/stop",
    responses={200: {"model": list[ServiceResult]}},
    openapi_extra=openapi.body(recipes.ServiceNames),
)
async def stop(request: Request, id: str) -> Response:
    """Stop each of them, whatever becomes of the others."""
    return await _each(request, service.of(request).control.services.stop)


@router.post(
    "/v1/machines/{id}/services/restart",
    responses={200: {"model": list[ServiceResult]}},
    openapi_extra=openapi.body(recipes.ServiceNames),
)
async def restart(request: Request, id: str) -> Response:
    """Restart each of them, whatever becomes of the others."""
    return await _each(request, service.of(request).control.services.restart)


@router.get("/v1/machines/{id}/services/{name}", responses={200: {"model": ServiceStatus}})
async def status(request: Request, id: str, name: str) -> Response:
    """What systemd says of any service of the machine."""
    its, caller, machine = _asked(request)
    return present.Json(status_shown(await its.status(caller, machine, name)))


@router.patch(
    "/v1/machines/{id}/services/{name}",
    responses={200: {"model": Named}},
    openapi_extra=openapi.body(recipes.ServiceChange),
)
async def change(request: Request, id: str, name: str) -> Response:
    """Change what it says, and restart it if it runs."""
    patch = recipes.change(name, await bodies.parse(request, recipes.ServiceChange))
    its, caller, machine = _asked(request)
    await its.patch(caller, machine, patch)
    return present.Json({"name": name})


@router.delete("/v1/machines/{id}/services/{name}", status_code=204)
async def delete(request: Request, id: str, name: str) -> Response:
    """Stop it, disable it and remove it."""
    its, caller, machine = _asked(request)
    await its.delete(caller, machine, name)
    return Response(status_code=204)


@router.get("/v1/machines/{id}/services/{name}/logs", responses={200: {"model": list[JournalLine]}})
async def logs(
    request: Request,
    id: str,
    name: str,
    lines: Annotated[int, Query(ge=1, le=10_000)] = 100,
    since: str | None = None,
) -> Response:
    """The last lines of its journal; `since` is a moment as journalctl or RFC 3339 tells it."""
    its, caller, machine = _asked(request)
    found = await its.logs(caller, machine, name, lines, since)
    return present.Json([line_shown(it) for it in found])
