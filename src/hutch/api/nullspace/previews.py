"""Ports of machines seen from outside: hosts, preview URLs and their grants, and whether something serves there.

Every port can be asked for: it is published then, publicly unless the machine was made without public traffic.
"""

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json, moment
from hutch.api.nullspace import egress, errors, parse, refs, requests
from hutch.api.nullspace.responses import Answer
from hutch.control.exposure import Link
from hutch.model.ids import MachineId
from hutch.model.network import Grant

router = APIRouter(tags=["network"])

_ID = "/v1/machines/{id}"
_PORT = f"{_ID}/ports/{{port}}"

PROXY_HEADER = "x-nullspace-preview-proxy-token"


class RateLimit(Answer):
    """How much may leave a machine."""

    kbit_per_sec: int | None = None
    pps: int | None = None
    burst: int | None = None


class Egress(Answer):
    """What a machine may reach."""

    mode: Literal["allow_all", "deny_all", "custom"]
    allow_cidrs: list[str] | None = None
    deny_cidrs: list[str] | None = None
    rate_limit: RateLimit | None = None


class MachineEgress(Answer):
    """What a machine may reach from now on."""

    machine_id: str
    egress: Egress


class Host(Answer):
    """Where a port is reached. A private one has a token in its URLs."""

    host: str
    url: str
    websocket_url: str
    access_token_expires_at: str | None = None
    access_token_transport: Literal["query"] | None = None


class PreviewGrant(Answer):
    """A link to a port. Its use is not counted: the counts are 0."""

    id: str
    machine_id: str
    port: int
    status: Literal["active", "expired", "revoked"]
    auth_mode: Literal["direct", "proxy"]
    bootstrap_transport: Literal["query", "header"]
    token_kinds: list[Literal["http_port", "websocket_port"]]
    principal_kind: Literal["user"]
    issued_at: str
    expires_at: str
    revoked_at: str | None
    use_count: int
    http_request_count: int
    websocket_connection_count: int
    bytes_in_count: int
    bytes_out_count: int
    created_at: str
    updated_at: str


class PreviewUrl(Answer):
    """A link for a browser, its token in the query."""

    grant: PreviewGrant
    url: str
    websocket_url: str
    access_token_expires_at: str
    access_token_transport: Literal["query"]


class PreviewGrants(Answer):
    """Links to a machine's ports."""

    items: list[PreviewGrant]


class RevokedGrant(Answer):
    """A link that lets nobody in any more."""

    success: bool
    grant: PreviewGrant


class PreviewProxyTarget(Answer):
    """Where a proxy of one's own sends requests, with the token in a header. One token is good for both transports."""

    grant: PreviewGrant
    machine_id: str
    port: int
    token_header_name: Literal["x-nullspace-preview-proxy-token"]
    token_transport: Literal["header"]
    expires_at: str
    http_url: str | None
    websocket_url: str | None
    http_token: str | None
    websocket_token: str | None
    required_forwarded_headers: list[str]
    traffic_access_required: bool | None
    warnings: list[str]


class PreviewReadiness(Answer):
    """Whether a port is ready: its machine runs, and something answers there."""

    ready: bool
    route_ready: bool
    service_ready: bool
    machine_id: str
    port: int
    kind: Literal["http", "tcp"]
    path: str | None
    checked_at: str
    elapsed_ms: int
    attempts: int
    code: str | None
    error: str | None
    suggested_action: str | None


def _websocket(url: str) -> str:
    return f"ws{url.removeprefix('http')}"


