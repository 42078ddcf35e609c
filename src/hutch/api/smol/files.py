"""Files in machines: raw bytes both ways, of any size, in flat memory."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, rawpath, service, streams
from hutch.api.smol import errors, refs
from hutch.model.guest import FileStat

router = APIRouter(tags=["files"])

FILE_MODE = "x-hutch-file-mode"

_OCTAL = Query(pattern="^[0-7]{3,4}$")

_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_PATH = "/v1/machines/{id}/files/{path:guestpath}"
_BEFORE = re.compile(rb"/machines/[^/]+/files/")


async def _bytes(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


def _headers(stat: FileStat) -> dict[str, str]:
    shown = {"content-type": "application/octet-stream", FILE_MODE: f"{stat.mode:04o}"}
    if stat.size:  # files of /proc and /sys say 0 and have more
        shown["content-length"] = str(stat.size)
    return shown


@router.put(_PATH, status_code=204, openapi_extra={"requestBody": {"required": True, **_BYTES}})
async def put(request: Request, id: str, path: str, mode: Annotated[str | None, _OCTAL] = None) -> Response:
    """Write a file, with missing directories. All or nothing.

    `mode` (native) is octal; without it the mode of a file that is there is kept, a new one gets 0644.
    """
    its, target = service.of(request), rawpath.guest_path(request.scope["raw_path"], _BEFORE)
    with errors.about_file(target):
        await its.control.files.write(
            service.principal(request),
            refs.machine(request),
            target,
            bodies.chunks(request, its.settings.machines.file_limit),
            None if mode is None else int(mode, 8),
        )
    return Response(status_code=204)


@router.get(_PATH, responses={200: _BYTES})
async def get(request: Request, id: str, path: str) -> Response:
    """Read a file. The header `x-hutch-file-mode` (native) is its mode in octal."""
    target = rawpath.guest_path(request.scope["raw_path"], _BEFORE)
    with errors.about_file(target):
        stat, chunks = await service.of(request).control.files.read(
            service.principal(request), refs.machine(request), target
        )
    return streams.PulledResponse(_bytes(chunks), _headers(stat))
