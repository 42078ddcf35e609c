"""Errors of the proxy as answers: `{"error": …}`, in the documented words of Hyperfleet's proxy."""

from collections.abc import Mapping

import structlog
from starlette.responses import Response

from hutch.api.answers import Json
from hutch.api.proxy.upstream import UpstreamFailed
from hutch.model import errors

RETRY_AFTER = "5"
"""Seconds after which a machine that is not running is worth another try."""

STATUSES: Mapping[type[errors.HutchError], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 503,
    errors.NoCapacity: 503,
    errors.MachineFailed: 503,
    errors.AgentUnavailable: 503,
    errors.RateLimited: 429,
    errors.Unsupported: 501,
    UpstreamFailed: 502,
    errors.TimedOut: 504,
    errors.HutchError: 500,
}
"""The nearest class in an error's ancestry counts."""

log = structlog.stdlib.get_logger("hutch.api.proxy")


def status(error: errors.HutchError) -> int:
    """The status of an error."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def words(error: errors.HutchError, port: int | None) -> str:
    """What a visitor is told; not why a machine does not run, which is for its owner."""
    match error:
        case errors.NotPublished():
            return f"Port {port} is not exposed on this machine"
        case errors.NotFound():
            return "Machine not found"
        case errors.Unauthenticated():
            return "This port is private: a traffic token or an API key is missing or not valid"
        case errors.Conflict() | errors.NoCapacity() | errors.MachineFailed() | errors.AgentUnavailable():
            return "Machine is not running"
        case errors.TimedOut() | errors.InvalidRequest() | errors.Forbidden() | errors.Unsupported():
            return error.message
        case UpstreamFailed():
            return error.message
        case _:
            return "Internal server error"


def response(error: errors.HutchError, port: int | None = None) -> Response:
    """An error as an answer; what is internal to it goes into the log."""
    code = status(error)
    if code == 500 or error.context:
        log.warning("refused", status=code, error=type(error).__name__, message=error.message, **error.context)
    body = {"error": words(error, port)}
    if isinstance(error, errors.Asleep):
        body["code"] = "machine_paused_auto_resume_disabled"
    retry = {"retry-after": RETRY_AFTER} if code == 503 else {}
    return Json(body, code, {**retry, "cache-control": "no-store"})
