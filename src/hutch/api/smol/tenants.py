"""Tenants, for the admin of the box; the limits are native."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.smol import present, refs, requests, responses
from hutch.model import errors, keys
from hutch.model.ids import TenantId

router = APIRouter(tags=["tenants"])

_FIELDS = {
    "machines": "machines",
    "running": "runningMachines",
    "cpus": "cpus",
    "memory_mib": "memoryMb",
    "disk_gib": "diskGb",
    "volumes": "volumes",
    "snapshots": "checkpoints",
    "requests_per_second": "requestsPerSecond",
}
"""The limits there are, and what they are called here."""


class Limits(requests.Body):
    """The most a tenant may have at once; null: as much as the box has. Native.

    `requestsPerSecond` is of each key, execs not counted; null: the service's default, 0: no limit whatever that is.
    """

    machines: requests.U32 | None = None
    running_machines: requests.U32 | None = None
    cpus: requests.U32 | None = None
    memory_mb: requests.U32 | None = None
    disk_gb: requests.U32 | None = None
    volumes: requests.U32 | None = None
    checkpoints: requests.U32 | None = None
    requests_per_second: Annotated[float, Field(ge=0, le=1e9, strict=False)] | None = None


class CreateTenant(requests.Body):
    """A tenant to make."""

    name: str
    id: str | None = None
    plan_id: str | None = None
    limits: Limits | None = None


class UpdateTenant(requests.Body):
    """What a tenant is to be. `limits` (native) takes the place of all it had; a limit left out is none."""

    status: Literal["active", "suspended"] | None = None
    plan_id: str | None = None
    external_billing_id: str | None = None
    limits: Limits | None = None


class TenantInfo(responses.Answer):
    """A tenant. What documented fields mean a plan, apps or billing is always null here; `limits` is native."""

    id: str
    name: str
    status: Literal["active", "suspended"]
    created_at: str
    updated_at: None
    plan_id: None
    external_billing_id: None
    max_apps: None
    max_cpus: int | None
    max_memory_mb: int | None
    max_sandbox_pools: None
    limits: dict[str, float | None]


def shown(it: keys.Tenant) -> dict[str, Any]:
    """A tenant as JSON."""
    nothing = ("updatedAt", "planId", "externalBillingId", "maxApps", "maxSandboxPools")
    return {
        "id": present.TENANT_PREFIX + it.id,
        "name": it.name,
        "status": "suspended" if it.is_suspended else "active",
        "createdAt": present.time(it.created_at),
        "maxCpus": it.limits.cpus,
        "maxMemoryMb": it.limits.memory_mib,
        **dict.fromkeys(nothing),
        "limits": {name: getattr(it.limits, ours) for ours, name in _FIELDS.items()},
    }


def limits(given: Limits | None) -> keys.Limits | None:
    """Limits as asked for. Pure."""
    if given is None:
        return None
    told = given.model_dump(by_alias=True)
    return keys.Limits(**{ours: told[name] for ours, name in _FIELDS.items()})


def _refuse(**given: object) -> None:
    for field, value in given.items():
        if value is not None:
            raise errors.Unsupported(f"{field}: there are no plans and no billing here, and ids are made up")


@router.post(
    "/v1/tenants", status_code=201, responses={201: {"model": TenantInfo}}, openapi_extra=openapi.body(CreateTenant)
)
async def create(request: Request) -> Response:
    """Make a tenant; its first key is made with `POST /v1/apikeys` and its `tenantId`."""
    body = await bodies.parse(request, CreateTenant)
    _refuse(id=body.id, planId=body.plan_id)
    tenants = service.of(request).control.tenants
    made = await tenants.create(service.principal(request), body.name, limits(body.limits))
    return present.Json(shown(made), 201)


@router.get("/v1/tenants", responses={200: {"model": list[TenantInfo]}})
async def list_all(request: Request) -> Response:
    """All, oldest first."""
    return present.Json([shown(it) for it in service.of(request).control.tenants.list(service.principal(request))])


@router.get("/v1/tenants/{id}", responses={200: {"model": TenantInfo}})
async def get(request: Request, id: str) -> Response:
    """One; a tenant's own key may look at its own."""
    found = service.of(request).control.tenants.get(service.principal(request), refs.tenant(id))
    return present.Json(shown(found))


@router.patch("/v1/tenants/{id}", responses={200: {"model": TenantInfo}}, openapi_extra=openapi.body(UpdateTenant))
async def update(request: Request, id: str) -> Response:
    """Change its limits (native), or suspend or reactivate it by its `status`."""
    body, caller = await bodies.parse(request, UpdateTenant), service.principal(request)
    _refuse(planId=body.plan_id, externalBillingId=body.external_billing_id)
    tenants, tenant, wanted = service.of(request).control.tenants, refs.tenant(id), limits(body.limits)
    if wanted is not None:
        await tenants.update(caller, tenant, wanted)
    if body.status is not None:
        await _set_status(request, tenant, body.status)
    return present.Json(shown(tenants.get(caller, tenant)))


async def _set_status(request: Request, tenant: TenantId, status: str) -> None:
    tenants = service.of(request).control.tenants
    act = tenants.suspend if status == "suspended" else tenants.reactivate
    await act(service.principal(request), tenant)


@router.post("/v1/tenants/{id}/suspend", status_code=204)
async def suspend(request: Request, id: str) -> Response:
    """Its keys may look and delete, nothing else; its running machines are suspended."""
    await _set_status(request, refs.tenant(id), "suspended")
    return Response(status_code=204)


@router.post("/v1/tenants/{id}/reactivate", status_code=204)
async def reactivate(request: Request, id: str) -> Response:
    """Its keys work again; its machines stay as they are."""
    await _set_status(request, refs.tenant(id), "active")
    return Response(status_code=204)
