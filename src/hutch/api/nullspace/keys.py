"""API keys. Those made here begin with `ns_live_`, so that they speak this dialect at the root too."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import inventory, parse, refs, requests
from hutch.api.nullspace.errors import naming
from hutch.model.keys import ApiKey

router = APIRouter(tags=["keys"])

PREFIX = "ns_live"
_MISSING = "not_found"


def _new(key: ApiKey, token: str) -> Response:
    shown = inventory.key(key)
    told = {name: shown[name] for name in ("id", "prefix", "name", "scope", "expires_at")}
    return Json({**told, "key": token}, 201)


async def _make(request: Request, body: requests.CreateKey) -> Response:
    made = await service.of(request).control.keys.create(
        service.principal(request), description=body.name or "", scopes=parse.scopes(body.scope), prefix=PREFIX
    )
    return _new(*made)


@router.post(
    "/v1/keys",
    status_code=201,
    responses={201: {"model": inventory.NewKey}},
    openapi_extra=openapi.body(requests.CreateKey, optional=True),
)
async def create(request: Request) -> Response:
    """Make a key of the caller's tenant; it is told this once. No scope means the caller's own."""
    return await _make(request, await bodies.parse(request, requests.CreateKey, optional=True))


@router.get("/v1/keys", responses={200: {"model": list[inventory.Key]}})
async def list_all(request: Request) -> Response:
    """The tenant's keys, newest first, without their secrets. Revoked ones are forgotten."""
    found = await service.of(request).control.keys.list(service.principal(request))
    return Json([inventory.key(it) for it in found])


@router.delete("/v1/keys/{id}", responses={200: {"model": inventory.Revoked}})
async def revoke(request: Request, id: str) -> Response:
    """End a key at once."""
    with naming(_MISSING):
        await service.of(request).control.keys.revoke(service.principal(request), refs.key(id))
    return Json({"success": True})
