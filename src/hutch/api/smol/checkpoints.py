"""Checkpoints, which Hutch calls snapshots: made of machines, looked at, verified, restored to machines, dropped."""

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.smol import once, parse, present, refs, requests, responses, shown
from hutch.model import errors
from hutch.model.machine import Snapshot

router = APIRouter(tags=["checkpoints"])


@router.post(
    "/v1/machines/{id}/checkpoints",
    status_code=201,
    responses={201: {"model": responses.Checkpoint}},
    openapi_extra=openapi.body(requests.CreateCheckpoint, optional=True),
)
async def create(request: Request, id: str) -> Response:
    """Keep an immutable copy of it, memory and processes included; the machine goes on.

    Native: `name`, `metadata`, `persistence`, and the header `Idempotency-Key`, with which the same request makes one,
    however often it is sent.
    """
    body = await bodies.whole(request)
    wanted = bodies.read(body, requests.CreateCheckpoint, optional=True)
    kept = {} if wanted.persistence is None else parse.persistence(wanted.persistence)
    caller, machine, snapshots = (
        service.principal(request),
        refs.machine(request),
        service.of(request).control.snapshots,
    )

    async def make() -> Sequence[Snapshot]:
        return [await snapshots.create(caller, machine, wanted.name, wanted.metadata, **kept)]

    (made,) = await once.made(request, body, make, lambda id: snapshots.find(caller.seeing(), id))
    return present.Json(present.checkpoint(made), 201)


@router.get("/v1/machines/{id}/checkpoints", responses={200: {"model": list[responses.Checkpoint]}})
async def list_of_machine(request: Request, id: str) -> Response:
    """Those made of this machine, newest first."""
    caller, machine, control = service.principal(request), refs.machine(request), service.of(request).control
    return present.Json([present.checkpoint(it) for it in control.snapshots.list(caller, machine)])


@router.get("/v1/checkpoints", responses={200: {"model": list[responses.Checkpoint]}})
async def list_all(request: Request) -> Response:
    """All, newest first. Native."""
    found = service.of(request).control.snapshots.list(service.principal(request))
    return present.Json([present.checkpoint(it) for it in found])


@router.post("/v1/checkpoints", responses={501: {}})
async def upload(request: Request) -> Response:
    """Uploads are not taken: always 501."""
    raise errors.Unsupported(
        "checkpoints: this service takes no uploads; it restores what was made of its own machines"
    )


@router.get("/v1/checkpoints/{id}", responses={200: {"model": responses.Checkpoint}})
async def get(request: Request, id: str) -> Response:
    """One. Native."""
    found = service.of(request).control.snapshots.find(service.principal(request), parse.checkpoint_ref(id))
    return present.Json(present.checkpoint(found))


@router.post(
    "/v1/checkpoints/{id}/restore",
    status_code=201,
    responses={201: {"model": responses.Machine}},
    openapi_extra=openapi.body(requests.Restore, optional=True),
)
async def restore(request: Request, id: str) -> Response:
    """A new machine of it, suspended: its start goes on from there. Without `network` it reaches nothing."""
    wanted = parse.restore_request(id, await bodies.parse(request, requests.Restore, optional=True))
    making = service.of(request).control.machines.create(service.principal(request), wanted)
    return await shown.machine(request, await streams.unless_hung_up(request.receive, making), 201)


@router.post("/v1/checkpoints/{id}/verify", responses={200: {"model": responses.Checkpoint}})
async def verify(request: Request, id: str) -> Response:
    """Read all of it; `damage` says what is not as it was saved. Native."""
    snapshots = service.of(request).control.snapshots
    return present.Json(
        present.checkpoint(await snapshots.verify(service.principal(request), refs.checkpoint(request, id)))
    )


@router.patch(
    "/v1/checkpoints/{id}",
    responses={200: {"model": responses.Checkpoint}},
    openapi_extra=openapi.body(requests.UpdateCheckpoint),
)
async def update(request: Request, id: str) -> Response:
    """Give it another name. Native."""
    wanted = await bodies.parse(request, requests.UpdateCheckpoint)
    snapshots, caller = service.of(request).control.snapshots, service.principal(request)
    return present.Json(present.checkpoint(await snapshots.rename(caller, refs.checkpoint(request, id), wanted.name)))


@router.delete("/v1/checkpoints/{id}", status_code=204)
async def delete(request: Request, id: str) -> Response:
    """Drop it; machines made of it live on."""
    await service.of(request).control.snapshots.delete(service.principal(request), refs.checkpoint(request, id))
    return Response(status_code=204)
