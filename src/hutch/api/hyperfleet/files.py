"""Files in machines, as the documented service's code has them: JSON with base64.

A machine that does not run is started or resumed first.
"""

from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.hyperfleet import errors, parse, present, requests, responses
from hutch.api.telling import Told
from hutch.model.ids import MachineId

router = APIRouter(tags=["files"])

_FILES = "/machines/{id}/files"


async def _one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data


@router.post(_FILES, responses={200: {"model": responses.Written}}, openapi_extra=openapi.body(requests.WriteFile))
async def write(request: Request, id: str) -> Response:
    """Make or replace a file, with missing directories. All or nothing."""
    body = await bodies.parse(request, requests.WriteFile)
    path, data = parse.path(body.path), parse.content(body)
    files = service.of(request).control.files
    await files.write(service.principal(request), MachineId(id), path, _one_chunk(data))
    return Json({"success": True, "bytes_written": len(data)})


@router.get(_FILES, responses={200: {"model": responses.Content}})
async def read(request: Request, id: str, path: str) -> Response:
    """Read a file whole."""
    files, data = service.of(request).control.files, bytearray()
    _, chunks = await files.read(service.principal(request), MachineId(id), parse.path(path))
    async for chunk in chunks:
        data += chunk
        if len(data) > bodies.JSON_LIMIT:
            raise Told(413, errors.VALIDATION, f"{path} is larger than {bodies.JSON_LIMIT} bytes")
    return Json(present.content(bytes(data)))


@router.get(f"{_FILES}/stat", responses={200: {"model": responses.Stat}})
async def stat(request: Request, id: str, path: str) -> Response:
    """A path as it is; links are not followed."""
    files = service.of(request).control.files
    return Json(present.stat(await files.stat(service.principal(request), MachineId(id), parse.path(path))))


@router.delete(_FILES, status_code=204)
async def remove(request: Request, id: str, path: str) -> Response:
    """Remove a file, a link, or an empty directory."""
    files = service.of(request).control.files
    await files.remove(service.principal(request), MachineId(id), parse.path(path))
    return Response(status_code=204)
