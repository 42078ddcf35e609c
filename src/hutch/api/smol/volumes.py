"""Volumes: disks that outlive machines, mounted when a machine is created with them in `mounts`."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.smol import parse, present, refs, requests, responses
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.volumes import Volume

router = APIRouter(tags=["volumes"])

NODE = "node-0"
"""One box is one node."""


class CreateVolume(requests.Body):
    """A volume to make."""

    name: str
    size_gb: requests.U32
    node: str | None = None


class VolumeInfo(responses.Answer):
    """A volume. `machineIds`, those that mount it, is native; `appInstanceId` is of what is not here, always null."""

    id: str
    name: str
    node_id: str
    size_gb: int
    status: str
    created_at: str
    app_instance_id: None
    machine_ids: list[str]


def shown(it: Volume, machines: Sequence[MachineId]) -> dict[str, Any]:
    """A volume as JSON."""
    return {
        "id": present.VOLUME_PREFIX + it.id,
        "name": it.name,
        "nodeId": NODE,
        "sizeGb": it.size_gib,
        "status": "attached" if machines else "available",
        "createdAt": present.time(it.created_at),
        "appInstanceId": None,
        "machineIds": [present.ID_PREFIX + machine for machine in machines],
    }


@router.post("/v1/volumes", responses={200: {"model": VolumeInfo}}, openapi_extra=openapi.body(CreateVolume))
async def create(request: Request) -> Response:
    """Make a volume, empty, with a file system."""
    body, caller = await bodies.parse(request, CreateVolume), service.principal(request)
    if body.node not in (None, "", NODE):
        raise errors.InvalidRequest(f"node: there is only {NODE}")
    return present.Json(shown(await service.of(request).control.volumes.create(caller, body.name, body.size_gb), ()))


@router.get("/v1/volumes", responses={200: {"model": list[VolumeInfo]}})
async def list_all(request: Request) -> Response:
    """All, oldest first."""
    caller, volumes = service.principal(request), service.of(request).control.volumes
    return present.Json([shown(it, volumes.attached(caller, it.id)) for it in volumes.list(caller)])


@router.get("/v1/volumes/{id}", responses={200: {"model": VolumeInfo}})
async def get(request: Request, id: str) -> Response:
    """One. Native: by its name too."""
    caller, volumes = service.principal(request), service.of(request).control.volumes
    found = volumes.find(caller, parse.volume_ref(id))
    return present.Json(shown(found, volumes.attached(caller, found.id)))


@router.delete("/v1/volumes/{id}", status_code=204)
async def delete(request: Request, id: str) -> Response:
    """Remove it with all it holds; 409 while a machine mounts it."""
    await service.of(request).control.volumes.delete(service.principal(request), refs.volume(request, id))
    return Response(status_code=204)
