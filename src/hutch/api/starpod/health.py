"""How the service is. Needs no key."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.answers import Json
from hutch.api.starpod import responses
from hutch.api.telling import Told

PATHS = frozenset({"/api/health"})

router = APIRouter(tags=["health"])


@router.get("/api/health", responses={200: {"model": responses.Health}})
async def health(request: Request) -> Response:
    """Whether requests can be served."""
    its = service.of(request).control.health
    if not await its.is_ready():
        raise Told(503, "", "the service is not ready")
    return Json({"status": "ok", "version": its.report().version})
