"""Usage: of a tenant in a period, and of a machine, also when it is gone. Nothing is charged for: all costs are 0."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.smol import present, refs, responses
from hutch.model import errors
from hutch.model.usage import Report

router = APIRouter(tags=["usage"])

GIB = 2**30

COSTS = (
    *("cpuMicros", "memoryMicros", "diskMicros", "egressMicros", "execMicros", "baseMicros", "totalMicros"),
    *("creditAppliedMicros", "amountDueMicros"),
)


class UsageReport(responses.Answer):
    """What a tenant has used. `diskGbHours` and `egressGb` are native."""

    tenant_id: str
    from_: str = Field(alias="from")
    to: str
    total_uptime_seconds: int
    cpu_hours: float
    memory_gb_hours: float
    machine_count: int
    exec_count: int
    exec_duration_ms: int
    disk_gb_hours: float
    egress_gb: float


class MachineUsage(responses.Answer):
    """What a machine has used. `execCount` and `execDurationMs` are native."""

    total_uptime_seconds: float
    cpu_hours: float
    memory_gb_hours: float
    disk_gb_hours: float
    egress_gb: float
    exec_count: int
    exec_duration_ms: int


class MachineUsageReport(responses.Answer):
    """What a machine has used, and what that costs: nothing, here."""

    machine_id: str
    from_: str = Field(alias="from")
    to: str
    usage: MachineUsage
    cost: dict[str, int]


def shown(report: Report, tenant: str) -> dict[str, Any]:
    """A tenant's usage as JSON."""
    used = report.usage
    return {
        "tenantId": present.TENANT_PREFIX + tenant,
        "from": present.time(report.start),
        "to": present.time(report.end),
        "totalUptimeSeconds": int(used.uptime_seconds),
        "cpuHours": used.cpu_hours,
        "memoryGbHours": used.memory_gib_hours,
        "machineCount": used.machines,
        "execCount": used.execs,
        "execDurationMs": round(used.exec_seconds * 1000),
        "diskGbHours": used.disk_gib_hours,
        "egressGb": used.sent_bytes / GIB,
    }


def machine_shown(report: Report, machine: str) -> dict[str, Any]:
    """A machine's usage as JSON."""
    used = report.usage
    return {
        "machineId": present.ID_PREFIX + machine,
        "from": present.time(report.start),
        "to": present.time(report.end),
        "usage": {
            "totalUptimeSeconds": used.uptime_seconds,
            "cpuHours": used.cpu_hours,
            "memoryGbHours": used.memory_gib_hours,
            "diskGbHours": used.disk_gib_hours,
            "egressGb": used.sent_bytes / GIB,
            "execCount": used.execs,
            "execDurationMs": round(used.exec_seconds * 1000),
        },
        "cost": dict.fromkeys(COSTS, 0),
    }


def moment(field: str, text: str | None) -> datetime | None:
    """An ISO 8601 date or time; without an offset, UTC. Pure."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text.replace(" ", "+"))  # a client that forgot to encode its +02:00
    except ValueError:
        raise errors.InvalidRequest(f"{field}: {text[:80]!r} is not an ISO 8601 date such as 2026-11-22") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


@router.get("/v1/usage", responses={200: {"model": UsageReport}})
async def report(
    request: Request,
    tenant: Annotated[str | None, Query(alias="tenantId")] = None,
    start: Annotated[str | None, Query(alias="from")] = None,
    end: Annotated[str | None, Query(alias="to")] = None,
) -> Response:
    """A tenant's, the caller's own unless it may see another; from its creation, until now, unless said."""
    caller, usage = service.principal(request), service.of(request).control.usage
    of = caller.tenant if tenant is None else refs.tenant(tenant)
    found = await usage.report(caller, moment("from", start), moment("to", end), of)
    return present.Json(shown(found, of))


@router.get("/v1/machines/{id}/usage", responses={200: {"model": MachineUsageReport}})
async def of_machine(request: Request, id: str) -> Response:
    """A machine's; by its id also when it is deleted."""
    machine = refs.machine(request)
    found = await service.of(request).control.usage.of_machine(service.principal(request), machine)
    return present.Json(machine_shown(found, machine))
