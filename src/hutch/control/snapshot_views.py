"""Snapshots and what is to become one, told as one kind of thing. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hutch.model.builds import Build, BuildState
from hutch.model.ids import SnapshotId
from hutch.model.machine import Snapshot


class SnapshotState(StrEnum):
    """What a snapshot is to somebody who waits for it."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"  # its build failed
    CANCELLED = "cancelled"  # its build was
    LOST = "lost"  # the service died in its build, or it is not what was saved


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """A snapshot, or the build that is to make it or did not; one of both is there at least."""

    id: SnapshotId
    name: str | None
    state: SnapshotState
    created_at: datetime
    reason: str | None  # why it is not ready
    snapshot: Snapshot | None  # None: it was never made
    build: Build | None  # None: it was made of a machine, or its build is not kept any more
    deleted: bool


_OF_BUILD = {
    BuildState.PENDING: SnapshotState.BUILDING,
    BuildState.RUNNING: SnapshotState.BUILDING,
    BuildState.FAILED: SnapshotState.FAILED,
    BuildState.CANCELLED: SnapshotState.CANCELLED,
    BuildState.LOST: SnapshotState.LOST,
}


def view_snapshot(snapshot: Snapshot, build: Build | None) -> SnapshotView:
    """One that was made."""
    state = SnapshotState.LOST if snapshot.damage else SnapshotState.READY
    reason = snapshot.damage[0] if snapshot.damage else None
    deleted = snapshot.deleted_at is not None
    return SnapshotView(snapshot.id, snapshot.name, state, snapshot.created_at, reason, snapshot, build, deleted)


def view_build(build: Build) -> SnapshotView:
    """One that is not made, or not yet: its build has not succeeded."""
    state = _OF_BUILD[build.state]
    return SnapshotView(build.snapshot, build.name, state, build.started_at, build.reason, None, build, deleted=False)
