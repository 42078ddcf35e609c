"""Every error of the starpod dialect: its status and its text, at one place. All bodies are `{"error": …}`."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection

from hutch.api.telling import Teller, Told
from hutch.model import errors

STATUSES: Mapping[type[errors.HutchError], int] = {
    errors.InvalidRequest: 400,
    errors.GuestError: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.QuotaExceeded: 422,
    errors.RateLimited: 429,
    errors.HutchError: 500,
    errors.Unsupported: 501,
    errors.AgentUnavailable: 503,
    errors.NoCapacity: 503,
    errors.TimedOut: 504,
}


def words(error: errors.HutchError, _: HTTPConnection | None) -> str:
    """An error's text: the document's own, if it has one."""
    match error:
        case errors.Unauthenticated():
            return "Unauthorized"
        case errors.NotFound():
            return "Instance not found"
        case _:
            return error.message


def show(it: Told) -> dict[str, Any]:
    """The body."""
    return {"error": str(it)}


TELLER = Teller(
    "starpod", {kind: (status, "") for kind, status in STATUSES.items()}, show, invalid="", lost="", words=words
)
