"""Machines hibernated, resumed and copied, and the snapshots made of them.

A hibernation is not a snapshot in the control plane: it is shown as one, under its machine's id, for as long as the
machine does not run, and cannot be deleted without it.
"""

from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import errors, launch, listing, machines, once, present, refs, requests, responses
from hutch.control.keys import Principal
from hutch.control.machines import ForkRequest
from hutch.model.errors import Forbidden, NotFound
from hutch.model.ids import MachineId
from hutch.model.machine import Machine

router = APIRouter(tags=["snapshots"])

_SNAPSHOT = "snapshot_not_found"


@router.post("/v1/machines/{id}/hibernate", responses={200: {"model": responses.Snapshot}})
async def hibernate(request: Request, id: str) -> Response:
    """Save memory and disk and end its process; it is `paused` when this answers."""
    caller = service.principal(request)
    it = await service.of(request).control.machines.suspend(caller, refs.machine(id))
    return Json(await _hibernation(request, caller.seeing(), it))


async def _hibernation(request: Request, caller: Principal, it: Machine) -> dict[str, Any]:
    """An ephemeral machine is gone then, and takes nothing."""
    size = 0
    if present.status(it) != "destroyed":
        size = await service.of(request).control.machines.storage(caller, it.id)
    return present.hibernation(it, size)


def _resumed(request: Request, id: str) -> MachineId:
    """The machine that is meant: by its own id, that of its hibernation, or that of a snapshot made of it."""
    if not id.startswith(refs.SNAPSHOT):
        return refs.machine(id)
    meant = MachineId(refs.snapshot(id))
    try:
        return service.of(request).control.snapshots.find(service.principal(request), meant).machine
    except (NotFound, Forbidden):
        return meant


@router.post("/v1/machines/{id}/resume", responses={200: {"model": responses.Machine}})
async def resume(request: Request, id: str) -> Response:
    """Let it go on where it was, under the same id; a running one is left alone."""
    machine = _resumed(request, id)
    await service.of(request).control.machines.resume(service.principal(request), machine)
    return Json(machines.done(request, machine))


@router.post("/v1/machines/{id}/fork", status_code=201, responses={201: {"model": responses.Machine}})
async def fork(request: Request, id: str) -> Response:
    """A running copy, memory and processes included; the source goes on."""

    async def work() -> str:
        control = service.of(request).control
        (child,) = await control.machines.fork(service.principal(request), refs.machine(id), ForkRequest(count=1))
        return child.id

    return Json(machines.done(request, await once.once(request, f"fork_machine {id}", None, work)), 201)


@router.post(
    "/v1/machines/{id}/snapshots",
    status_code=201,
    responses={201: {"model": responses.Snapshot}},
    openapi_extra=openapi.body(requests.CreateSnapshot, optional=True),
)
async def create(request: Request, id: str) -> Response:
    """Keep an immutable copy of it; the machine goes on. It has the machine's metadata, unless it is given others."""
    body = await bodies.parse(request, requests.CreateSnapshot, optional=True)

    async def work() -> str:
        snapshots, machine = service.of(request).control.snapshots, refs.machine(id)
        return (await snapshots.create(service.principal(request), machine, metadata=body.metadata)).id

    said = None if body.metadata is None else body
    made = await once.once(request, f"create_snapshot {id}", said, work)
    with errors.naming(_SNAPSHOT):
        return Json(await _look(request, service.principal(request).seeing(), made), 201)


def _source(request: Request, caller: Principal, id: str) -> Machine | None:
    try:
        return service.of(request).control.machines.get(caller, refs.machine(id))
    except NotFound:
        return None


async def _look(request: Request, caller: Principal, id: str) -> dict[str, Any]:
    """A snapshot, or else a machine's hibernation."""
    source = _source(request, caller, refs.snapshot(id))
    if source is not None and present.status(source) == "paused":
        return await _hibernation(request, caller, source)
    return present.snapshot(service.of(request).control.snapshots.find(caller, refs.snapshot(id)))


@router.get("/v1/snapshots", responses={200: {"model": list[responses.Snapshot]}})
async def list_all(request: Request, machine_id: str | None = None, metadata: str | None = None) -> Response:
    """All, newest first, hibernations among them; of one machine with `machine_id`."""
    caller, control = service.principal(request), service.of(request).control
    wanted = None if machine_id is None else refs.machine(machine_id)
    asked = {} if metadata is None else listing.metadata(metadata)
    found = [(it.created_at, present.snapshot(it)) for it in control.snapshots.list(caller, wanted)]
    for it in control.machines.list(caller):
        if present.status(it) == "paused" and wanted in (None, it.id) and listing.has(it.metadata, asked):
            with suppress(NotFound):  # it has gone meanwhile
                found.append((it.suspended_at or it.updated_at, await _hibernation(request, caller, it)))
    # Not by the times that are shown: they are cut to milliseconds.
    newest_first = [it for _, it in sorted(found, key=lambda one: one[0], reverse=True)]
    return Json([it for it in newest_first if listing.has(it["metadata"], asked)])


@router.get("/v1/snapshots/{id}", responses={200: {"model": responses.Snapshot}})
async def get(request: Request, id: str) -> Response:
    """One snapshot, or a machine's hibernation."""
    with errors.naming(_SNAPSHOT):
        return Json(await _look(request, service.principal(request), id))


@router.delete("/v1/snapshots/{id}", status_code=204)
async def delete(request: Request, id: str) -> Response:
    """Drop it; machines made of it live on. What a paused machine is resumed from is in use."""
    caller, snapshot = service.principal(request), refs.snapshot(id)
    with errors.naming(_SNAPSHOT):
        try:
            await service.of(request).control.snapshots.delete(caller, snapshot)
        except NotFound:
            launch.check_not_asleep(_source(request, caller, snapshot))
            raise
    return Response(status_code=204)
