"""How a dialect tells errors as JSON: a table gives each kind its status and code, the dialect form and words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from hutch.api import bodies
from hutch.api.answers import Json
from hutch.model import errors

log = structlog.stdlib.get_logger("hutch.api")

Flaw = Mapping[str, Any]


class Told(Exception):
    """An error as a dialect tells it: its status, code and text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def plain_words(error: errors.HutchError, _: HTTPConnection | None) -> str:
    """An error's own."""
    return error.message


def plain_flaw(flaw: Flaw) -> str:
    """One of pydantic's flaws in words: `name: Input should be a valid string`."""
    where = ".".join(str(part) for part in flaw["loc"])
    return f"{where}: {flaw['msg']}" if where else str(flaw["msg"])


@dataclass(frozen=True)
class Teller:
    """A dialect's way with errors. Of `kinds` the nearest class in an error's ancestry counts."""

    dialect: str
    kinds: Mapping[type[errors.HutchError], tuple[int, str]]
    show: Callable[[Told], dict[str, Any]]  # the body
    invalid: str  # the code of a request that is not as it should be
    lost: str  # the code of a path that leads nowhere
    words: Callable[[errors.HutchError, HTTPConnection | None], str] = plain_words
    flaw: Callable[[Flaw], str] = plain_flaw

    def told(self, error: errors.HutchError, of: HTTPConnection | None = None) -> Told:
        """An error as this dialect tells it; what is internal to it goes into the log."""
        status, code = next(self.kinds[kind] for kind in type(error).__mro__ if kind in self.kinds)
        if status >= 500 or error.context:
            name = type(error).__name__
            log.warning(
                "refused", dialect=self.dialect, status=status, error=name, message=error.message, **error.context
            )
        return Told(status, code, self.words(error, of))

    def response(self, error: errors.HutchError | Told, of: HTTPConnection | None = None) -> Response:
        """An error as an answer."""
        it = self.told(error, of) if isinstance(error, errors.HutchError) else error
        headers = {"www-authenticate": "Bearer"} if it.status == 401 else {}
        if isinstance(error, errors.RateLimited):
            headers["retry-after"] = str(max(1, round(error.retry_after)))
        return Json(self.show(it), it.status, headers)

    def install(self, app: FastAPI) -> None:
        """Make `app` answer every error so."""

        def told(status: int, message: str) -> Told:
            return Told(status, self.invalid, message)

        def as_told(error: Exception) -> errors.HutchError | Told:
            match error:
                case errors.HutchError() | Told():
                    return error
                case bodies.Malformed():
                    return told(400, f"the body is not JSON: {error}")
                case bodies.Unfit():
                    return told(400, self.flaw(error.flaws.errors(include_url=False)[0]))
                case bodies.TooLarge():
                    return told(413, str(error))
                case RequestValidationError():
                    found = error.errors()[0]
                    return told(400, self.flaw({**found, "loc": found["loc"][1:]}))
                case HTTPException():
                    code = self.lost if error.status_code == 404 else self.invalid
                    return Told(error.status_code, code, error.detail.lower())
                case _:
                    return errors.HutchError()

        async def answer(request: Request, error: Exception) -> Response:
            return self.response(as_told(error), request)

        for kind in (
            *(errors.HutchError, Told, bodies.Malformed, bodies.Unfit, bodies.TooLarge),
            *(RequestValidationError, HTTPException, Exception),
        ):
            app.add_exception_handler(kind, answer)
