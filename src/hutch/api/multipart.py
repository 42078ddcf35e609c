"""Bodies of type multipart/form-data (RFC 7578), read whole: their parts, by name.

The framework's reader needs a package that is not among our dependencies, and writes temporary files.
"""

import re
from dataclasses import dataclass
from email.message import Message

from starlette.requests import Request

from hutch.api import bodies
from hutch.model import errors

LIMIT = 64 * 1024 * 1024
"""Bytes of a whole body; larger files go alone, as raw bytes."""

_NAME = re.compile(rb'form-data(?:;[^\r\n]*)?;\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form, a file or not."""

    name: str
    data: bytes


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    found = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not found:
        raise errors.InvalidRequest("the body is not multipart/form-data with a boundary")
    return found.encode("latin-1", "replace")


def split(content_type: str, body: bytes) -> list[Part]:
    """The parts of a body. `InvalidRequest` says what is not as it should be."""
    mark = b"\r\n--" + _boundary(content_type)
    _, *pieces = (b"\r\n" + body).split(mark)
    if not pieces or not pieces[-1].startswith(b"--"):
        raise errors.InvalidRequest("the multipart body is cut off: its last boundary is missing")
    return [_part(piece) for piece in pieces[:-1]]


def _part(piece: bytes) -> Part:
    head, blank, data = piece.partition(b"\r\n\r\n")
    name = _NAME.search(head)
    if not blank or name is None:
        raise errors.InvalidRequest("the multipart body has a part without a name")
    return Part(re.sub(rb"\\(.)", rb"\1", name[1]).decode("utf-8", "replace"), data)


async def read(request: Request) -> list[Part]:
    """The parts of a request's body. Raises `TooLarge`, `InvalidRequest`."""
    return split(request.headers.get("content-type", ""), await bodies.whole(request, LIMIT))
