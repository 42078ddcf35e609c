"""The bearer token of a request, read without judging it."""

from collections.abc import Iterable


def token(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The token of the first `Authorization: Bearer …` header, or None if there is none."""
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip().decode("latin-1") or None
    return None
