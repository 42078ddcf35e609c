"""What happens to machines, as operations that were asked for, and succeeded or failed: listed, and told as it happens.

Every event of the control plane that is one of the documented operations is told; the others are not.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.answers import Json, moment
from hutch.api.nullspace import errors, refs, requests, responses
from hutch.control.history import EventQuery
from hutch.model import errors as model_errors
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.kinds import Kind
from hutch.model.machine import Event

router = APIRouter(tags=["lifecycle"])

Status = Literal["requested", "succeeded", "failed"]
OPERATIONS: dict[str, tuple[requests.Operation, Status]] = {
    Kind.CREATING: ("create", "requested"),
    Kind.CREATED: ("create", "succeeded"),
    Kind.START_FAILED: ("resume_from_snapshot", "failed"),
    Kind.WOKEN: ("resume_from_snapshot", "succeeded"),
    Kind.RESUMED: ("resume_from_snapshot", "succeeded"),
    Kind.SUSPENDING: ("hibernate", "requested"),
    Kind.SUSPENDED: ("hibernate", "succeeded"),
    Kind.SNAPSHOTTED: ("snapshot_created", "succeeded"),
    Kind.FORKED: ("fork", "succeeded"),
    Kind.TIMER: ("timeout_expired", "succeeded"),
    Kind.TIMED: ("timeout_updated", "succeeded"),
    Kind.DESTROYING: ("destroy", "requested"),
    Kind.DESTROYED: ("destroy", "succeeded"),
    Kind.ADOPTED: ("reconcile", "succeeded"),
    Kind.RECONCILED: ("reconcile", "succeeded"),
    Kind.FAILED: ("reconcile", "failed"),
}
"""What a kind of event is called here."""

_OF_SYSTEM = {Kind.TIMER, Kind.ADOPTED, Kind.RECONCILED, Kind.FAILED}


def shown(it: Event) -> dict[str, Any] | None:
    """An event; None if it is none of the documented operations."""
    named = OPERATIONS.get(it.kind)
    if named is None:
        return None
    operation, status = named
    told = {
        "id": refs.as_uuid(it.id),
        "occurred_at": moment(it.created_at),
        "audience": "customer",
        "operation": operation,
        "status": status,
        "actor_kind": "system" if it.kind in _OF_SYSTEM else "user",
        "metadata": {"kind": it.kind},
        "machine_id": refs.MACHINE + it.machine,
        "reason": it.message,
    }
    if it.snapshot is not None:
        told["snapshot_id"] = refs.SNAPSHOT + it.snapshot
    if it.kind == Kind.FORKED:
        told["source_machine_id"] = told["machine_id"]
    return told if status != "failed" else {**told, "error_code": "internal_error", "error_message": it.message}


def kinds(operation: str | None = None, status: str | None = None) -> frozenset[str]:
    """The kinds of events that are told as this; None: as any."""
    return frozenset(kind for kind, it in OPERATIONS.items() if operation in (None, it[0]) and status in (None, it[1]))


Offset = Annotated[int, Query(ge=0)]
Limit = Annotated[int, Query(ge=1, le=500)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every list of events is asked with."""

    offset: Offset = 0
    limit: Limit = 50
    order: Literal["asc", "desc"] = "desc"
    operation: requests.Operation | None = None
    status: Status | None = None
    since: Annotated[datetime | None, Query(alias="from")] = None
    to: datetime | None = None


Asked = Annotated[Wanted, Depends()]


def _aware(when: datetime | None, name: str) -> datetime | None:
    if when is not None and when.tzinfo is None:
        raise model_errors.InvalidRequest(f"{name}: give a time zone, as in 2026-01-01T00:00:00Z")
    return when


async def _page(
    request: Request, wanted: Wanted, machine: MachineId | None = None, snapshot: SnapshotId | None = None
) -> Response:
    caller = service.principal(request)
    query = EventQuery(
        caller.tenant,
        machine,
        snapshot,
        kinds(wanted.operation, wanted.status),
        _aware(wanted.since, "from"),
        _aware(wanted.to, "to"),
        wanted.order == "desc",
        wanted.offset,
        wanted.limit + 1,  # one more tells whether there are more
    )
    with errors.naming("machine_not_found" if snapshot is None else "snapshot_not_found"):
        found = [shown(it) for it in await service.of(request).control.history.events(caller, query)]
    page = {"events": found[: wanted.limit], "offset": wanted.offset, "limit": wanted.limit}
    return Json({**page, "has_more": len(found) > wanted.limit})


@router.get("/v1/machines/{id}/lifecycle", responses={200: {"model": responses.Events}})
async def list_of_machine(request: Request, id: str, wanted: Asked) -> Response:
    """What happened to a machine, also to a deleted one, newest first."""
    return await _page(request, wanted, refs.machine(id))


@router.get("/v1/snapshots/{id}/lifecycle", responses={200: {"model": responses.Events}})
async def list_of_snapshot(request: Request, id: str, wanted: Asked) -> Response:
    """That a snapshot was made; also of a deleted one."""
    control, snapshot = service.of(request).control, refs.snapshot(id)
    with suppress(model_errors.NotFound):  # by its name; or it is gone
        snapshot = control.snapshots.find(service.principal(request), snapshot).id
    return await _page(request, wanted, snapshot=snapshot)


@router.get("/v1/lifecycle/events", responses={200: {"model": responses.Events}})
async def list_all(
    request: Request,
    wanted: Asked,
    machine_id: str | None = None,
    snapshot_id: str | None = None,
    source_machine_id: str | None = None,
    target_machine_id: str | None = None,
    audience: Literal["customer", "internal"] | None = None,
) -> Response:
    """What happened to the tenant's machines, the deleted ones too, newest first."""
    if audience == "internal":
        raise model_errors.InvalidRequest("audience: internal is not told here")
    for name, given in (("source_machine_id", source_machine_id), ("target_machine_id", target_machine_id)):
        if given is not None:
            raise model_errors.Unsupported(f"{name}: a fork is told of its source, by machine_id and operation=fork")
    machine = None if machine_id is None else refs.machine(machine_id)
    snapshot = None if snapshot_id is None else refs.snapshot(snapshot_id)
    return await _page(request, wanted, machine, snapshot)
