"""Volumes, and which machines mount them. They are attached when a machine is made, and go with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import inventory, machines, parse, present, refs, requests, responses
from hutch.api.nullspace.errors import Told, naming
from hutch.model import errors
from hutch.model.volumes import Volume

router = APIRouter(tags=["volumes"])

_ID = "/v1/volumes/{id}"


def _shown(request: Request, it: Volume) -> dict[str, Any]:
    mounts = service.of(request).control.volumes.attached(service.principal(request), it.id)
    return inventory.volume(it, len(mounts))


def _find(request: Request, text: str) -> Volume:
    with naming("not_found"):
        return service.of(request).control.volumes.find(service.principal(request), text)


def _masked(it: dict[str, Any], fields: str | None) -> dict[str, Any]:
    mask = None if fields is None else [word.strip() for word in fields.split(",")]
    return it if mask is None else {name: it[name] for name in mask if name in it}


@router.post(
    "/v1/volumes", responses={200: {"model": inventory.Volume}}, openapi_extra=openapi.body(requests.CreateVolume)
)
async def create(request: Request) -> Response:
    """Make one, empty. `size_gb` (Hutch's own) is its size."""
    body = await bodies.parse(request, requests.CreateVolume)
    volumes, size = service.of(request).control.volumes, parse.VOLUME_GB if body.size_gb is None else body.size_gb
    return Json(_shown(request, await volumes.create(service.principal(request), body.name, size)))


@router.get("/v1/volumes", responses={200: {"model": list[inventory.Volume | responses.Masked]}})
async def list_all(request: Request, fields: str | None = None) -> Response:
    """All, oldest first."""
    found = service.of(request).control.volumes.list(service.principal(request))
    return Json([_masked(_shown(request, it), fields) for it in found])


@router.get("/v1/volumes/by-name/{name}", responses={200: {"model": inventory.Volume | responses.Masked}})
async def get_by_name(request: Request, name: str, fields: str | None = None) -> Response:
    """One, by its name."""
    return Json(_masked(_shown(request, _find(request, name)), fields))


@router.get(_ID, responses={200: {"model": inventory.Volume | responses.Masked}})
async def get(request: Request, id: str, fields: str | None = None) -> Response:
    """One."""
    return Json(_masked(_shown(request, _find(request, refs.volume(id))), fields))


@contextmanager
def _busy() -> Iterator[None]:
    try:
        yield
    except errors.Conflict as error:
        raise Told(409, "volume_busy", error.message) from None


@router.delete(_ID, status_code=204)
async def delete(request: Request, id: str) -> Response:
    """Remove it with all it holds; not while a machine mounts it."""
    with naming("not_found"), _busy():
        await service.of(request).control.volumes.delete(service.principal(request), refs.volume(id))
    return Response(status_code=204)


@router.get(f"{_ID}/attachments", responses={200: {"model": list[responses.Attachment]}})
async def attachments(request: Request, id: str) -> Response:
    """Where it is mounted."""
    caller, control, volume = service.principal(request), service.of(request).control, _find(request, refs.volume(id))
    found = [control.machines.get(caller, machine) for machine in control.volumes.attached(caller, volume.id)]
    wanted = refs.VOLUME + volume.id
    return Json([one for it in found for one in present.attachments(it) if one["volume_id"] == wanted])


@router.get("/v1/machines/{id}/volumes", responses={200: {"model": list[responses.Attachment]}})
async def of_machine(request: Request, id: str) -> Response:
    """What a machine mounts, in the order in which it was asked for."""
    return Json(machines.look(request, id)["metadata"].get("volume_attachments", []))
