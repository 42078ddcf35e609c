"""How the service is. Needs no key: nothing of any tenant is in it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hutch.api import metrics, openapi, service
from hutch.api.smol import present, responses

PATHS = frozenset({"/health", "/livez", "/readyz", "/metrics"})

router = APIRouter(tags=["health"])


@router.get("/health", responses={200: {"model": responses.Health}})
async def health(request: Request) -> Response:
    """What it is and what it runs machines with."""
    control = service.of(request).control
    return present.Json(present.health_report(control.health.report(), await control.health.is_ready()))


@router.get("/livez", response_class=PlainTextResponse)
async def livez(request: Request) -> Response:
    """Whether the process answers."""
    return PlainTextResponse("ok")


@router.get("/readyz", response_class=PlainTextResponse, responses=openapi.errors(503))
async def readyz(request: Request) -> Response:
    """Whether requests can be served."""
    ready = await service.of(request).control.health.is_ready()
    return PlainTextResponse("ok" if ready else "not ready", 200 if ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def prometheus(request: Request) -> Response:
    """For Prometheus."""
    its = service.of(request)
    page = its.metrics.render(its.control.health.report().machines)
    return Response(page, headers={"content-type": metrics.CONTENT_TYPE})
