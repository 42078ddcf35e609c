"""What is done with a VM as a whole: start, stop, suspend, kill, await, fork, snapshot, optimize, resize."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service, streams
from hutch.api.answers import Json
from hutch.api.freestyle import parse, present, refs, requests, responses, sizes, vms
from hutch.control.keys import Principal
from hutch.control.machines import ForkRequest
from hutch.control.plane import ControlPlane
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Machine, Persistence
from hutch.model.states import State

router = APIRouter(tags=["lifecycle"])

_ID = "/v1/vms/{vm_id}"

LONGEST_AWAIT = 86400.0
"""Seconds for which the end of a VM is waited for."""

AT_REST = frozenset({State.STOPPED, State.PAUSED, State.SUSPENDED, State.FAILED, State.DESTROYED, State.LOST})
NOT_STOPPED = frozenset(State) - {State.STOPPED}


async def _recreated(control: ControlPlane, caller: Principal, id: MachineId) -> Machine:
    """The machine, which is made anew if it was deleted and is to be. `NotFound`."""
    try:
        return control.machines.get(caller, id)
    except errors.NotFound:
        return await control.machines.recreate(caller, id)


@router.post(
    f"{_ID}/start",
    responses={200: {"model": responses.StartedVm}},
    openapi_extra=openapi.body(requests.StartVm, optional=True),
)
async def start(request: Request, vm_id: str) -> Response:
    """Start it, or let it go on; it runs when this answers. One with `recreate` is made anew if it was deleted."""
    body = await bodies.parse(request, requests.StartVm, optional=True)
    caller, control, id = service.principal(request), service.of(request).control, refs.machine(vm_id)
    within = parse.ready_within(body)
    it = await _recreated(control, caller, id)
    timers = parse.timers(it.timers, body)
    if timers != it.timers:
        await control.machines.set_timers(caller, id, timers)
    it = await control.machines.start(caller, id)
    if within is not None:
        await control.services.wait_ready(caller, id, within)
    return Json({"id": id, "domains": [*vms.domains(control, caller, it)], "console_url": None})


@router.post(f"{_ID}/stop", responses={200: {"model": responses.StoppedVm}})
async def stop(request: Request, vm_id: str) -> Response:
    """Shut it down in order; its disk stays. A suspended one loses its memory. 400 if it does not run already."""
    caller, machines, id = service.principal(request), service.of(request).control.machines, refs.machine(vm_id)
    before = machines.get(caller, id)
    await machines.stop(caller, id, only_in=NOT_STOPPED)
    return Json({"vmId": id, "vmInstanceId": refs.instance(before)})


@router.post(f"{_ID}/suspend", responses={200: {"model": responses.SuspendedVm}})
async def suspend(request: Request, vm_id: str) -> Response:
    """Keep its memory on disk and free everything else; the next use lets it go on."""
    caller, machines, id = service.principal(request), service.of(request).control.machines, refs.machine(vm_id)
    before = machines.get(caller, id)
    it = await machines.suspend(caller, id)
    shown = {"id": id, "vmInstanceId": refs.instance(before), "snapshotLayerId": refs.layer(it)}
    return Json(shown)


@router.post(f"{_ID}/kill", responses={200: {"model": responses.VmOnly}})
async def kill(request: Request, vm_id: str) -> Response:
    """End it at once, as if its power was cut; its disk stays."""
    id = refs.machine(vm_id)
    await service.of(request).control.machines.kill(service.principal(request), id)
    return Json({"id": id})


@router.post(f"{_ID}/await", responses={200: {"model": responses.AwaitedVm}})
async def wait(request: Request, vm_id: str) -> Response:
    """Answers when it runs no more: stopped, suspended, failed or deleted; at once if it does not run."""
    caller, machines, id = service.principal(request), service.of(request).control.machines, refs.machine(vm_id)
    coming = machines.wait_until(caller, id, lambda it: it.state in AT_REST, "at rest", LONGEST_AWAIT)
    it = await streams.unless_hung_up(request.receive, coming)
    return Json({"id": id, "exitStatus": present.exit_status(it)})


@router.post(
    f"{_ID}/fork",
    responses={200: {"model": responses.ForkVm}},
    openapi_extra=openapi.body(requests.ForkVm, optional=True),
)
async def fork(request: Request, vm_id: str) -> Response:
    """Running copies, processes and memory included; all or none."""
    body = await bodies.parse(request, requests.ForkVm, optional=True)
    caller, control, id = service.principal(request), service.of(request).control, refs.machine(vm_id)
    copies = await control.machines.fork(caller, id, ForkRequest(count=body.count))
    return Json(present.forked(id, {it.id: vms.domains(control, caller, it) for it in copies}))


@router.post(
    f"{_ID}/snapshot",
    responses={200: {"model": responses.SnapshotOfVm}},
    openapi_extra=openapi.body(requests.SnapshotVm, optional=True),
)
async def snapshot(request: Request, vm_id: str) -> Response:
    """An immutable copy of it as it is now; it goes on."""
    body = await bodies.parse(request, requests.SnapshotVm, optional=True)
    caller, control, id = service.principal(request), service.of(request).control, refs.machine(vm_id)
    kept = body.persistence
    made = await control.snapshots.create(
        caller,
        id,
        parse.snapshot_name(body.name),
        is_label=True,
        persistence=Persistence.PERSISTENT if kept is not None and kept.type == "persistent" else Persistence.STICKY,
        priority=5 if kept is None or kept.priority is None else kept.priority,
    )
    it = control.machines.get(caller, id)
    instance = refs.instance(it)
    return Json({"snapshotId": refs.SNAPSHOT + made.id, "sourceVmId": id, "sourceVmInstanceId": instance})


@router.post(f"{_ID}/optimize", responses={200: {"model": responses.OptimizedVm}})
async def optimize(request: Request, vm_id: str) -> Response:
    """Suspend it, and make its state one from which it and its copies go on most cheaply."""
    it = await service.of(request).control.machines.optimize(service.principal(request), refs.machine(vm_id))
    return Json({"id": it.id, "message": "suspended and optimized: the next start and forks are quickest"})


@router.post(
    "/v1/vms/{id}/resize",
    responses={200: {"model": responses.Empty}},
    openapi_extra=openapi.body(requests.ResizeVm),
)
async def resize(request: Request, id: str) -> Response:
    """Grow its disk, at once if it runs; other vCPUs or memory are a restart that keeps the disk."""
    body = await bodies.parse(request, requests.ResizeVm)
    caller, its, machine = service.principal(request), service.of(request), refs.machine(id)
    it = its.control.machines.get(caller, machine)
    wanted = sizes.resize(
        body, it.spec.resources, sizes.ranges(await its.control.health.capacity(), its.settings.machines)
    )
    await its.control.machines.resize(caller, machine, wanted.disk_gib, wanted.cpus, wanted.memory_mib)
    return Json({})
