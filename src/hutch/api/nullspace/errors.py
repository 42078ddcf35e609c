"""Every error of the nullspace dialect: its status, its code and its text, at one place.

All bodies are `{error, code, request_id}`; the codes are the documented service's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hutch.api import bodies, observe
from hutch.api.answers import Json
from hutch.model import errors

INVALID = "invalid_request"
UNDONE = "not_implemented"

KINDS: Mapping[type[errors.HutchError], tuple[int, str]] = {
    errors.InvalidRequest: (400, INVALID),
    errors.Unauthenticated: (401, "unauthorized"),
    errors.Forbidden: (403, "permission_denied"),
    errors.NotFound: (404, "machine_not_found"),
    errors.Conflict: (409, "transition_conflict"),
    errors.NotRunning: (409, "machine_not_ready"),
    errors.Incompatible: (409, "incompatible_snapshot"),
    errors.Damaged: (409, "rebuild_required"),
    errors.NoCapacity: (503, "capacity_exceeded"),
    errors.PoolUnavailable: (503, "warm_pool_unavailable"),
    errors.QuotaExceeded: (422, "QUOTA_EXCEEDED"),
    errors.ImageUnavailable: (404, "template_not_found"),
    errors.MachineFailed: (500, "internal_error"),
    errors.AgentUnavailable: (503, "machine_not_ready"),
    errors.TimedOut: (504, "timeout"),
    errors.GuestError: (400, "file_error"),
    errors.GuestNotFound: (404, "not_found"),
    errors.GuestDiskFull: (422, "file_error"),
    errors.Unsupported: (501, UNDONE),
    errors.RateLimited: (429, "rate_limit_exceeded"),
    errors.HutchError: (500, "internal_error"),
}
"""The nearest class in an error's ancestry counts."""

log = structlog.stdlib.get_logger("hutch.api.nullspace")


class Told(Exception):
    """An error that is this dialect's own: its status, code and text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def body(message: str, code: str, of: HTTPConnection | None) -> dict[str, str]:
    """What is answered, and told on a WebSocket."""
    shown = {"error": message, "code": code}
    id = None if of is None else of.scope.get(observe.REQUEST_ID)
    return shown if id is None else {**shown, "request_id": id}


def kind(error: errors.HutchError) -> tuple[int, str]:
    """An error's status and code."""
    return next(KINDS[kind] for kind in type(error).__mro__ if kind in KINDS)


def told(error: errors.HutchError) -> Told:
    """An error as this dialect tells it; what is internal to it goes into the log."""
    status, code = kind(error)
    if status >= 500 or error.context:
        log.warning("refused", status=status, error=type(error).__name__, message=error.message, **error.context)
    return Told(status, code, error.message)


def response(error: errors.HutchError | Told, of: HTTPConnection | None = None) -> Response:
    """An error as an answer."""
    it = told(error) if isinstance(error, errors.HutchError) else error
    headers = {"www-authenticate": "Bearer"} if it.status == 401 else {}
    if isinstance(error, errors.RateLimited):
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    return Json(body(str(it), it.code, of), it.status, headers)


def unauthorized(error: errors.Unauthenticated) -> Response:
    """No key, or one that is not known."""
    return response(error)


@contextmanager
def naming(code: str) -> Iterator[None]:
    """Inside, what is not found is no machine but what `code` says."""
    try:
        yield
    except errors.NotFound as error:
        raise Told(404, code, error.message) from None


@contextmanager
def running(failure: str = "exec_failed") -> Iterator[None]:
    """Inside, a command is run: a guest that cannot do so has failed at that."""
    try:
        yield
    except (errors.AgentUnavailable, errors.MachineFailed) as error:
        raise Told(502, failure, error.message) from error


def flaw(found: Mapping[str, Any]) -> str:
    """One of pydantic's flaws in words: `timeout_ms: Input should be a valid integer`."""
    where = ".".join(str(part) for part in found["loc"])
    return f"{where}: {found['msg']}" if where else str(found["msg"])


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.HutchError | Told)
    return response(error, request)


async def _malformed(request: Request, error: Exception) -> Response:
    return response(Told(400, INVALID, f"the body is not JSON: {error}"), request)


async def _unfit(request: Request, error: Exception) -> Response:
    assert isinstance(error, bodies.Unfit)
    return response(Told(400, INVALID, flaw(error.flaws.errors(include_url=False)[0])), request)


async def _too_large(request: Request, error: Exception) -> Response:
    return response(Told(413, INVALID, str(error)), request)


async def _bad_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    return response(Told(400, INVALID, flaw({**found, "loc": found["loc"][1:]})), request)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "not_found" if error.status_code == 404 else INVALID
    return response(Told(error.status_code, code, error.detail.lower()), request)


async def _unexpected(request: Request, _: Exception) -> Response:
    return response(errors.HutchError(), request)


def install(app: FastAPI) -> None:
    """Make `app` answer every error as this dialect does."""
    app.add_exception_handler(errors.HutchError, _refused)
    app.add_exception_handler(Told, _refused)
    app.add_exception_handler(bodies.Malformed, _malformed)
    app.add_exception_handler(bodies.Unfit, _unfit)
    app.add_exception_handler(bodies.TooLarge, _too_large)
    app.add_exception_handler(RequestValidationError, _bad_query)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
