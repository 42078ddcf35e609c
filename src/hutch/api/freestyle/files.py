"""Files of VMs: read and written whole, directories listed.

A path may be encoded as one segment (`files/%2Ftmp%2Fa`) or stand as it is (`files/tmp/a`).
"""

import base64
import contextlib
import posixpath
import re
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, rawpath, service
from hutch.api.answers import Json
from hutch.api.freestyle import guest_requests, guest_responses, reach, responses
from hutch.control.files import Files
from hutch.control.keys import Principal
from hutch.model import errors
from hutch.model.guest import FileKind
from hutch.model.ids import MachineId

router = APIRouter(tags=["files"])

LIMIT = 32 * 1024 * 1024
"""Bytes of a file that is read or written through this dialect: it is held in memory, and in JSON."""

_FILE = "/v1/vms/{vm_id}/files/{filepath:guestpath}"
_PATH = {"parameters": [{"name": "filepath", "in": "path", "required": True, "schema": {"type": "string"}}]}
_BEFORE = re.compile(rb"/v1/vms/[^/]+/files/")


def _path(request: Request) -> str:
    return rawpath.guest_path(request.scope["raw_path"], _BEFORE, may_be_root=True)


@router.get(
    _FILE, responses={200: {"model": guest_responses.FileContent | guest_responses.Directory}}, openapi_extra=_PATH
)
async def read(request: Request, vm_id: str) -> Response:
    """A file's content, as text if it is UTF-8, else in base64; or what a directory holds."""
    path, machine = _path(request), reach.vm(request, vm_id)
    files, caller = service.of(request).control.files, service.principal(request)
    stat = await files.stat(caller, machine, path)
    if stat.kind is FileKind.DIRECTORY:
        return Json(await _listed(files, caller, machine, path))
    if stat.kind is FileKind.SYMLINK:
        with contextlib.suppress(errors.GuestError):  # it leads to a file, or nowhere
            return Json(await _listed(files, caller, machine, path))
    return Json(_shown(await _content(files, caller, machine, path)))


async def _listed(files: Files, caller: Principal, machine: MachineId, path: str) -> dict[str, Any]:
    there = await files.list(caller, machine, path)
    kinds = {True: "directory", False: "file"}
    names = [(posixpath.basename(it.path), kinds[it.kind is FileKind.DIRECTORY]) for it in there]
    return {"files": [{"name": name, "kind": kind} for name, kind in names]}


async def _content(files: Files, caller: Principal, machine: MachineId, path: str) -> bytes:
    stat, chunks = await files.read(caller, machine, path)
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) > LIMIT:
            raise errors.InvalidRequest(f"{path}: {stat.size} bytes, more than the {LIMIT} that are read at once")
    return bytes(content)


def _shown(content: bytes) -> dict[str, Any]:
    try:
        return {"content": content.decode(), "encoding": "utf8"}
    except UnicodeDecodeError:
        return {"content": base64.b64encode(content).decode(), "encoding": "base64"}


@router.put(
    _FILE, responses={200: {"model": responses.Empty}}, openapi_extra=openapi.body(guest_requests.WriteFile) | _PATH
)
async def write(request: Request, vm_id: str) -> Response:
    """Make or replace a file, with missing directories. It is the named user's, if a header names one."""
    body = bodies.read(await bodies.whole(request, LIMIT * 4 // 3 + 4096), guest_requests.WriteFile)
    path, content = _path(request), _bytes(body)
    caller, files, machine = service.principal(request), service.of(request).control.files, reach.vm(request, vm_id)
    await files.write(caller, machine, path, _once(content))
    if user := reach.user(request):
        await files.change(caller, machine, path, owner=user)
    return Json({})


def _bytes(body: guest_requests.WriteFile) -> bytes:
    try:
        if body.encoding == "base64":
            return base64.b64decode(body.content, validate=True)
        return body.content.encode()
    except ValueError as flaw:
        raise errors.InvalidRequest(f"content is not {body.encoding or 'utf8'}: {flaw}") from None


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
