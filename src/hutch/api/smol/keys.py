"""API keys."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.smol import parse, present, refs, requests, responses

router = APIRouter(tags=["keys"])


@router.post(
    "/v1/apikeys",
    responses={200: {"model": responses.KeyCreated}},
    openapi_extra=openapi.body(requests.CreateKey),
)
async def create(request: Request) -> Response:
    """Make a key, told this once. No scopes means the caller's own; `tenantId` is for the admin of the box."""
    body, caller = await bodies.parse(request, requests.CreateKey), service.principal(request)
    key, token = await service.of(request).control.keys.create(
        caller,
        description=body.description or "",
        scopes=body.scopes or (),
        expires_in=parse.lifetime(body.expires_in_days),
        prefix=body.prefix or "smk",
        tenant=None if body.tenant_id is None else refs.tenant(body.tenant_id),
    )
    return present.Json({"id": key.id, "key": token})


@router.get("/v1/apikeys", responses={200: {"model": list[responses.Key]}})
async def list_all(request: Request) -> Response:
    """The tenant's keys, newest first, without their secrets."""
    found = await service.of(request).control.keys.list(service.principal(request))
    return present.Json([present.key(it) for it in found])


@router.delete("/v1/apikeys/{id}", status_code=204)
async def revoke(request: Request, id: str) -> Response:
    """End a key at once."""
    await service.of(request).control.keys.revoke(service.principal(request), id)
    return Response(status_code=204)
