"""Paths of guest files inside URLs, taken from the bytes of the request and from nothing that was decoded before.

`files/workspace/x` and `files//workspace/x` are one file; `%2F`, `%0A`, `//` and `..` inside are left to the guest.
"""

import re
from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor

from hutch.model import errors


class _Anything(Convertor[str]):
    """Matches every rest of a path, line feeds included, which starlette's own `path` does not."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("guestpath", _Anything())


def guest_path(raw_path: bytes, before: re.Pattern[bytes], may_be_root: bool = False) -> str:
    """The absolute path behind `before`, which stands there as it is.

    Raises `InvalidRequest` if it does not, or the path is empty or not UTF-8, or `/` unless it may.
    """
    match = before.search(raw_path)
    if match is None:
        raise errors.InvalidRequest("only the file's own part of the path may be percent-encoded")
    try:
        path = unquote_to_bytes(raw_path[match.end() :]).decode()
    except UnicodeDecodeError:
        raise errors.InvalidRequest("the file's path is not UTF-8") from None
    if not path.strip("/") and not (path and may_be_root):
        raise errors.InvalidRequest("the file's path is empty")
    return path if path.startswith("/") else f"/{path}"