def grant_shown(machine: MachineId, grant: Grant, generation: int | None = None) -> dict[str, Any]:
    """A link as it is now; `generation` is that of its machine's tokens, if it may be another than the link's."""
    is_revoked = grant.revoked_at is not None or generation not in (None, grant.generation)
    is_over = grant.expires_at <= datetime.now(UTC)
    counts = ("use", "http_request", "websocket_connection", "bytes_in", "bytes_out")
    return {
        "id": grant.id,
        "machine_id": refs.MACHINE + machine,
        "port": grant.port,
        "status": "revoked" if is_revoked else "expired" if is_over else "active",
        "auth_mode": "proxy" if grant.in_header else "direct",
        "bootstrap_transport": "header" if grant.in_header else "query",
        "token_kinds": ["http_port", "websocket_port"],
        "principal_kind": "user",
        "issued_at": moment(grant.issued_at),
        "expires_at": moment(grant.expires_at),
        "revoked_at": None if grant.revoked_at is None else moment(grant.revoked_at),
        **{f"{what}_count": 0 for what in counts},
        "created_at": moment(grant.issued_at),
        "updated_at": moment(grant.revoked_at or grant.issued_at),
    }


@router.patch(
    f"{_ID}/egress",
    responses={200: {"model": MachineEgress}},
    openapi_extra=openapi.body(requests.UpdateEgress),
)
async def update_egress(request: Request, id: str) -> Response:
    """What it may reach from now on, instead of what it may; connections that are forbidden now are broken."""
    body, machine = await bodies.parse(request, requests.UpdateEgress), refs.machine(id)
    machines = service.of(request).control.machines
    changed = await machines.set_network(service.principal(request), machine, egress.read(body.egress))
    return Json({"machine_id": refs.MACHINE + machine, "egress": egress.show(changed.spec.network)})


@router.post(f"{_ID}/host", responses={200: {"model": Host}}, openapi_extra=openapi.body(requests.GetHost))
async def get_host(request: Request, id: str) -> Response:
    """Where a port is reached from outside; it is published if it is not."""
    body, caller = await bodies.parse(request, requests.GetHost), service.principal(request)
    control, machine = service.of(request).control, refs.machine(id)
    port = parse.guest_port(body.port)
    opened = await control.grants.open(caller, machine, port)
    plain = control.exposure.url(opened, port)
    shown: dict[str, Any] = {"host": urlsplit(plain).netloc, "url": plain, "websocket_url": _websocket(plain)}
    if not any(it.port == port and it.is_public for it in opened.ports):
        link = control.exposure.sign(caller, machine, port, parse.PREVIEW_SECONDS)
        shown |= {"url": link.url, "websocket_url": _websocket(link.url), "access_token_transport": "query"}
        shown["access_token_expires_at"] = None if link.expires_at is None else moment(link.expires_at)
    return Json(shown)


async def _issue(
    request: Request, id: str, port: str, seconds: int | None, in_header: bool = False
) -> tuple[Link, dict[str, Any]]:
    """A new link, and its grant as it is shown."""
    caller, control, machine = service.principal(request), service.of(request).control, refs.machine(id)
    lasting = parse.PREVIEW_SECONDS if seconds is None else seconds
    grant, link = await control.grants.issue(caller, machine, parse.guest_port(port), lasting, in_header)
    return link, grant_shown(machine, grant)


async def _preview(request: Request, id: str, port: str, seconds: int | None) -> Response:
    link, grant = await _issue(request, id, port, seconds)
    told = {"access_token_expires_at": grant["expires_at"], "access_token_transport": "query"}
    return Json({"grant": grant, "url": link.url, "websocket_url": _websocket(link.url), **told})


@router.get(f"{_PORT}/preview-url", responses={200: {"model": PreviewUrl}})
async def preview_url(request: Request, id: str, port: str) -> Response:
    """A link to a port for a browser, good for an hour."""
    return await _preview(request, id, port, None)


@router.post(
    f"{_PORT}/signed-preview-url",
    responses={200: {"model": PreviewUrl}},
    openapi_extra=openapi.body(requests.SignedPreviewUrl),
)
async def signed_preview_url(request: Request, id: str, port: str) -> Response:
    """The same, good for as long as is asked."""
    body = await bodies.parse(request, requests.SignedPreviewUrl)
    return await _preview(request, id, port, body.expires_in_seconds)


