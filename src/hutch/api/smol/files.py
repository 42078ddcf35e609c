"""Files in machines: raw bytes both ways, of any size, in flat memory; listed, and written several at once."""

import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import pydantic
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, rawpath, service, streams
from hutch.api.answers import unix
from hutch.api.smol import errors, parse, present, refs, requests, responses
from hutch.model.errors import InvalidRequest, NotFound
from hutch.model.guest import FileStat

router = APIRouter(tags=["files"])

FILE_MODE = "x-hutch-file-mode"

_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_PATH = "/v1/machines/{id}/files/{path:guestpath}"
_BEFORE = re.compile(rb"/machines/[^/]+/files/")
_MODE = r"^[0-7]{3,4}$"
_FILES_AT_ONCE = 1000
_OCTAL = Query(pattern=_MODE)


class NewFile(requests.Body):
    """A file to write: its text in `content`, or its exact bytes in `contentB64`."""

    path: str
    content: str | None = None
    content_b64: Annotated[str | None, pydantic.Field(alias="contentB64")] = None
    mode: Annotated[str | None, pydantic.Field(pattern=_MODE)] = None


class NewFiles(pydantic.RootModel[list[NewFile]]):
    """Files to write, one after the other."""


class FileInfo(responses.Answer):
    """A file, a directory or what else a path is. `mode` is octal; `target` is a symlink's."""

    path: str
    name: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    mode: str
    uid: int
    gid: int
    modified_at: str
    target: str | None


class Written(responses.Answer):
    """A file that was written."""

    path: str
    size: int


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


@router.get(_PATH, response_class=Response, responses={200: _BYTES})
async def get(request: Request, id: str, path: str) -> Response:
    """Read a file. The header `x-hutch-file-mode` (native) is its mode in octal."""
    target = rawpath.guest_path(request.scope["raw_path"], _BEFORE)
    with errors.about_file(target):
        stat, chunks = await service.of(request).control.files.read(
            service.principal(request), refs.machine(request), target
        )
    return streams.PulledResponse(streams.closing(chunks), _headers(stat))


def shown(it: FileStat) -> dict[str, Any]:
    """What is known of a path, as JSON."""
    return {
        "path": it.path,
        "name": it.path.rpartition("/")[2],
        "type": it.kind.value,
        "size": it.size,
        "mode": f"{it.mode:04o}",
        "uid": it.uid,
        "gid": it.gid,
        "modifiedAt": unix(it.modified_at),
        "target": it.target,
    }


@router.get("/v1/machines/{id}/files", responses={200: {"model": list[FileInfo]}})
async def list_all(
    request: Request, id: str, directory: Annotated[str, Query(alias="dir", min_length=1)] = "/"
) -> Response:
    """What a directory holds, by name; `dir` (native) is its path. Files are read at `files/{path}`."""
    if "path" in request.query_params:
        raise NotFound("not found: files are at files/{path}, and ?dir= lists a directory")
    with errors.about_file(directory):
        found = await service.of(request).control.files.list(
            service.principal(request), refs.machine(request), directory
        )
    return present.Json([shown(it) for it in found])


@router.post("/v1/machines/{id}/files", responses={200: {"model": list[Written]}}, openapi_extra=openapi.body(NewFiles))
async def write_several(request: Request, id: str) -> Response:
    """Write files, with missing directories, one after the other; each is all or nothing, a failure ends the rest."""
    wanted = (await bodies.parse(request, NewFiles)).root
    if len(wanted) > _FILES_AT_ONCE:
        raise InvalidRequest(f"{len(wanted)} files: at most {_FILES_AT_ONCE} at once")
    contents = [parse.content(it.content, it.content_b64) for it in wanted]
    caller, machine, files = service.principal(request), refs.machine(request), service.of(request).control.files
    if not wanted:
        await files.list(caller, machine, "/")
    for it, content in zip(wanted, contents, strict=True):
        with errors.about_file(it.path):
            await files.write(caller, machine, it.path, _once(content), None if it.mode is None else int(it.mode, 8))
    told = [{"path": it.path, "size": len(content)} for it, content in zip(wanted, contents, strict=True)]
    return present.Json(told)


async def _once(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content
