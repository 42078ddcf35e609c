"""Template warm pools: machines kept ready."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import inventory, parse, refs, requests
from hutch.api.nullspace.errors import naming
from hutch.control.pools import PoolChange, PoolStatus
from hutch.model.machine import PoolState

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
    """The tenant's, oldest first; those with all the labels, each `name=value` or a name alone."""
    found = service.of(request).control.pools.list(service.principal(request))
    meant = [
        it
        for it in map(inventory.pool, [it for it in found if status in (None, inventory.standing(it))])
        if template in (None, it["template_ref"]) and state in (None, it["state"]) and _has(it["labels"], label)
    ]
    return Json({"items": meant[:limit]})


def _has(its: Mapping[str, str], labels: Sequence[str]) -> bool:
    asked = [label.partition("=") for label in labels]
    return all(name in its and (not equals or its[name] == value) for name, equals, value in asked)


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


async def _change(request: Request, id: str, change: PoolChange) -> Response:
    found = _find(request, id)
    with naming(_MISSING):
        pools = service.of(request).control.pools
        return Json(inventory.pool(await pools.change(service.principal(request), found.pool.id, change)))


@router.patch(
    f"{_POOLS}/{{id}}",
    responses={200: {"model": inventory.Pool}},
    openapi_extra=openapi.body(requests.UpdatePool),
)
async def update(request: Request, id: str) -> Response:
    """Another name, other sizes, another policy, labels or metadata; what is left out stays."""
    return await _change(request, id, parse.pool_change(await bodies.parse(request, requests.UpdatePool)))


@router.post(f"{_POOLS}/{{id}}/enable", responses={200: {"model": inventory.Pool}})
async def enable(request: Request, id: str) -> Response:
    """Fill it again."""
    return await _change(request, id, PoolChange(state=PoolState.ENABLED))


@router.post(f"{_POOLS}/{{id}}/disable", responses={200: {"model": inventory.Pool}})
async def disable(request: Request, id: str) -> Response:
    """Make no more machines and let none be taken; those that are ready stay."""
    return await _change(request, id, PoolChange(state=PoolState.DISABLED))


@router.post(f"{_POOLS}/{{id}}/drain", responses={200: {"model": inventory.Pool}})
async def drain(request: Request, id: str) -> Response:
    """The same, and end those that are ready."""
    return await _change(request, id, PoolChange(state=PoolState.DRAINING))


@router.post(f"{_POOLS}/{{id}}/reconcile", responses={200: {"model": inventory.Pool}})
async def reconcile(request: Request, id: str) -> Response:
    """It is looked after in any case: it is told how it stands."""
    return Json(inventory.pool(_find(request, id)))


@router.delete(f"{_POOLS}/{{id}}", responses={200: {"model": inventory.Pool}})
async def delete(request: Request, id: str) -> Response:
    """End it and its waiting machines; those that were taken out of it live on."""
    found = _find(request, id)
    with naming(_MISSING):
        await service.of(request).control.pools.delete(service.principal(request), found.pool.id)
    return Json({**inventory.pool(found), "state": "deleted"})
