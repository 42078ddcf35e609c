"""What happens to machines, as operations that were asked for, and succeeded or failed: listed, and told as it happens.

Every event of the control plane that is one of the documented operations is told; the others are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.answers import Json, moment
from hutch.api.nullspace import errors, refs, requests, responses
from hutch.model import errors as model_errors
from hutch.model.ids import MachineId
from hutch.model.kinds import Kind
from hutch.model.machine import Event

router = APIRouter(tags=["lifecycle"])

Status = Literal["requested", "succeeded", "failed"]
KEPT = 1000
"""Of each machine's events the last so many are looked through."""

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
    return told if status != "failed" else {**told, "error_code": "internal_error", "error_message": it.message}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are asked for; None: all."""

    operation: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def select(self, events: Sequence[Event]) -> list[dict[str, Any]]:
        """Those, as they are shown."""
        meant = [it for it in events if self._is_in_time(it)]
        return [it for it in map(shown, meant) if it is not None and self.means(it)]

    def means(self, it: dict[str, Any]) -> bool:
        """Whether a shown one is asked for."""
        return self.operation in (None, it["operation"]) and self.status in (None, it["status"])

    def _is_in_time(self, it: Event) -> bool:
        return (self.since is None or it.created_at >= self.since) and (
            self.until is None or it.created_at <= self.until
        )


def _aware(when: datetime | None, name: str) -> datetime | None:
    if when is not None and when.tzinfo is None:
        raise model_errors.InvalidRequest(f"{name}: give a time zone, as in 2026-01-01T00:00:00Z")
    return when


Offset = Annotated[int, Query(ge=0)]
Limit = Annotated[int, Query(ge=1, le=500)]
Order = Literal["asc", "desc"]
From = Annotated[datetime | None, Query(alias="from")]


def _page(found: list[dict[str, Any]], offset: int, limit: int, order: Order) -> Response:
    """Of events that come oldest first."""
    ordered = found if order == "asc" else found[::-1]
    page = ordered[offset : offset + limit]
    return Json({"events": page, "offset": offset, "limit": limit, "has_more": len(ordered) > offset + limit})


async def of_machine(request: HTTPConnection, machine: MachineId) -> Sequence[Event]:
    """A machine's events, oldest first."""
    return await service.of(request).control.machines.events(service.principal(request), machine, KEPT)


@router.get("/v1/machines/{id}/lifecycle", responses={200: {"model": responses.Events}})
async def list_of_machine(
    request: Request,
    id: str,
    offset: Offset = 0,
    limit: Limit = 50,
    order: Order = "desc",
    operation: requests.Operation | None = None,
    status: Status | None = None,
    since: From = None,
    to: datetime | None = None,
) -> Response:
    """What happened to a machine, newest first."""
    wanted = Wanted(operation, status, _aware(since, "from"), _aware(to, "to"))
    return _page(wanted.select(await of_machine(request, refs.machine(id))), offset, limit, order)


@router.get("/v1/snapshots/{id}/lifecycle", responses={200: {"model": responses.Events}})
async def list_of_snapshot(
    request: Request,
    id: str,
    offset: Offset = 0,
    limit: Limit = 50,
    order: Order = "desc",
    operation: requests.Operation | None = None,
    status: Status | None = None,
    since: From = None,
    to: datetime | None = None,
) -> Response:
    """That a snapshot was made. An event does not name its snapshot: the machine's that is nearest in time is meant."""
    caller, control = service.principal(request), service.of(request).control
    with errors.naming("snapshot_not_found"):
        snapshot = control.snapshots.find(caller, refs.snapshot(id))
        made = [it for it in await of_machine(request, snapshot.machine) if it.kind == Kind.SNAPSHOTTED]
    nearest = sorted(made, key=lambda it: abs((it.created_at - snapshot.created_at).total_seconds()))[:1]
    wanted = Wanted(operation, status, _aware(since, "from"), _aware(to, "to"))
    found = [{**it, "snapshot_id": refs.SNAPSHOT + snapshot.id} for it in wanted.select(nearest)]
    return _page(found, offset, limit, order)


@router.get("/v1/lifecycle/events", responses={200: {"model": responses.Events}})
async def list_all(
    request: Request,
    machine_id: str | None = None,
    snapshot_id: str | None = None,
    source_machine_id: str | None = None,
    target_machine_id: str | None = None,
    audience: Literal["customer", "internal"] | None = None,
    offset: Offset = 0,
    limit: Limit = 50,
    order: Order = "desc",
    operation: requests.Operation | None = None,
    status: Status | None = None,
    since: From = None,
    to: datetime | None = None,
) -> Response:
    """What happened to a machine that lives: `machine_id` is needed, the events of all are only told live."""
    if audience == "internal":
        raise model_errors.InvalidRequest("audience: internal is not told here")
    for name, given in (("snapshot_id", snapshot_id), ("source_machine_id", source_machine_id)):
        if given is not None:
            raise model_errors.Unsupported(f"{name}: events are listed by machine_id")
    if target_machine_id is not None:
        raise model_errors.Unsupported("target_machine_id: events are listed by machine_id")
    if machine_id is None:
        raise model_errors.Unsupported("machine_id: name one; the events of all machines are only told live")
    wanted = Wanted(operation, status, _aware(since, "from"), _aware(to, "to"))
    return _page(wanted.select(await of_machine(request, refs.machine(machine_id))), offset, limit, order)
