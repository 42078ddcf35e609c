"""Snapshots: made of a spec, listed, named, deleted."""

import contextlib
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.freestyle import bases, parse, present, recipe, refs, requests, responses, sizes, specs
from hutch.api.telling import Told
from hutch.control.snapshot_views import SnapshotState
from hutch.model import errors

router = APIRouter(tags=["snapshots"])

_ALL, _ID = "/v1/vms/snapshots", "/v1/vms/snapshots/{snapshot_id}"


@router.get(_ALL, responses={200: {"model": responses.ListSnapshots}})
async def list_all(request: Request, wanted: Annotated[requests.SnapshotListing, Query()]) -> Response:
    """The newest first, with what is being built and what failed, without what was deleted, if nothing is said."""
    caller, snapshots = service.principal(request), service.of(request).control.snapshots
    there = await snapshots.views(caller, include_deleted=True, include_failed=True, include_building=True)
    is_shown = {
        SnapshotState.READY: True,
        SnapshotState.BUILDING: wanted.include_building is not False,
        SnapshotState.FAILED: wanted.include_failed is not False,
        SnapshotState.CANCELLED: wanted.include_cancelled is not False,
        SnapshotState.LOST: wanted.include_lost is not False,
    }
    shown = [it for it in there if is_shown[it.state] and (wanted.include_deleted is True or not it.deleted)]
    return Json(present.snapshots(shown, there, caller.tenant))


@router.post(
    _ALL, responses={200: {"model": responses.CreatedSnapshot}}, openapi_extra=openapi.body(specs.CreateSnapshot)
)
async def create(request: Request) -> Response:
    """Have the snapshot of a spec, which is built if it is not there; goes on if the client hangs up."""
    body = bodies.read(await bodies.whole(request, requests.SPEC_LIMIT), specs.CreateSnapshot)
    if body.spec is None and body.template is None:
        raise errors.InvalidRequest("spec: say what the snapshot is to be made of")
    caller, its = service.principal(request), service.of(request)
    box = await its.control.health.capacity()
    plan = recipe.plan(body, sizes.ranges(box, its.settings.machines), sizes.default_disk(box))
    await bases.check(its.control, caller, plan.recipe.base)
    made = await its.control.builds.ensure(caller, parse.build_request(body, plan))
    return Json({"snapshotId": refs.SNAPSHOT + made.id})


@router.get(_ID, responses={200: {"model": responses.SnapshotInfo}})
async def get(request: Request, snapshot_id: str) -> Response:
    """One snapshot, also one that was deleted or never came to be."""
    caller, snapshots = service.principal(request), service.of(request).control.snapshots
    return Json(present.snapshot(await snapshots.view(caller, refs.snapshot(snapshot_id)), caller.tenant))


@router.patch(
    _ID, responses={200: {"model": responses.RenamedSnapshot}}, openapi_extra=openapi.body(requests.UpdateSnapshot)
)
async def update(request: Request, snapshot_id: str) -> Response:
    """Call it otherwise; a null leaves its name as it is."""
    body = await bodies.parse(request, requests.UpdateSnapshot)
    caller, snapshots, id = (
        service.principal(request),
        service.of(request).control.snapshots,
        refs.snapshot(snapshot_id),
    )
    name = parse.snapshot_name(body.name)
    it = snapshots.find(caller, id) if name is None else await snapshots.rename(caller, id, name)
    return Json({"snapshot_id": refs.SNAPSHOT + it.id, "name": it.name})


@router.delete(_ID, responses={200: {"model": responses.DeletedSnapshot}})
async def delete(request: Request, snapshot_id: str) -> Response:
    """Drop it: its record stays for a while, and VMs made of it live on."""
    caller, snapshots, id = (
        service.principal(request),
        service.of(request).control.snapshots,
        refs.snapshot(snapshot_id),
    )
    try:
        await snapshots.delete(caller, id)
    except errors.NotFound:
        with contextlib.suppress(errors.Forbidden):
            if await snapshots.deleted(caller, id) is not None:
                told = f"Snapshot already deleted: {snapshot_id}"
                raise Told(409, "SNAPSHOT_ALREADY_DELETED", told) from None
        raise
    return Json({"snapshot_id": refs.SNAPSHOT + id})
