"""Machines stood still, saved, ended, copied, put back and grown; and waiting until one has come to a state."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.smol import once, parse, present, refs, requests, responses, shown
from hutch.control.machines import ForkRequest
from hutch.model.ids import MachineId
from hutch.model.machine import Machine

router = APIRouter(tags=["freezing"])

_MACHINE: dict[int | str, dict[str, object]] = {200: {"model": responses.Machine}}
_BRANCH: dict[int | str, dict[str, object]] = {201: {"model": responses.Machine}}
_BRANCHES: dict[int | str, dict[str, object]] = {201: {"model": responses.Branches}}


@router.post("/v1/machines/{id}/pause", responses=_MACHINE, openapi_extra=openapi.body(requests.Pause, optional=True))
async def pause(request: Request, id: str) -> Response:
    """Save memory and disk, and end its process; with `keepMemory` (native) only its vCPUs stand still.

    Answers when that is done. Its processes go on when it is resumed, started, or (native) used.
    """
    body = await bodies.parse(request, requests.Pause, optional=True)
    machines = service.of(request).control.machines
    act = machines.pause if body.keep_memory else machines.suspend
    return await shown.machine(request, await act(service.principal(request), refs.machine(request)))


@router.post("/v1/machines/{id}/suspend", responses=_MACHINE)
async def suspend(request: Request, id: str) -> Response:
    """As `pause` without a body. Native."""
    machines = service.of(request).control.machines
    return await shown.machine(request, await machines.suspend(service.principal(request), refs.machine(request)))


@router.post("/v1/machines/{id}/resume", responses=_MACHINE)
async def resume(request: Request, id: str) -> Response:
    """Let a paused machine go on; answers when it is ready. Any other is started."""
    machines = service.of(request).control.machines
    return await shown.machine(request, await machines.resume(service.principal(request), refs.machine(request)))


@router.post("/v1/machines/{id}/rollback", responses=_MACHINE, openapi_extra=openapi.body(requests.Rollback))
async def rollback(request: Request, id: str) -> Response:
    """Put it back to one of its own checkpoints; what it has become since is lost. Native."""
    wanted = await bodies.parse(request, requests.Rollback)
    machine, checkpoint = refs.machine(request), refs.checkpoint(request, wanted.checkpoint)
    machines = service.of(request).control.machines
    return await shown.machine(request, await machines.rollback(service.principal(request), machine, checkpoint))


@router.post("/v1/machines/{id}/resize", responses=_MACHINE, openapi_extra=openapi.body(requests.Resize))
async def resize(request: Request, id: str) -> Response:
    """Give it a larger disk, other vCPUs or another memory; what is left out stays.

    A disk grows at once if it runs, else at its next start. For vCPUs and memory a machine that runs is stopped and
    started again: its disk is kept, its processes are not. One that is suspended or paused is stopped by it.
    """
    body, caller = await bodies.parse(request, requests.Resize), service.principal(request)
    machines, machine = service.of(request).control.machines, refs.machine(request)
    asked = (body.disk_gb, body.cpus, body.memory_mb)
    if asked == (None, None, None):
        return await shown.machine(request, machines.get(caller, machine))
    return await shown.machine(request, await machines.resize(caller, machine, *asked))


@router.post("/v1/machines/{id}/optimize", responses=_MACHINE)
async def optimize(request: Request, id: str) -> Response:
    """Suspend it, and make its state one from which it and its copies go on most cheaply; it stays so. Native."""
    machines = service.of(request).control.machines
    return await shown.machine(request, await machines.optimize(service.principal(request), refs.machine(request)))


@router.post("/v1/machines/{id}/kill", responses=_MACHINE)
async def kill(request: Request, id: str) -> Response:
    """End it at once, whatever it is doing; its disk is kept as it is then. Native."""
    machines = service.of(request).control.machines
    return await shown.machine(request, await machines.kill(service.principal(request), refs.machine(request)))


@router.put("/v1/machines/{id}/timers", responses=_MACHINE, openapi_extra=openapi.body(requests.Timers))
async def set_timers(request: Request, id: str) -> Response:
    """Give it these timers instead of those it has; its lifetime begins anew, now. Native."""
    wanted = parse.timers(await bodies.parse(request, requests.Timers))
    machines = service.of(request).control.machines
    return await shown.machine(
        request, await machines.set_timers(service.principal(request), refs.machine(request), wanted)
    )


@router.get("/v1/machines/{id}/wait", responses=_MACHINE)
async def wait(request: Request, id: str, wanted: Annotated[requests.Wait, Query()]) -> Response:
    """Answers when it is in one of the states; 504 after `timeout` seconds, 500 as soon as it has failed. Native."""
    machines = service.of(request).control.machines
    waiting = machines.wait(service.principal(request), refs.machine(request), wanted.state, wanted.timeout)
    return await shown.machine(request, await streams.unless_hung_up(request.receive, waiting))


@router.post(
    "/v1/machines/{id}/branches",
    status_code=201,
    responses=_BRANCH,
    openapi_extra=openapi.body(requests.Branch, optional=True),
)
@router.post(
    "/v1/machines/{id}/fork",
    status_code=201,
    responses=_BRANCH,
    openapi_extra=openapi.body(requests.Branch, optional=True),
)
async def branch(request: Request, id: str) -> Response:
    """A running copy, memory and processes included; the source goes on. `fork` is its older name.

    With the header `Idempotency-Key` (native) the same request makes one copy, however often it is sent.
    """
    body = await bodies.whole(request)
    (child,) = await _forked(request, body, parse.branch(bodies.read(body, requests.Branch, optional=True)))
    return await shown.machine(request, child, 201)


async def _forked(request: Request, body: bytes, wanted: ForkRequest) -> Sequence[Machine]:
    caller, machines, source = service.principal(request), service.of(request).control.machines, refs.machine(request)
    return await once.made(
        request,
        body,
        lambda: machines.fork(caller, source, wanted),
        lambda id: machines.get(caller.seeing(), MachineId(id)),
    )


@router.post(
    "/v1/machines/{id}/branches/batch",
    status_code=201,
    responses=_BRANCHES,
    openapi_extra=openapi.body(requests.BranchBatch, optional=True),
)
@router.post(
    "/v1/machines/{id}/fork-batch",
    status_code=201,
    responses=_BRANCHES,
    openapi_extra=openapi.body(requests.BranchBatch, optional=True),
)
async def branch_batch(request: Request, id: str) -> Response:
    """Several running copies: all or none. `fork-batch` is its older name. `Idempotency-Key` as for one."""
    body = await bodies.whole(request)
    wanted = parse.branch_batch(bodies.read(body, requests.BranchBatch, optional=True))
    children = await _forked(request, body, wanted)
    return present.Json({"clones": await shown.machines(request, children)}, 201)
