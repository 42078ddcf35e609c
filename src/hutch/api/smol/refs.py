"""Which machine, checkpoint, pool or volume a path means: its id as shown or bare, or (native) its name.

An id as shown is not looked up here: whoever uses it is told if there is none. A bare one could be a name as well.
"""

from collections.abc import Callable

from starlette.requests import HTTPConnection

from hutch.api import service
from hutch.api.smol import parse, present
from hutch.model import errors, ids
from hutch.model.ids import MachineId, PoolId, SnapshotId, TenantId, VolumeId


def _meant(text: str, ref: str, find: Callable[[str], str]) -> str:
    if not ids.is_machine_id(ref):
        return find(ref)
    if text != ref:
        return ref
    try:
        return find(ref)
    except (errors.NotFound, errors.Forbidden):
        return ref


def machine(request: HTTPConnection) -> MachineId:
    """The machine of `{id}`."""
    return machine_of(request, request.path_params["id"])


def machine_of(request: HTTPConnection, text: str) -> MachineId:
    """The machine that a body names."""
    caller, machines = service.principal(request), service.of(request).control.machines
    return MachineId(_meant(text, parse.machine_ref(text), lambda ref: machines.find(caller, ref).id))


def checkpoint(request: HTTPConnection, text: str) -> SnapshotId:
    """The checkpoint that a path or a body names."""
    caller, snapshots = service.principal(request), service.of(request).control.snapshots
    return SnapshotId(_meant(text, parse.checkpoint_ref(text), lambda ref: snapshots.find(caller, ref).id))


def pool(request: HTTPConnection, text: str) -> PoolId:
    """The pool that a path names."""
    caller, pools = service.principal(request), service.of(request).control.pools
    return PoolId(_meant(text, parse.pool_ref(text), lambda ref: pools.find(caller, ref).pool.id))


def volume(request: HTTPConnection, text: str) -> VolumeId:
    """The volume that a path names."""
    caller, volumes = service.principal(request), service.of(request).control.volumes
    return VolumeId(_meant(text, parse.volume_ref(text), lambda ref: volumes.find(caller, ref).id))


def tenant(text: str) -> TenantId:
    """The tenant that a path, a query or a body names, with or without the prefix. Not looked up."""
    return TenantId(text.removeprefix(present.TENANT_PREFIX))
