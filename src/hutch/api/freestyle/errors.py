"""Every error of the freestyle dialect: its status, its code and its text, at one place.

All bodies are `{"error": CODE, "code": CODE, "message"}`: the document has `error`, its clients read `code`. The same
kind of error has another code in another operation; `_OF_OPERATION` is that table.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hutch.api import observe, service
from hutch.api.freestyle import codes, refs
from hutch.api.telling import Teller, Told
from hutch.model import errors

TRACE = "x-freestyle-trace-id"
"""The header that names the request of an error, in the service's log too."""

INVALID, LOST, INTERNAL = "VALIDATION_ERROR", "NOT_FOUND", "INTERNAL_ERROR"

ENDING = Told(503, INTERNAL, "the service is ending: ask again when it is back")

KINDS: Mapping[type[errors.HutchError], str] = {
    errors.InvalidRequest: INVALID,
    errors.GuestError: INVALID,
    errors.Unsupported: "UNSUPPORTED_OS",
    errors.ImageUnavailable: "BUILD_FAILED",
    errors.BuildFailed: "BUILD_FAILED",
    errors.BuildTooLong: "BUILD_BUDGET_EXCEEDED",
    errors.NotRunning: "VM_NOT_RUNNING",
    errors.IllegalTransition: "VM_NOT_RUNNING",
    errors.Unauthenticated: "UNAUTHORIZED_ERROR",
    errors.Forbidden: "FORBIDDEN",
    errors.QuotaExceeded: "VM_LIMIT_EXCEEDED",
    errors.NotFound: LOST,
    errors.GuestNotFound: LOST,
    errors.Conflict: "CONFLICT",
    errors.Damaged: "SOURCE_SNAPSHOT_LOST",
    errors.RateLimited: "LIMIT_EXCEEDED",
    errors.MachineFailed: "VM_SETUP_FAILED",
    errors.AgentUnavailable: "RESUMED_VM_NON_RESPONSIVE",
    errors.HutchError: INTERNAL,
    errors.NoCapacity: "NO_LOCAL_STORAGE_CAPACITY",
    errors.TimedOut: "VM_START_TIMEOUT",
}
"""By kind of error, where the operation has no word of its own."""

_CREATE, _SNAPSHOTS, _VM = "POST /v1/vms", "POST /v1/vms/snapshots", "/v1/vms/{vm_id}"

_OF_OPERATION: Mapping[str, Mapping[str, str]] = {
    _CREATE: {INVALID: "CREATE_VM_BAD_REQUEST", LOST: "SNAPSHOT_NOT_FOUND"},
    _SNAPSHOTS: {INVALID: "CREATE_SNAPSHOT_BAD_REQUEST", LOST: "SNAPSHOT_NOT_FOUND"},
    f"POST {_VM}/snapshot": {INVALID: "SNAPSHOT_VM_BAD_REQUEST", "VM_LIMIT_EXCEEDED": "SNAPSHOT_LIMIT_EXCEEDED"},
    f"POST {_VM}/suspend": {"VM_SETUP_FAILED": "SUSPEND_FAILED_VM_RESUMED"},
    "POST /v1/vms/{id}/resize": {
        INVALID: "INVALID_PARAMETERS",
        LOST: "INTERNAL_RESIZE_VM_NOT_FOUND",
        "VM_SETUP_FAILED": "RESIZE_FAILED",
    },
    f"POST {_VM}/systemd/services": {"CONFLICT": "SERVICE_ALREADY_EXISTS"},
    f"POST {_VM}/exec-await": {"VM_START_TIMEOUT": "EXEC_TIMED_OUT"},
    **{f"{verb} {_VM}/files/{{filepath}}": {INVALID: "FILES_BAD_REQUEST"} for verb in ("GET", "PUT")},
}
"""By operation: what is told instead of a code of `KINDS`."""

_SETS_UP = frozenset({_CREATE, _SNAPSHOTS, f"POST {_VM}/start"})
"""Operations in which a guest that refuses something was not set up."""

_OF_LIMIT = {
    "machines": "TOTAL_VM_LIMIT_EXCEEDED",
    "cpus": "VCPU_OVER_PLAN_LIMIT",
    "memory_mib": "MEMORY_STORAGE_QUOTA_EXCEEDED",
    "disk_gib": "ROOTFS_STORAGE_QUOTA_EXCEEDED",
    "snapshots": "SNAPSHOT_LIMIT_EXCEEDED",
}

_OF_FLAW = {"dockerfile_invalid": "BUILD_FAILED"}
"""Of flaws that are called otherwise than here."""

