"""Which machine, checkpoint or pool a path means: its id as shown or bare, or (native) its name.

An id is not looked up here: whoever uses it is told if there is none.
"""

from starlette.requests import Request

from hutch.api import service
from hutch.api.smol import parse
from hutch.model import ids
from hutch.model.ids import MachineId, PoolId, SnapshotId


def machine(request: Request) -> MachineId:
    """The machine of `{id}`."""
    ref = parse.machine_ref(request.path_params["id"])
    if ids.is_machine_id(ref):
        return MachineId(ref)
    return service.of(request).control.machines.find(service.principal(request), ref).id


def checkpoint(request: Request, text: str) -> SnapshotId:
    """The checkpoint that a path or a body names."""
    ref = parse.checkpoint_ref(text)
    if ids.is_machine_id(ref):
        return SnapshotId(ref)
    return service.of(request).control.snapshots.find(service.principal(request), ref).id


def pool(request: Request, text: str) -> PoolId:
    """The pool that a path names."""
    ref = parse.pool_ref(text)
    if ids.is_machine_id(ref):
        return PoolId(ref)
    return service.of(request).control.pools.find(service.principal(request), ref).pool.id
