"""Every error of the smol dialect: its status and its text, at one place.

Bodies are plain text, as documented; only an unknown key gets JSON, which clients parse.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hutch.api import bodies
from hutch.api.smol import present
from hutch.control import machines
from hutch.model import errors

STATUSES: Mapping[type[errors.HutchError], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.NoCapacity: 422,
    errors.ImageUnavailable: 422,
    errors.Incompatible: 409,
    errors.Damaged: 500,
    errors.MachineFailed: 500,
    errors.AgentUnavailable: 503,
    errors.TimedOut: 504,
    errors.GuestError: 400,
    errors.GuestNotFound: 404,
    errors.GuestDiskFull: 422,
    errors.Unsupported: 501,
    errors.RateLimited: 429,
    errors.HutchError: 500,
}
"""The nearest class in an error's ancestry counts."""

_EXPECTED = {
    "string_type": "a string",
    "int_type": "u32",
    "int_from_float": "u32",
    "bool_type": "a boolean",
    "dict_type": "a map",
    "list_type": "a sequence",
    "model_type": "struct",
    "model_attributes_type": "struct",
}

log = structlog.stdlib.get_logger("hutch.api.smol")


def _found(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f'string "{value[:80]}"'
        case list():
            return "sequence"
        case _:
            return "map"


def _flaw(flaw: Mapping[str, Any]) -> tuple[list[str], str]:
    path, kind = [str(part) for part in flaw["loc"]], flaw["type"]
    if kind == "missing":
        return path[:-1], f"missing field `{path[-1]}`"
    if kind in _EXPECTED:
        return path, f"invalid type: {_found(flaw['input'])}, expected {_EXPECTED[kind]}"
    if kind in ("greater_than_equal", "less_than_equal"):
        return path, f"invalid value: {_found(flaw['input'])}, expected u32"
    if kind in ("literal_error", "enum"):
        known = flaw["ctx"]["expected"].replace("'", "`")
        return path, f"unknown variant `{flaw['input']}`, expected {known}"
    return path, str(flaw["msg"])


def misfit(flaw: Mapping[str, Any]) -> str:
    """One of pydantic's flaws, in the words of the documented service (serde's, behind axum)."""
    path, words = _flaw(flaw)
    where = ".".join(path)
    return f"{where}: {words}" if where else words


def unauthorized(error: errors.Unauthenticated) -> Response:
    """No credential: an empty body. A wrong one: JSON."""
    headers = {"www-authenticate": "Bearer"}
    if isinstance(error, errors.UnknownKey):
        return present.Json({"code": "unknown_key", "error": error.message}, 401, headers)
    return Response(status_code=401, headers=headers)


def status(error: errors.HutchError) -> int:
    """The status of an error."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def response(error: errors.HutchError) -> Response:
    """An error as an answer; what is internal to it goes into the log."""
    if isinstance(error, errors.Unauthenticated):
        return unauthorized(error)
    code = status(error)
    if code >= 500 or error.context:
        log.warning("refused", status=code, error=type(error).__name__, message=error.message, **error.context)
    headers = {"retry-after": str(math.ceil(error.retry_after))} if isinstance(error, errors.RateLimited) else None
    return PlainTextResponse(error.message, code, headers)


@contextmanager
def about_file(path: str) -> Iterator[None]:
    """Inside, what is missing in the guest is this file, and is told as documented."""
    try:
        yield
    except errors.GuestNotFound as error:
        raise errors.GuestNotFound(f"file not found: {path.lstrip('/')}", **error.context) from None


@contextmanager
def about_volumes(wanted: machines.MachineRequest) -> Iterator[None]:
    """Inside, what is missing is a volume of the machine that is wanted, and is a bad request as documented."""
    try:
        yield
    except errors.NotFound as error:
        if not wanted.mounts:
            raise
        raise errors.InvalidRequest(f"mounts: {error.message}", **error.context) from None


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, errors.HutchError)
    return response(error)


async def _malformed(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"Failed to parse the request body as JSON: {error}", 400)


async def _unfit(_: Request, error: Exception) -> Response:
    assert isinstance(error, bodies.Unfit)
    words = misfit(error.flaws.errors(include_url=False)[0])
    return PlainTextResponse(f"Failed to deserialize the JSON body into the target type: {words}", 422)


async def _too_large(_: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 413)


async def _bad_query(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    flaw = error.errors()[0]
    return PlainTextResponse(f"Failed to deserialize query string: {misfit({**flaw, 'loc': flaw['loc'][1:]})}", 400)


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail.lower(), error.status_code, error.headers)


async def _unexpected(_: Request, __: Exception) -> Response:
    return PlainTextResponse("internal server error", 500)


def install(app: FastAPI) -> None:
    """Make `app` answer every error as this dialect does."""
    app.add_exception_handler(errors.HutchError, _refused)
    app.add_exception_handler(bodies.Malformed, _malformed)
    app.add_exception_handler(bodies.Unfit, _unfit)
    app.add_exception_handler(bodies.TooLarge, _too_large)
    app.add_exception_handler(RequestValidationError, _bad_query)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
