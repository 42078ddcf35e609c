"""What is documented and cannot be done here: 501, told by name. `docs/apis/nullspace.md` lists the same."""

import re

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.nullspace import refs
from hutch.model import errors

router = APIRouter(tags=["not here"])

_ID = "/v1/machines/{id}"

OF_MACHINES: dict[str, tuple[tuple[str, str], ...]] = {
    "this service makes no certificates for ssh: use exec or a terminal": (("POST", "/ssh-access"),),
    "files go up and down at …/file, with a key": (("POST", "/files/download-url"), ("POST", "/files/upload-url")),
    "a volume is attached when its machine is made": (
        ("POST", "/volumes"),
        ("DELETE", "/volumes/{attachment}"),
        ("GET", "/volumes/{attachment}/health"),
        ("POST", "/volumes/{attachment}/remount"),
    ),
    "files go up whole, at …/file": (
        ("POST", "/uploads"),
        ("GET", "/uploads/{upload}"),
        ("DELETE", "/uploads/{upload}"),
        ("PUT", "/uploads/{upload}/parts/{part}"),
        ("POST", "/uploads/{upload}/complete"),
    ),
    "run git itself with exec": (
        *(("POST", f"/git/{verb}") for verb in ("add", "branch", "checkout", "clone", "commit", "pull", "push")),
        *(("GET", f"/git/{verb}") for verb in ("branch", "log", "status")),
    ),
    "run an interpreter with exec": (
        ("POST", "/code/execute"),
        ("GET", "/code/contexts"),
        ("POST", "/code/contexts"),
        ("DELETE", "/code/contexts/{context}"),
        ("POST", "/code/contexts/{context}/interrupt"),
        ("POST", "/code/contexts/{context}/restart"),
        ("GET", "/code/runs"),
        ("POST", "/code/runs"),
        ("GET", "/code/runs/{run}"),
        ("POST", "/code/runs/{run}/cancel"),
        ("GET", "/code/artifacts"),
        ("GET", "/code/artifacts/{artifact}"),
        ("DELETE", "/code/artifacts/{artifact}"),
        ("GET", "/code/artifacts/{artifact}/download"),
        ("GET", "/code/artifacts/{artifact}/preview"),
    ),
}
"""Why not, and which operations of a machine."""

OF_THE_SERVICE: dict[str, tuple[tuple[str, str], ...]] = {
    "a key keeps its secret: make a new one and revoke the old": (("POST", "/v1/keys/{id}/rotate"),),
    "templates are images: build them elsewhere and name them": (
        ("POST", "/v1/templates"),
        *(("POST", f"/v1/templates/{verb}") for verb in ("build", "plan", "validate")),
        ("DELETE", "/v1/templates/{id}"),
        ("DELETE", "/v1/templates/refs/{id}"),
    ),
    "a template is called as its image or snapshot is": (
        *(("GET", f"/v1/templates/{{id}}/{what}") for what in ("tags", "aliases", "builds")),
        *(("POST", f"/v1/templates/{of}{{id}}/{what}") for of in ("", "refs/") for what in ("tags", "rename")),
        *(("PATCH", f"/v1/templates/{of}{{id}}/visibility") for of in ("", "refs/")),
        *(("DELETE", f"/v1/templates/{of}{{id}}/tags/{{tag}}") for of in ("", "refs/")),
        *(("DELETE", f"/v1/templates/{of}{{id}}/aliases/{{alias}}") for of in ("", "refs/")),
        ("POST", "/v1/templates/claims"),
        ("DELETE", "/v1/templates/claims/{token}"),
        ("GET", "/v1/templates/namespaces/{slug}"),
    ),
    "deliveries are listed, without their attempts": (("GET", "/v1/lifecycle/webhooks/{id}/deliveries/{delivery}"),),
}
"""The same of everything else."""


BELOW: dict[str, tuple[str, ...]] = {
    "this service has no desktops": ("/v1/machines/{id}/desktop",),
    "files in a volume are reached through a machine that mounts it": (
        *("/v1/volumes/{id}/files", "/v1/volumes/{id}/file", "/v1/volumes/{id}/uploads"),
    ),
    "this service has no functions": ("/v1/functions", "/v1/function-runs"),
    "templates are images: build them elsewhere and name them": ("/v1/templates/builds", "/v1/templates/blobs"),
    "accounts are the tenants of this service, which its admin makes": ("/v1/auth", "/v1/account", "/v1/admin"),
    "see /metrics of the smol dialect": ("/v1/telemetry",),
}
"""Why not, and paths with everything below them."""

_PLACES = {(method, path) for paths in BELOW.values() for path in paths for method in ("PUT", "PATCH", "DELETE")}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def _refuse(method: str, path: str, why: str, is_of_machine: bool) -> None:
    async def undone(request: Request) -> Response:
        if is_of_machine:  # of which it is told to nobody else whether it is there
            service.of(request).control.machines.get(
                service.principal(request), refs.machine(request.path_params["id"])
            )
        raise errors.Unsupported(why)

    undone.__doc__ = f"Always 501: {why}."
    places = [
        {"name": place, "in": "path", "required": True, "schema": {"type": "string"}}
        for place in re.findall(r"\{(\w+)\}", path)
    ]
    name, is_shown = f"{method} {path}", "{rest:path}" not in path and (method, path) not in _PLACES
    router.add_api_route(
        path,
        undone,
        methods=[method],
        status_code=501,
        name=name,
        include_in_schema=is_shown,
        openapi_extra={"parameters": places},
    )


for _why, _operations in OF_MACHINES.items():
    for _method, _path in _operations:
        _refuse(_method, _ID + _path, _why, is_of_machine=True)
for _why, _operations in OF_THE_SERVICE.items():
    for _method, _path in _operations:
        _refuse(_method, _path, _why, is_of_machine=False)
for _why, _paths in BELOW.items():
    for _path in _paths:
        for _method in METHODS:
            _refuse(_method, _path, _why, is_of_machine="/machines/" in _path)
            _refuse(_method, f"{_path}/{{rest:path}}", _why, is_of_machine="/machines/" in _path)
