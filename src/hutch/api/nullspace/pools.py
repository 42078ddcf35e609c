"""Template warm pools: machines kept ready. They are on from their creation to their deletion."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import inventory, parse, refs, requests
from hutch.api.nullspace.errors import naming
from hutch.control.pools import PoolStatus

router = APIRouter(tags=["warm pools"])

_POOLS = "/v1/template-warm-pools"
_MISSING = "not_found"


@router.post(
    _POOLS, status_code=201, responses={201: {"model": inventory.Pool}}, openapi_extra=openapi.body(requests.CreatePool)
)
async def create(request: Request) -> Response:
    """Begin to keep machines ready."""
    wanted = parse.pool_request(await bodies.parse(request, requests.CreatePool))
    return Json(inventory.pool(await service.of(request).control.pools.create(service.principal(request), wanted)), 201)


@router.get(_POOLS, responses={200: {"model": inventory.Pools}})
async def list_all(
    request: Request,
    template: str | None = None,
    state: Literal["enabled", "disabled", "draining", "deleted"] | None = None,
    status: Literal["ready", "warming", "degraded"] | None = None,
    label: Annotated[Sequence[str], Query()] = (),
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """The tenant's, oldest first. None is ever but enabled, and none has labels."""
    found = service.of(request).control.pools.list(service.principal(request))
    shown = [inventory.pool(it) for it in found if status in (None, inventory.standing(it))]
    meant = [it for it in shown if template in (None, it["template_ref"]) and state in (None, it["state"])]
    return Json({"items": [] if label else meant[:limit]})


def _find(request: Request, id: str) -> PoolStatus:
    with naming(_MISSING):
        return service.of(request).control.pools.find(service.principal(request), refs.pool(id))


@router.get(f"{_POOLS}/{{id}}", responses={200: {"model": inventory.Pool}})
async def get(request: Request, id: str) -> Response:
    """One, and how it stands."""
    return Json(inventory.pool(_find(request, id)))


@router.get(f"{_POOLS}/{{id}}/status", responses={200: {"model": inventory.PoolCounts}})
async def status(request: Request, id: str) -> Response:
    """How many of its machines there are."""
    return Json(inventory.pool_counts(_find(request, id)))


@router.post(f"{_POOLS}/{{id}}/enable", responses={200: {"model": inventory.Pool}})
@router.post(f"{_POOLS}/{{id}}/reconcile", responses={200: {"model": inventory.Pool}})
async def look_again(request: Request, id: str) -> Response:
    """It is enabled, and looked after, in any case: it is told how it stands."""
    return Json(inventory.pool(_find(request, id)))


@router.delete(f"{_POOLS}/{{id}}", responses={200: {"model": inventory.Pool}})
async def delete(request: Request, id: str) -> Response:
    """End it and its waiting machines; those that were taken out of it live on."""
    found = _find(request, id)
    with naming(_MISSING):
        await service.of(request).control.pools.delete(service.principal(request), found.pool.id)
    return Json({**inventory.pool(found), "state": "deleted"})
