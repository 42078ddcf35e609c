"""Templates: what machines are made of. The built-in one, the images that are here, and the tenant's snapshots.

Any other image reference is a template too; it is fetched when it is first used. Templates are not built here.
"""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.answers import Json
from hutch.api.nullspace import inventory, parse, responses
from hutch.api.nullspace.errors import Told

router = APIRouter(tags=["templates"])

_BUILTIN = f"The built-in image, {parse.BASE_IMAGE}."


async def _all(request: Request) -> list[dict[str, Any]]:
    caller, control = service.principal(request), service.of(request).control
    images = {it["id"]: it for it in map(inventory.image_template, reversed(await control.images.list(caller)))}
    base = images.pop(parse.BASE, None) or inventory.template_info(parse.BASE, _BUILTIN, builtin=True)
    snapshots = [inventory.snapshot_template(it) for it in control.snapshots.list(caller)]
    return [base, *(it for _, it in sorted(images.items())), *snapshots]


def _masked(it: dict[str, Any], fields: str | None) -> dict[str, Any]:
    mask = None if fields is None else [word.strip() for word in fields.split(",")]
    return it if mask is None else {name: it[name] for name in mask if name in it}


@router.get("/v1/templates", responses={200: {"model": list[inventory.Template | responses.Masked]}})
async def list_all(request: Request, fields: str | None = None) -> Response:
    """The built-in one first."""
    return Json([_masked(it, fields) for it in await _all(request)])


@router.get("/v1/templates/{id}", responses={200: {"model": inventory.Template | responses.Masked}})
@router.get("/v1/templates/refs/{id:path}", responses={200: {"model": inventory.Template | responses.Masked}})
async def get(request: Request, id: str, fields: str | None = None) -> Response:
    """One, by id or name."""
    for it in await _all(request):
        if id in (it["id"], it["name"], it["canonical_ref"]):
            return Json(_masked(it, fields))
    raise Told(404, "template_not_found", f"there is no template {id[:80]!r} here; an image reference needs none")
