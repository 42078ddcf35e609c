"""Domains, native: a tenant's own names that lead to ports of its machines."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.smol import present, refs, requests, responses
from hutch.model.domains import Domain

router = APIRouter(tags=["domains"])

_ONE = "/v1/domains/{domain}"


class CreateDomain(requests.Body):
    """A name to claim, or to lead elsewhere, and where to: a `machine`, by id or name, and a `port` of it."""

    name: str
    machine: str
    port: requests.U32


class DomainRecord(responses.Answer):
    """A TXT record."""

    name: str
    value: str


class DomainFile(responses.Answer):
    """A file and what it holds."""

    url: str
    content: str


class DomainInfo(responses.Answer):
    """A name and where it leads. Until it is verified it leads nowhere: `record` or `file` is to be published first."""

    name: str
    machine_id: str
    port: int
    verified: bool
    verified_at: str | None
    created_at: str
    record: DomainRecord
    file: DomainFile


def shown(it: Domain) -> dict[str, Any]:
    """A domain as JSON."""
    return {
        "name": it.name,
        "machineId": present.ID_PREFIX + it.machine,
        "port": it.port,
        "verified": it.verified_at is not None,
        "verifiedAt": present.time(it.verified_at),
        "createdAt": present.time(it.created_at),
        "record": {"name": it.record, "value": it.proof},
        "file": {"url": it.url, "content": it.proof},
    }


@router.post(
    "/v1/domains", status_code=201, responses={201: {"model": DomainInfo}}, openapi_extra=openapi.body(CreateDomain)
)
async def create(request: Request) -> Response:
    """Claim a name; one that is yours already is led to this machine and port, and stays verified."""
    body, caller = await bodies.parse(request, CreateDomain), service.principal(request)
    machine, domains = refs.machine_of(request, body.machine), service.of(request).control.domains
    return present.Json(shown(await domains.add(caller, body.name, machine, body.port)), 201)


@router.get("/v1/domains", responses={200: {"model": list[DomainInfo]}})
async def list_all(request: Request) -> Response:
    """All, oldest first."""
    return present.Json([shown(it) for it in service.of(request).control.domains.list(service.principal(request))])


@router.get(_ONE, responses={200: {"model": DomainInfo}})
async def get(request: Request, domain: str) -> Response:
    """One."""
    return present.Json(shown(service.of(request).control.domains.get(service.principal(request), domain)))


@router.post(f"{_ONE}/verify", responses={200: {"model": DomainInfo}})
async def verify(request: Request, domain: str) -> Response:
    """Look for the record or the file; 409, with what is there instead, if neither holds what it should."""
    return present.Json(shown(await service.of(request).control.domains.verify(service.principal(request), domain)))


@router.delete(_ONE, status_code=204)
async def delete(request: Request, domain: str) -> Response:
    """It leads nowhere from now on, and others may claim it."""
    await service.of(request).control.domains.remove(service.principal(request), domain)
    return Response(status_code=204)
