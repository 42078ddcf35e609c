"""How long machines live."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import parse, present, refs, requests, responses

router = APIRouter(tags=["machines"])


@router.post(
    "/v1/machines/{id}/timeout",
    responses={200: {"model": responses.Lease}},
    openapi_extra=openapi.body(requests.SetTimeout),
)
async def set_timeout(request: Request, id: str) -> Response:
    """A new lease: it ends so long from now, whatever was said before. Idle time and the rest stay."""
    body = await bodies.parse(request, requests.SetTimeout)
    caller, machines, machine = service.principal(request), service.of(request).control.machines, refs.machine(id)
    timers = parse.renewed(machines.get(caller, machine).timers, body)
    it = await machines.set_timers(caller, machine, timers)
    return Json(present.lease(it, machines.remaining(caller, machine).lifetime))
