"""Files in machines as they are: raw bytes both ways in flat memory, and forms with several of them."""

import json
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, multipart, service, streams
from hutch.api.answers import Json
from hutch.api.nullspace import files, present, refs, responses
from hutch.model import errors

router = APIRouter(tags=["files"])

_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_FORM = {"content": {"multipart/form-data": {"schema": {"type": "object"}}}}
_FILE = "/v1/machines/{id}/file"


@router.get(_FILE, responses={200: _BYTES})
async def download(request: Request, id: str, path: str, user: str | None = None) -> Response:
    """Read a file."""
    files.as_root(user)
    found, chunks = await service.of(request).control.files.read(service.principal(request), refs.machine(id), path)
    headers = {"content-type": "application/octet-stream"}
    if found.size:  # files of /proc and /sys say 0 and have more
        headers["content-length"] = str(found.size)
    return streams.PulledResponse(streams.closing(chunks), headers)


@router.put(_FILE, status_code=204, openapi_extra={"requestBody": {"required": True, **_BYTES}})
async def upload(request: Request, id: str, path: str, user: str | None = None) -> Response:
    """Make or replace a file, of any size. All or nothing."""
    files.as_root(user)
    its = service.of(request)
    chunks = bodies.chunks(request, its.settings.machines.file_limit)
    await its.control.files.write(service.principal(request), refs.machine(id), path, chunks)
    return Response(status_code=204)


@router.post(_FILE, status_code=204, openapi_extra={"requestBody": {"required": True, **_FORM}})
async def upload_form(request: Request, id: str, path: str, user: str | None = None) -> Response:
    """Make or replace a file out of a form's part `file`, or its only part."""
    files.as_root(user)
    parts = await multipart.read(request)
    meant = [part for part in parts if part.name == "file"] or parts
    if len(meant) != 1:
        raise errors.InvalidRequest(f"the form has {len(meant)} parts that could be the file: send one called file")
    await files.write(request, id, path, meant[0].data)
    return Response(status_code=204)


def _manifest(parts: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Paths and what is to be written there, in order."""
    try:
        manifest: Any = json.loads(parts.pop("manifest"))
        wanted = [(entry["path"], entry["field"]) for entry in manifest["files"]]
        files.as_root(manifest.get("user"))
    except (KeyError, TypeError, ValueError):
        raise errors.InvalidRequest('manifest: use {"files":[{"path":"/a","field":"file0"}]}') from None
    for path, field in wanted:
        if not isinstance(path, str) or field not in parts:
            raise errors.InvalidRequest(f"manifest: the form has no part {str(field)[:80]!r}")
    return [(path, parts[field]) for path, field in wanted]


@router.post(
    "/v1/machines/{id}/files/batch-write",
    responses={200: {"model": responses.BatchWritten}},
    openapi_extra={"requestBody": {"required": True, **_FORM}},
)
async def batch_write(request: Request, id: str) -> Response:
    """Make or replace several files: part `manifest` says which part goes where. Each succeeds or fails alone."""
    parts = {part.name: part.data for part in await multipart.read(request)}
    results: list[dict[str, Any]] = []
    for path, data in _manifest(parts):
        try:
            written = await files.write(request, id, path, data)
        except (errors.GuestError, errors.InvalidRequest) as error:
            results.append({"status": "error", "path": path, "error": error.message})
        else:
            results.append({"status": "success", "path": path, "info": present.file(written)})
    return Json({"results": results})
