"""Builds, and what they have done so far."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.answers import Json
from hutch.api.freestyle import present, refs, responses
from hutch.api.telling import Told
from hutch.model import errors

router = APIRouter(tags=["builds"])

_ID = "/v1/vms/builds/{build_id}"


@router.get(_ID, responses={200: {"model": responses.BuildRecord}})
async def get(request: Request, build_id: str) -> Response:
    """One build."""
    builds = service.of(request).control.builds
    return Json(present.build(await builds.get(service.principal(request), refs.build(build_id))))


@router.get(f"{_ID}/phases", responses={200: {"model": responses.ListBuildPhases}})
async def phases(request: Request, build_id: str) -> Response:
    """What it has begun, the oldest first: the last one is what it is doing."""
    builds = service.of(request).control.builds
    found = await builds.phases(service.principal(request), refs.build(build_id))
    return Json({"phases": [present.phase(it) for it in found]})


@router.get("/v1/vms/{vm_id}/build", responses={200: {"model": responses.BuildRecord}})
async def of_vm(request: Request, vm_id: str) -> Response:
    """The build that made what a VM was made of; 404 if nothing had to be built for it."""
    caller, control = service.principal(request), service.of(request).control
    build = control.machines.get(caller, refs.machine(vm_id)).build
    none = Told(404, "BUILD_NOT_FOUND_FOR_VM", f"No build found for VM {vm_id}")
    if build is None:
        raise none
    try:
        return Json(present.build(await control.builds.get(caller, build)))
    except errors.NotFound:  # its record is not kept for ever
        raise none from None
