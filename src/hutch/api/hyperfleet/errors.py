"""Every error of the hyperfleet dialect: its status, its code and its text, at one place.

All bodies are `{"error": {"code", "message"}}`. Codes and texts are the document's where it has one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.requests import HTTPConnection

from hutch.api.hyperfleet import states
from hutch.api.telling import Flaw, Teller, Told, plain_flaw
from hutch.model import errors

VALIDATION, BAD_REQUEST, TIMEOUT = "VALIDATION_ERROR", "BAD_REQUEST", "TIMEOUT"

KINDS: Mapping[type[errors.HutchError], tuple[int, str]] = {
    errors.InvalidRequest: (400, VALIDATION),
    errors.ImageUnavailable: (400, BAD_REQUEST),
    errors.IllegalTransition: (400, BAD_REQUEST),
    errors.NotRunning: (400, BAD_REQUEST),
    errors.GuestError: (400, BAD_REQUEST),
    errors.Unauthenticated: (401, "UNAUTHORIZED"),
    errors.Forbidden: (403, "FORBIDDEN"),
    errors.NotFound: (404, "NOT_FOUND"),
    errors.GuestNotFound: (404, "NOT_FOUND"),
    errors.Conflict: (409, "CONFLICT"),
    errors.QuotaExceeded: (422, "QUOTA_EXCEEDED"),
    errors.RateLimited: (429, "RATE_LIMITED"),
    errors.MachineFailed: (500, "RUNTIME_ERROR"),
    errors.Damaged: (500, "RUNTIME_ERROR"),
    errors.HutchError: (500, "INTERNAL_ERROR"),
    errors.Unsupported: (501, "NOT_IMPLEMENTED"),
    errors.AgentUnavailable: (502, "VSOCK_ERROR"),
    errors.NoCapacity: (503, "NO_CAPACITY"),
    errors.TimedOut: (504, TIMEOUT),
}

_KINDS_OF_VALUE = {
    "int": "an integer",
    "float": "a number",
    "string": "a string",
    "list": "an array",
    "dict": "an object",
}


def flaw(found: Flaw) -> str:
    """`vcpu_count must be at least 1`, as the document says it."""
    where = ".".join(str(part) for part in found["loc"])
    kind, context = found["type"], found.get("ctx", {})
    match kind:
        case "missing":
            return f"{where} is required"
        case "greater_than_equal":
            return f"{where} must be at least {context['ge']}"
        case "greater_than":
            return f"{where} must be more than {context['gt']}"
        case "less_than_equal":
            return f"{where} must be at most {context['le']}"
        case "string_too_short" | "too_short":
            return f"{where} must not be empty"
        case "literal_error":
            return f"{where} must be one of {', '.join(states.STATUSES)}"
    value, _, wrong = kind.partition("_")
    if value in _KINDS_OF_VALUE and wrong in ("type", "parsing", "from_float"):
        return f"{where} must be {_KINDS_OF_VALUE[value]}"
    return plain_flaw(found)


def words(error: errors.HutchError, of: HTTPConnection | None) -> str:
    """An error's text: the document's own, if it has one."""
    match error:
        case errors.ExpiredKey():
            return "API key has expired"
        case errors.UnknownKey():
            return "Invalid API key"
        case errors.Unauthenticated():
            return "Authorization header is required"
        case errors.Suspended():
            return error.message
        case errors.Forbidden():
            return "Insufficient permissions for this action"
        case errors.NotFound() if of is not None and "id" in of.path_params:
            return f"Machine with id '{of.path_params['id']}' not found"
        case errors.AgentUnavailable():
            return "Failed to communicate with VM"
        case _:
            return error.message


def show(it: Told) -> dict[str, Any]:
    """The body."""
    return {"error": {"code": it.code, "message": str(it)}}


TELLER = Teller("hyperfleet", KINDS, show, invalid=VALIDATION, lost="NOT_FOUND", words=words, flaw=flaw)


@contextmanager
def allowing(verb: str) -> Iterator[None]:
    """Inside, a machine's state is changed; where that is not allowed it is told in the document's words."""
    try:
        yield
    except errors.IllegalTransition as error:
        if error.machine is None:
            raise
        told = f"Cannot {verb} machine in '{states.status(error.machine)}' state"
        raise Told(400, BAD_REQUEST, told) from None
