"""How the service is. Needs no key."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.answers import Json
from hutch.api.hyperfleet import responses
from hutch.api.telling import Told

PATHS = frozenset({"/health"})

router = APIRouter(tags=["health"])


@router.get("/health", responses={200: {"model": responses.Health}})
async def health(request: Request) -> Response:
    """Whether requests can be served."""
    if not await service.of(request).control.health.is_ready():
        raise Told(503, "INTERNAL_ERROR", "the service is not ready")
    return Json({"status": "ok"})
