"""Whether the snapshot that something is to be made of can be used, and in which word it is told if not."""

from hutch.api.freestyle import codes, refs
from hutch.api.telling import Told
from hutch.control.keys import Principal
from hutch.control.plane import ControlPlane
from hutch.control.snapshot_views import SnapshotState, SnapshotView
from hutch.model import errors
from hutch.model.recipes import Base

_CODES = {
    SnapshotState.BUILDING: "SOURCE_SNAPSHOT_BUILDING",
    SnapshotState.FAILED: "SOURCE_SNAPSHOT_CANCELLED",
    SnapshotState.CANCELLED: "SOURCE_SNAPSHOT_CANCELLED",
    SnapshotState.LOST: "SOURCE_SNAPSHOT_LOST",
}


async def check(control: ControlPlane, caller: Principal, base: Base) -> None:
    """Only for who may look; what never was is told when it is to be used."""
    if base.snapshot is None:
        return
    try:
        it = await control.snapshots.view(caller, refs.snapshot(base.snapshot))
    except (errors.NotFound, errors.Forbidden):
        return
    code = "SOURCE_SNAPSHOT_DELETED" if it.deleted else _CODES.get(it.state)
    if code is not None:
        raise Told(codes.STATUSES[code], code, _words(it))


def _words(it: SnapshotView) -> str:
    state = "deleted" if it.deleted else it.state.value
    why = f" ({it.reason})" if it.reason else ""
    return f"Source snapshot {refs.SNAPSHOT}{it.id} is {state}{why} and cannot be used as a base"