_OF_THING = {
    "snapshot_id": "SNAPSHOT_NOT_FOUND",
    "build_id": "BUILD_NOT_FOUND",
    "service_id": "SERVICE_NOT_FOUND",
    "terminal_id": "SESSION_NOT_FOUND",
    "session_id": "SESSION_NOT_FOUND",
}


def operation(of: HTTPConnection | None) -> str:
    """`POST /v1/vms/{vm_id}/fork`; of a path that leads nowhere only the method."""
    if of is None:
        return ""
    path = observe.route_template(of.scope).replace("{filepath:guestpath}", "{filepath}")
    return f"{of.scope.get('method', 'GET')} {path}"


def _code(error: errors.HutchError, of: HTTPConnection | None) -> str:
    """The code of an error in an operation."""
    params = {} if of is None else of.path_params
    match error:
        case errors.Flawed() if error.flaw in _OF_FLAW:
            return _OF_FLAW[error.flaw]
        case errors.Flawed() if error.flaw.upper() in codes.STATUSES:
            return error.flaw.upper()
        case errors.QuotaExceeded() if error.context.get("limit") in _OF_LIMIT:
            return _OF_LIMIT[str(error.context["limit"])]
        case errors.GuestError() if operation(of) in _SETS_UP:
            return "VM_SETUP_FAILED"
        case errors.GuestNotFound() if "filepath" in params:
            return "FILE_NOT_FOUND"
        case errors.NotFound() if found := next((code for name, code in _OF_THING.items() if name in params), None):
            return found
    code = next(KINDS[kind] for kind in type(error).__mro__ if kind in KINDS)
    return _OF_OPERATION.get(operation(of), {}).get(code, code)


def _words(error: errors.HutchError, of: HTTPConnection | None) -> str:
    """An error's text: with the id, where it is the request's own."""
    params = {} if of is None else of.path_params
    match error:
        case errors.NotFound() if "snapshot_id" in params:
            return f"Snapshot not found: {params['snapshot_id']}"
        case errors.NotFound() if "build_id" in params:
            return f"Build {params['build_id']} not found"
        case _:
            return error.message


def show(it: Told) -> dict[str, Any]:
    """The body."""
    return {"error": it.code, "code": it.code, "message": str(it)}


class _Teller(Teller):
    """Knows the operation, and names the request."""

    def told(self, error: errors.HutchError, of: HTTPConnection | None = None) -> Told:
        """With the operation's code, and that code's status."""
        it = super().told(error, of)
        code = _code(error, of)
        status = it.status if isinstance(error, errors.RateLimited) else codes.STATUSES[code]
        return Told(status, code, str(it))

    def response(self, error: errors.HutchError | Told, of: HTTPConnection | None = None) -> Response:
        """With the operation's code for what makes no sense, and the request's id."""
        if isinstance(error, Told) and error.code == INVALID:
            code = _OF_OPERATION.get(operation(of), {}).get(INVALID, INVALID)
            error = Told(error.status, code, str(error))
        answer = super().response(error, of)
        if of is not None and observe.REQUEST_ID in of.scope:
            answer.headers[TRACE] = of.scope[observe.REQUEST_ID]
        return answer


TELLER = _Teller(
    "freestyle",
    {kind: (429 if kind is errors.RateLimited else codes.STATUSES[code], code) for kind, code in KINDS.items()},
    show,
    invalid=INVALID,
    lost=LOST,
    words=_words,
)


def install(app: FastAPI) -> None:
    """Make `app` answer every error so; of a VM that was there once it is told that it was deleted."""
    TELLER.install(app)

    async def answer(request: Request, error: errors.NotFound) -> Response:
        id = request.path_params.get("vm_id", request.path_params.get("id"))
        return TELLER.response(error if id is None else await _lost(request, id) or error, request)

    app.add_exception_handler(errors.NotFound, answer)  # type: ignore[arg-type]


async def _lost(request: Request, id: str) -> Told | None:
    """What is told of a VM that is not there; None if it is."""
    machines, caller = service.of(request).control.machines, service.principal(request)
    try:
        machines.facts(caller, refs.machine(id))
    except errors.NotFound:
        with contextlib.suppress(errors.Forbidden):
            if await machines.deleted(caller, refs.machine(id)) is not None:
                return Told(410, "VM_DELETED", f"VM {id} was deleted")
        code = _OF_OPERATION.get(operation(request), {}).get(LOST, "VM_NOT_FOUND")
        return Told(404, code, f"VM not found: {id}")
    return None
