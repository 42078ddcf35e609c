"""Files in machines, as JSON. A machine that does not run is started or resumed first.

The guest's agent reaches files as root; another `user` is refused by name.
"""

import posixpath
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import parse, present, refs, requests, responses
from hutch.api.nullspace.errors import Told
from hutch.model import errors
from hutch.model.guest import FileKind, FileStat

router = APIRouter(tags=["files"])

_FILES = "/v1/machines/{id}/files"
MAX_DEPTH = 32
_FILE = "file_error"


def as_root(user: str | None) -> None:
    """`Unsupported` for any other user."""
    if user not in (None, "", "root"):
        raise errors.Unsupported("user: files are reached as root")


async def one_chunk(data: bytes) -> AsyncIterator[bytes]:
    """Data that is all there."""
    yield data


async def stat(request: Request, id: str, path: str) -> FileStat:
    """A path as it is."""
    files = service.of(request).control.files
    return await files.stat(service.principal(request), refs.machine(id), path)


async def write(request: Request, id: str, path: str, data: bytes) -> FileStat:
    """Make or replace a file, and tell of it."""
    files = service.of(request).control.files
    await files.write(service.principal(request), refs.machine(id), path, one_chunk(data))
    return await stat(request, id, path)


@router.post(
    f"{_FILES}/read",
    responses={200: {"model": responses.Content}},
    openapi_extra=openapi.body(requests.ReadFile),
)
async def read(request: Request, id: str) -> Response:
    """Read a file whole: as text, which must be UTF-8, or as base64. Large ones are read raw, at …/file."""
    body = await bodies.parse(request, requests.ReadFile)
    as_root(body.user)
    files, data = service.of(request).control.files, bytearray()
    _, chunks = await files.read(service.principal(request), refs.machine(id), body.path)
    async for chunk in chunks:
        data += chunk
        if len(data) > bodies.JSON_LIMIT:
            raise Told(413, _FILE, f"{body.path} is larger than {bodies.JSON_LIMIT} bytes: read it at …/file?path=")
    encoding = body.encoding or "utf8"
    if encoding == "utf8":
        try:
            data.decode()
        except UnicodeDecodeError:
            raise Told(400, _FILE, f"{body.path} is not UTF-8: read it as base64") from None
    return Json(present.read(bytes(data), encoding))


@router.post(
    f"{_FILES}/write", responses={200: {"model": responses.File}}, openapi_extra=openapi.body(requests.WriteFile)
)
async def write_file(request: Request, id: str) -> Response:
    """Make or replace a file, with missing directories. All or nothing."""
    body = await bodies.parse(request, requests.WriteFile)
    as_root(body.user)
    return Json(present.file(await write(request, id, body.path, parse.content(body))))


async def _path(request: Request) -> str:
    body = await bodies.parse(request, requests.Path)
    as_root(body.user)
    return body.path


@router.post(
    f"{_FILES}/exists", responses={200: {"model": responses.Exists}}, openapi_extra=openapi.body(requests.Path)
)
async def exists(request: Request, id: str) -> Response:
    """Whether a path is there."""
    path = await _path(request)
    try:
        await stat(request, id, path)
    except errors.GuestNotFound:
        return Json({"exists": False})
    return Json({"exists": True})


@router.post(f"{_FILES}/info", responses={200: {"model": responses.File}}, openapi_extra=openapi.body(requests.Path))
async def info(request: Request, id: str) -> Response:
    """A path as it is; links are not followed."""
    return Json(present.file(await stat(request, id, await _path(request))))


@router.post(f"{_FILES}/mkdir", status_code=204, openapi_extra=openapi.body(requests.Path))
async def make_directory(request: Request, id: str) -> Response:
    """Make a directory and what is missing above it; no error if it is there."""
    path = await _path(request)
    await service.of(request).control.files.make_directory(service.principal(request), refs.machine(id), path)
    return Response(status_code=204)


@router.post(f"{_FILES}/remove", status_code=204, openapi_extra=openapi.body(requests.Path))
async def remove(request: Request, id: str) -> Response:
    """Remove a file, a link, or a directory with all it holds."""
    path = await _path(request)
    files = service.of(request).control.files
    await files.remove(service.principal(request), refs.machine(id), path, recursive=True)
    return Response(status_code=204)


@router.get(_FILES, responses={200: {"model": list[responses.File]}})
async def list_directory(
    request: Request,
    id: str,
    path: str = "/",
    depth: Annotated[int, Query(ge=1, le=MAX_DEPTH)] = 1,
    user: str | None = None,
) -> Response:
    """What a directory holds, by name; with `depth`, what its directories hold too. Links are not followed."""
    as_root(user)
    caller, files, found = service.principal(request), service.of(request).control.files, list[FileStat]()
    level = [path]
    for _ in range(depth):
        held = [it for directory in level for it in await files.list(caller, refs.machine(id), directory)]
        found += held
        level = [it.path for it in held if it.kind is FileKind.DIRECTORY]
    return Json([present.file(it) for it in sorted(found, key=lambda it: it.path.split(posixpath.sep))])
