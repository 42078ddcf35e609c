"""What is reached from outside: published ports and the ways in; and what a machine may reach itself."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.smol import parse, present, refs, requests, responses, shown

router = APIRouter(tags=["ports"])

_MACHINE: dict[int | str, dict[str, object]] = {200: {"model": responses.Machine}}


@router.put("/v1/machines/{id}/ports", responses=_MACHINE, openapi_extra=openapi.body(requests.SetPorts))
async def publish(request: Request, id: str) -> Response:
    """From now on exactly these are published, whether it runs or not."""
    wanted = parse.ports((await bodies.parse(request, requests.SetPorts)).ports)
    exposure = service.of(request).control.exposure
    return await shown.machine(
        request, await exposure.publish(service.principal(request), refs.machine(request), wanted)
    )


@router.put("/v1/machines/{id}/network", responses=_MACHINE, openapi_extra=openapi.body(requests.Network))
async def set_network(request: Request, id: str) -> Response:
    """What it may reach from now on; connections that are forbidden now are broken. Native."""
    policy = parse.network(await bodies.parse(request, requests.Network))
    machines = service.of(request).control.machines
    return await shown.machine(
        request, await machines.set_network(service.principal(request), refs.machine(request), policy)
    )


@router.post("/v1/machines/{id}/share", responses={200: {"model": responses.Share}})
async def share(request: Request, id: str) -> Response:
    """A link to its published ports for whoever has it; the last one is invalid then."""
    exposure = service.of(request).control.exposure
    link = await exposure.share(service.principal(request), refs.machine(request))
    return present.Json({"token": link.token, "url": link.url})


@router.delete("/v1/machines/{id}/share", status_code=204)
async def unshare(request: Request, id: str) -> Response:
    """The link is invalid at once; port links are not."""
    await service.of(request).control.exposure.unshare(service.principal(request), refs.machine(request))
    return Response(status_code=204)


@router.post("/v1/machines/{id}/port-links", responses={200: {"model": responses.PortLinks}})
async def port_links(request: Request, id: str) -> Response:
    """A link to each published port, the same every time until they are revoked."""
    caller, machine, exposure = service.principal(request), refs.machine(request), service.of(request).control.exposure
    links = exposure.sign_all(caller, machine)
    return present.Json({"urls": {str(port): link.url for port, link in links.items()}})


@router.delete("/v1/machines/{id}/port-links", status_code=204)
async def revoke(request: Request, id: str) -> Response:
    """All links and tokens of the machine are invalid at once, what is shared too."""
    await service.of(request).control.exposure.revoke(service.principal(request), refs.machine(request))
    return Response(status_code=204)


@router.post(
    "/v1/machines/{id}/links", responses={200: {"model": responses.Link}}, openapi_extra=openapi.body(requests.NewLink)
)
async def link(request: Request, id: str) -> Response:
    """A link to one published port, for a while or until revoked. Native."""
    wanted = await bodies.parse(request, requests.NewLink)
    exposure = service.of(request).control.exposure
    made = exposure.sign(service.principal(request), refs.machine(request), wanted.port, wanted.ttl_seconds)
    return present.Json({"url": made.url, "token": made.token, "expiresAt": present.time(made.expires_at)})


@router.post("/v1/machines/{id}/traffic-token", responses={200: {"model": responses.TrafficToken}})
async def traffic_token(request: Request, id: str) -> Response:
    """The token for all its published ports, the same every time until it is revoked. Native."""
    exposure = service.of(request).control.exposure
    return present.Json({"token": exposure.token(service.principal(request), refs.machine(request))})
