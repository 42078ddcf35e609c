"""Machines: create, list, get, start, stop, delete."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.smol import errors, once, parse, present, refs, requests, responses, shown, usage
from hutch.model.ids import MachineId
from hutch.model.machine import Machine
from hutch.model.states import State

router = APIRouter(tags=["machines"])


@router.post(
    "/v1/machines",
    status_code=201,
    responses={201: {"model": responses.Machine}},
    openapi_extra=openapi.body(requests.CreateMachine),
)
async def create(request: Request) -> Response:
    """Make a machine, stopped; of a checkpoint (native), suspended in it.

    With the header `Idempotency-Key` (native) the same request makes one machine, however often it is sent.
    """
    body = await bodies.whole(request)
    wanted = parse.machine_request(bodies.read(body, requests.CreateMachine))
    caller, machines = service.principal(request), service.of(request).control.machines

    async def make() -> Sequence[Machine]:
        with errors.about_volumes(wanted):
            return [await machines.create(caller, wanted)]

    making = once.made(request, body, make, lambda id: machines.get(caller.seeing(), MachineId(id)))
    (made,) = await streams.unless_hung_up(request.receive, making)
    return await shown.machine(request, made, 201)


@router.get("/v1/machines", responses={200: {"model": list[responses.Machine] | responses.Page}})
async def list_all(request: Request, wanted: Annotated[requests.Listing, Query()]) -> Response:
    """All machines, newest first; with `label=name%3Dvalue`, once or more, those that have all of these.

    Native: `state`, once or more, as `stateDetail` tells it; and with `limit` or `next` a page, `{machines, next}`.
    """
    caller, machines = service.principal(request), service.of(request).control.machines
    if wanted.limit is None and wanted.next is None:
        found = [it for it in machines.list(caller, parse.labels(wanted.label)) if it.state in (wanted.state or State)]
        return present.Json(await shown.machines(request, found, with_progress=True))
    page = machines.page(caller, parse.query(wanted))
    told = await shown.machines(request, page.items, with_progress=True)
    return present.Json({"machines": told, "next": page.next_token})


@router.get("/v1/machines/{id}", responses={200: {"model": responses.Machine}})
async def get(request: Request, id: str) -> Response:
    """One machine. Looking never wakes it."""
    caller, machines = service.principal(request), service.of(request).control.machines
    it = machines.find(caller, parse.machine_ref(id))
    return await shown.machine(
        request, it, getting_on=machines.progress(caller, it.id), remaining=machines.remaining(caller, it.id)
    )


@router.post("/v1/machines/{id}/start", responses={200: {"model": responses.Machine}})
async def start(request: Request, id: str) -> Response:
    """Start it; answers when it is ready. A started one is left alone, a suspended one goes on where it was."""
    machines = service.of(request).control.machines
    return await shown.machine(request, await machines.start(service.principal(request), refs.machine(request)))


@router.post("/v1/machines/{id}/stop", responses={200: {"model": responses.Machine}})
async def stop(request: Request, id: str) -> Response:
    """Stop it; answers when it has shut down. Its disk stays, unless it is ephemeral."""
    machines = service.of(request).control.machines
    return await shown.machine(request, await machines.stop(service.principal(request), refs.machine(request)))


@router.post("/v1/machines/{id}/restart", responses={200: {"model": responses.Machine}})
async def restart(request: Request, id: str) -> Response:
    """Stop it and boot it from its disk, as one request; one at rest is started. Native."""
    machines = service.of(request).control.machines
    return await shown.machine(request, await machines.restart(service.principal(request), refs.machine(request)))


@router.delete(
    "/v1/machines/{id}",
    status_code=204,
    responses={200: {"model": usage.MachineUsageReport, "description": "With includeUsage"}},
)
async def delete(
    request: Request, id: str, include_usage: Annotated[bool, Query(alias="includeUsage")] = False
) -> Response:
    """End and remove it, disk and all. With `includeUsage` the answer tells what it has used."""
    caller, machine, control = service.principal(request), refs.machine(request), service.of(request).control
    if include_usage:
        await control.usage.of_machine(caller, machine)  # before it is too late to be refused
    await control.machines.delete(caller, machine)
    if not include_usage:
        return Response(status_code=204)
    return present.Json(usage.machine_shown(await control.usage.of_machine(caller, machine), machine))
