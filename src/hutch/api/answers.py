"""Answers that every dialect gives in the same way: JSON, and moments in it."""

from datetime import UTC, datetime

from pydantic_core import to_json
from starlette.responses import Response

_FIRST, _LAST = -62135596800, 253402300799  # seconds


class Json(Response):
    """A JSON answer, written by pydantic-core: several times as fast as the standard library."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """As compact UTF-8."""
        return to_json(content)


def moment(when: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix(seconds: float) -> str:
    """The same of Unix seconds; of what is in no year from 1 to 9999, the nearest that is."""
    return moment(datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC))
