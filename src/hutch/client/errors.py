"""What can go wrong when talking to the service."""

import json
from contextlib import suppress


class ClientError(Exception):
    """Whatever the SDK raises."""


class Unreachable(ClientError):
    """The service did not answer, or the connection broke off."""


class ApiError(ClientError):
    """The service said no; the message is its own text."""

    def __init__(self, status: int, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.request_id = request_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status}, {self.message!r}, request_id={self.request_id!r})"


class Invalid(ApiError):
    """400 or 413: the request does not make sense as it stands."""


class Unauthorized(ApiError):
    """401: no key, or one the service does not know."""


class Forbidden(ApiError):
    """403: the key lacks a scope."""


class NotFound(ApiError):
    """404: there is no such thing, or it belongs to another tenant."""


class Conflict(ApiError):
    """409: it collides with what is already there."""


class Unprocessable(ApiError):
    """422: wrong types, no such image, or more than the box has."""


class RateLimited(ApiError):
    """429: too many requests with this key; wait a moment."""


class Unavailable(ApiError):
    """503: not now; try again."""


class TimedOut(ApiError):
    """504: it did not happen in the time given."""


_KINDS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    422: Unprocessable,
    429: RateLimited,
    503: Unavailable,
    504: TimedOut,
}


def of(status: int, text: str, request_id: str | None) -> ApiError:
    """The error of an answer; `text` is its body, plain or `{"error": …}`."""
    if text.startswith("{"):
        with suppress(ValueError):
            text = str(json.loads(text).get("error", text))
    fallback = "missing or unknown API key" if status == 401 else f"the service answered {status}"
    return _KINDS.get(status, ApiError)(status, text.strip() or fallback, request_id)
