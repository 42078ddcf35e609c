"""Builds: how a snapshot comes of a recipe, and what is told of it while it does."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hutch.model.ids import BuildId, PhaseId, SnapshotId, TenantId


class BuildState(StrEnum):
    """Where a build is."""

    PENDING = "pending"  # it waits for another one that makes a layer of it
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the reason says why
    CANCELLED = "cancelled"  # somebody ended it, or the service was stopped
    LOST = "lost"  # the service died meanwhile


ENDED = frozenset({BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED, BuildState.LOST})


@dataclass(frozen=True, slots=True)
class Build:
    """The record of one build. What it makes is `snapshot`, which is there once it has succeeded."""

    id: BuildId
    tenant: TenantId
    request: str  # what was asked for at once has one: "ri-" and 20 letters and digits
    state: BuildState
    snapshot: SnapshotId  # which it makes
    name: str | None  # which the snapshot is to have; None: one is made
    recipe: str  # the hash of the outermost layer
    planned: tuple[str, ...]  # the names of its phases, in order, known from the start
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    reason: str | None = None  # why it failed, with the end of what the failing command wrote


@dataclass(frozen=True, slots=True)
class Phase:
    """Something a build has begun. Phases are only ever added; the last one is what it is doing now."""

    id: PhaseId
    build: BuildId
    name: str
    started_at: datetime
    snapshot: SnapshotId | None = None  # the layer's, for a phase that made one or found it made