@router.post(
    f"{_PORT}/preview-proxy-target",
    responses={200: {"model": PreviewProxyTarget}},
    openapi_extra=openapi.body(requests.PreviewProxyTarget),
)
async def preview_proxy_target(request: Request, id: str, port: str) -> Response:
    """A way in for a proxy of one's own, which sends the token in a header with every request."""
    body = await bodies.parse(request, requests.PreviewProxyTarget)
    link, grant = await _issue(request, id, port, body.expires_in_seconds, in_header=True)
    url = link.url.partition("/?")[0]
    transports = ("http", "websocket") if body.transports is None else body.transports
    by_http, by_websocket = "http" in transports, "websocket" in transports
    return Json(
        {
            "grant": grant,
            "machine_id": grant["machine_id"],
            "port": grant["port"],
            "token_header_name": PROXY_HEADER,
            "token_transport": "header",
            "expires_at": grant["expires_at"],
            "http_url": url if by_http else None,
            "websocket_url": _websocket(url) if by_websocket else None,
            "http_token": link.token if by_http else None,
            "websocket_token": link.token if by_websocket else None,
            "required_forwarded_headers": [],
            "traffic_access_required": None if body.include_traffic_token_hint is False else False,
            "warnings": [],
        }
    )


@router.get(f"{_ID}/preview-urls", responses={200: {"model": PreviewGrants}})
async def list_preview_urls(request: Request, id: str, port: Annotated[int | None, Query()] = None) -> Response:
    """Links that were made, oldest first; of one port with `port`. The last hundred are kept."""
    caller, control, machine = service.principal(request), service.of(request).control, refs.machine(id)
    generation = control.machines.get(caller, machine).token_generation
    found = [it for it in control.grants.list(caller, machine) if port in (None, it.port)]
    return Json({"items": [grant_shown(machine, it, generation) for it in found]})


@router.delete(f"{_ID}/preview-urls/{{grant}}", responses={200: {"model": RevokedGrant}})
async def revoke_preview_url(request: Request, id: str, grant: str) -> Response:
    """A link lets nobody in from now on."""
    caller, control, machine = service.principal(request), service.of(request).control, refs.machine(id)
    control.machines.get(caller.seeing(), machine)
    with errors.naming("not_found"):
        revoked = await control.grants.revoke(caller, machine, grant)
    return Json({"success": True, "grant": grant_shown(machine, revoked)})


@router.post(
    f"{_PORT}/readiness",
    responses={200: {"model": PreviewReadiness}},
    openapi_extra=openapi.body(requests.PreviewReadiness),
)
async def readiness(request: Request, id: str, port: str) -> Response:
    """Look at a port until something answers there, for as long as is asked. Looking never wakes the machine."""
    body, began = await bodies.parse(request, requests.PreviewReadiness), time.monotonic()
    asked, machine = parse.readiness(body), refs.machine(id)
    number = parse.guest_port(port)
    found = await service.of(request).control.grants.probe(
        service.principal(request), machine, number, asked.path, asked.seconds, asked.interval
    )
    code = None if found.is_serving else "service_not_ready" if found.is_reachable else "machine_not_ready"
    return Json(
        {
            "ready": found.is_serving,
            "route_ready": found.is_reachable,
            "service_ready": found.is_serving,
            "machine_id": refs.MACHINE + machine,
            "port": number,
            "kind": "tcp" if asked.path is None else "http",
            "path": asked.path,
            "checked_at": moment(datetime.now(UTC)),
            "elapsed_ms": round(1000 * (time.monotonic() - began)),
            "attempts": found.looks,
            "code": code,
            "error": found.error,
            "suggested_action": None if code is None else _ACTIONS[code],
        }
    )


_ACTIONS = {
    "machine_not_ready": "Resume the machine first: looking at a port does not wake it.",
    "service_not_ready": "Start a server in the machine that listens at this port on all addresses, 0.0.0.0.",
}
