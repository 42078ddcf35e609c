"""Warm pools: machines kept ready, so that a start that fits takes one of them."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.smol import errors as wording
from hutch.api.smol import parse, present, refs, requests, responses, shown
from hutch.model import errors

router = APIRouter(tags=["pools"])


@router.post("/v1/pools", responses={200: {"model": responses.Pool}}, openapi_extra=openapi.body(requests.CreatePool))
async def create(request: Request) -> Response:
    """Begin to keep machines ready: restored, warmed by one command, and paused."""
    body, caller = await bodies.parse(request, requests.CreatePool), service.principal(request)
    if body.tenant_id not in (None, caller.tenant):
        raise errors.Unsupported("tenantId: a pool is made for the caller's own tenant only")
    return present.Json(present.pool(await service.of(request).control.pools.create(caller, parse.pool_request(body))))


@router.get("/v1/pools", responses={200: {"model": list[responses.Pool]}})
async def list_all(request: Request) -> Response:
    """All, oldest first."""
    return present.Json([present.pool(it) for it in service.of(request).control.pools.list(service.principal(request))])


@router.get("/v1/pools/{id}", responses={200: {"model": responses.Pool}})
async def get(request: Request, id: str) -> Response:
    """One, and how it stands. Native."""
    found = service.of(request).control.pools.find(service.principal(request), parse.pool_ref(id))
    return present.Json(present.pool(found))


@router.post(
    "/v1/pools/{id}/claim",
    responses={200: {"model": responses.Machine}},
    openapi_extra=openapi.body(requests.Claim, optional=True),
)
async def claim(request: Request, id: str) -> Response:
    """A running machine out of the pool, or one like them if none is ready. Native: its body."""
    body = await bodies.parse(request, requests.Claim, optional=True)
    caller, pools = service.principal(request), service.of(request).control.pools
    wanted, wait = parse.claim_request(body), (body.wait_ms or 0) / 1000
    pool = pools.find(caller.seeing(), parse.pool_ref(id)).pool.id  # missing, it is no volume
    with wording.about_volumes(wanted):
        claiming = pools.checkout(caller, pool, wanted, body.mode, wait)
        return await shown.machine(request, await streams.unless_hung_up(request.receive, claiming))


@router.patch(
    "/v1/pools/{id}", responses={200: {"model": responses.Pool}}, openapi_extra=openapi.body(requests.UpdatePool)
)
async def update(request: Request, id: str) -> Response:
    """Another name, sizes, warm-up, mode; enabled, disabled or drained. Native: 200, what is left out stays."""
    change = parse.pool_change(await bodies.parse(request, requests.UpdatePool))
    caller, pools = service.principal(request), service.of(request).control.pools
    return present.Json(present.pool(await pools.change(caller, refs.pool(request, id), change)))


@router.delete("/v1/pools/{id}", status_code=204)
async def delete(request: Request, id: str) -> Response:
    """End it and its waiting machines; claimed ones live on. Native."""
    await service.of(request).control.pools.delete(service.principal(request), refs.pool(request, id))
    return Response(status_code=204)
