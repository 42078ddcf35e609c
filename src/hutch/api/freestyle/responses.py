"""What the freestyle dialect answers, for the OpenAPI document and for tests: `present` writes it as plain dicts.

What can be null is left out of no answer.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from hutch.api.freestyle.requests import SnapshotPersistence, VmPersistence
from hutch.api.freestyle.states import ShownBuildState, VMState
from hutch.control.snapshot_views import SnapshotState

VmId = Annotated[str, Field(pattern="^[a-z0-9]{20}$")]
SnapshotId = Annotated[str, Field(pattern="^sc-[a-z0-9]{20}$")]
BuildId = Annotated[str, Field(pattern="^bld-[a-z0-9]{20}$")]
PhaseId = Annotated[str, Field(pattern="^bph-[a-z0-9]{20}$")]
RequestId = Annotated[str, Field(pattern="^ri-[a-z0-9]{20}$")]
LayerId = Annotated[str, Field(pattern="^sl-[a-z0-9]{16}$")]
InstanceId = Annotated[str, Field(description="Of one run: another one after each start or wake.")]


class Answer(BaseModel):
    """Nothing beyond what is declared."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class Error(Answer):
    """What went wrong: `error` and `code` are the same."""

    error: str
    code: str
    message: str


class Empty(Answer):
    """It was done."""


class VmInfo(Answer):
    """A VM in a list."""

    id: VmId
    name: str | None
    state: VMState
    created_at: datetime
    last_network_activity: datetime | None
    cpu_time_seconds: float | None = Field(description="While it runs and answers quickly: of all its vCPUs.")
    persistence: VmPersistence
    snapshot_id: SnapshotId | None
    deleted: bool
    created_declaratively: bool
    build_id: BuildId | None


class ListVms(Answer):
    """A page of VMs; `totalCount` counts all that were meant, the others all that there are in each state."""

    vms: list[VmInfo]
    total_count: int
    building_count: int
    running_count: int
    starting_count: int
    suspending_count: int
    suspended_count: int
    stopped_count: int
    lost_count: int
    user_id: str | None


class CreatedVm(Answer):
    """A VM that runs."""

    id: VmId
    domains: list[str]
    console_url: str | None
    snapshot_id: SnapshotId | None


class GetVm(Answer):
    """A VM."""

    id: VmId
    name: str | None
    vm_instance_id: InstanceId
    last_network_activity: datetime | None
    state: VMState
    cpu_time_seconds: float | None
    build_id: BuildId | None


class VmOnly(Answer):
    """Which VM it was done to."""

    id: VmId


class StartedVm(Answer):
    """A VM that runs."""

    id: VmId
    domains: list[str]
    console_url: str | None = Field(alias="console_url")


class StoppedVm(Answer):
    """A VM that does not run any more, and the run that has ended."""

    vm_id: VmId
    vm_instance_id: InstanceId


class SuspendedVm(Answer):
    """A VM whose memory is on disk, and the run that has ended."""

    id: VmId
    vm_instance_id: InstanceId
    snapshot_layer_id: LayerId


class AwaitedVm(Answer):
    """A VM that does not run any more: stopped, suspended, deleted, or why it failed."""

    id: VmId
    exit_status: str


class ForkedVm(Answer):
    """A copy that runs."""

    id: VmId
    domains: list[str]
    console_url: str | None


class ForkVm(Answer):
    """All copies."""

    vm_id: VmId
    forks: list[ForkedVm]


class SnapshotOfVm(Answer):
    """A snapshot of a VM."""

    snapshot_id: SnapshotId
    source_vm_id: VmId
    source_vm_instance_id: InstanceId


class OptimizedVm(Answer):
    """A VM that is suspended now, and goes on, or is copied, most cheaply."""

    id: VmId
    message: str


class CreatedSnapshot(Answer):
    """A snapshot that is ready."""

    snapshot_id: SnapshotId


class SnapshotInfo(Answer):
    """A snapshot, or what is to become one."""

    snapshot_id: SnapshotId
    state: SnapshotState
    source_vm_id: VmId | None
    account_id: str
    created_at: datetime
    name: str | None
    failed: bool
    cancelled: bool
    lost: bool
    failure_reason: str | None
    deleted: bool
    snapshot_persistence: SnapshotPersistence
    build_id: BuildId | None
    template_hash: str | None
    vcpu_count: int | None
    mem_size_mib: int | None
    rootfs_size_mb: int | None


class ListSnapshots(Answer):
    """Snapshots; the counts are of all there are, `totalCount` of those in the list."""

    snapshots: list[SnapshotInfo]
    total_count: int
    building_count: int
    ready_count: int
    failed_count: int
    cancelled_count: int
    lost_count: int
    deleted_count: int


class RenamedSnapshot(Answer):
    """A snapshot, and what it is called."""

    snapshot_id: SnapshotId = Field(alias="snapshot_id")
    name: str | None


class DeletedSnapshot(Answer):
    """A snapshot of which only the record is left."""

    snapshot_id: SnapshotId = Field(alias="snapshot_id")


class BuildRecord(Answer):
    """A build."""

    build_id: BuildId
    account_id: str
    request_id: RequestId | None
    state: ShownBuildState
    template_hash: str | None
    failure_reason: str | None
    planned_phases: list[str]
    started_at: datetime
    finished_at: datetime | None
    updated_at: datetime


class BuildPhase(Answer):
    """Something a build has begun."""

    phase_id: PhaseId
    build_id: BuildId
    name: str
    snapshot_id: SnapshotId | None
    started_at: datetime


class ListBuildPhases(Answer):
    """The oldest first; the last one is what it is doing, or did last."""

    phases: list[BuildPhase]
