"""Files in machines renamed, changed, looked for, and edited. See `files` for reading and writing."""

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json
from hutch.api.nullspace import files, parse, present, refs, requests, responses
from hutch.model import errors
from hutch.model.guest import FileKind

router = APIRouter(tags=["files"])

_FILES = "/v1/machines/{id}/files"
EDIT_LIMIT = 16 * 1024 * 1024
"""Bytes of a file in which a pattern is replaced; larger ones are skipped."""


@router.post(
    f"{_FILES}/rename", responses={200: {"model": responses.File}}, openapi_extra=openapi.body(requests.Rename)
)
async def rename(request: Request, id: str) -> Response:
    """Move it, within one file system; a file that is there is replaced."""
    body = await bodies.parse(request, requests.Rename)
    files.as_root(body.user)
    control = service.of(request).control
    await control.files.rename(service.principal(request), refs.machine(id), body.old_path, body.new_path)
    return Json(present.file(await files.stat(request, id, body.new_path)))


@router.post(f"{_FILES}/permissions", status_code=204, openapi_extra=openapi.body(requests.SetPermissions))
async def permissions(request: Request, id: str) -> Response:
    """Set its permission bits, in octal: 755, 0644."""
    body = await bodies.parse(request, requests.SetPermissions)
    files.as_root(body.user)
    control = service.of(request).control
    await control.files.change(
        service.principal(request), refs.machine(id), body.path, mode=parse.mode(body.permissions)
    )
    return Response(status_code=204)


async def _search(request: Request) -> requests.Search:
    body = await bodies.parse(request, requests.Search)
    files.as_root(body.user)
    return body


@router.post(
    f"{_FILES}/find", responses={200: {"model": list[responses.Match]}}, openapi_extra=openapi.body(requests.Search)
)
async def find(request: Request, id: str) -> Response:
    """The lines of text files at or below a path that hold the pattern, literally; the first 1000."""
    body = await _search(request)
    control = service.of(request).control
    found = await control.files.search(service.principal(request), refs.machine(id), body.path, body.pattern)
    return Json([present.match(it) for it in found])


@router.post(f"{_FILES}/search", responses={200: {"model": list[str]}}, openapi_extra=openapi.body(requests.Search))
async def search(request: Request, id: str) -> Response:
    """The paths below a directory whose last name matches a shell pattern (`*.py`); the first 1000."""
    body = await _search(request)
    control = service.of(request).control
    found = await control.files.find(service.principal(request), refs.machine(id), body.path, body.pattern)
    return Json([it.path for it in found])


@dataclass
class _Edits:
    replacements: int = 0
    files_modified: int = 0
    files_skipped: int = 0
    binary_files_skipped: int = 0


async def _text(request: Request, id: str, path: str, edits: _Edits) -> str | None:
    """What is to be edited; None, and counted, if that is no text file of some size."""
    found = await files.stat(request, id, path)
    if found.kind is not FileKind.FILE or found.size > EDIT_LIMIT:
        edits.files_skipped += 1
        return None
    control = service.of(request).control
    _, chunks = await control.files.read(service.principal(request), refs.machine(id), path)
    data = b"".join([chunk async for chunk in chunks])
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        edits.binary_files_skipped += 1
        return None
    return text


@router.post(
    f"{_FILES}/replace",
    responses={200: {"model": responses.Replaced}},
    openapi_extra=openapi.body(requests.Replace),
)
async def replace(request: Request, id: str) -> Response:
    """Put text in place of a pattern, literally, in these files. Directories, binary and large files are skipped.

    With `dry_run` nothing is written.
    """
    body = await bodies.parse(request, requests.Replace)
    files.as_root(body.user)
    if not body.pattern:
        raise errors.InvalidRequest("pattern: name what is to be replaced")
    edits = _Edits()
    for path in body.files:
        text = await _text(request, id, path, edits)
        count = 0 if text is None else text.count(body.pattern)
        if text is None or not count:
            continue
        if not body.dry_run:
            await files.write(request, id, path, text.replace(body.pattern, body.replacement).encode())
        edits.replacements += count
        edits.files_modified += 1
    return Json(vars(edits))
