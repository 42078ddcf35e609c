"""What the freestyle dialect reads of machines, snapshots and builds.

Types are strict, and unknown fields are dropped: the documented clients send some. A null is as good as nothing, but
for `idleTimeoutSeconds`, where it is documented to mean: never.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from hutch.api.freestyle.states import VMState

SPEC_LIMIT = 8 * 1024 * 1024
"""Bytes of a body with a spec: it holds files, but every layer of it is kept in mind while it is built."""

Amount = Annotated[int, Field(ge=0, le=2**40)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Body(BaseModel):
    """camelCase outside, strict types, unknown fields dropped."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="ignore", frozen=True)


class PortMapping(Body):
    """A port of the outside, and the VM's that it leads to."""

    port: Port
    target_port: Port


class VmPersistence(Body):
    """What becomes of a VM that does not run."""

    type: Literal["sticky", "ephemeral", "persistent"]
    priority: Annotated[int, Field(ge=0, le=10)] | None = Field(None, description="Of a sticky one: higher stays (5).")
    delete_event: Literal["OnStop", "OnSuspend"] | None = Field(None, description="Of an ephemeral one.")


class SnapshotPersistence(Body):
    """Whether a snapshot is kept for ever, or removed when room is needed."""

    type: Literal["sticky", "persistent"]
    priority: Annotated[int, Field(ge=0, le=10)] | None = None


class BaseImageSpec(Body):
    """A Dockerfile, which has no build context."""

    dockerfile_content: str


class DockerCredentials(Body):
    """Of the registry a base image is in; kept nowhere."""

    registry: str
    username: str
    password: str = Field(repr=False)


class LinuxUserSpec(Body):
    """A user to make."""

    name: str
    uid: Amount | None = None
    gecos: str | None = None
    groups: list[str] | None = None
    home: str | None = None
    shell: str | None = None
    system: bool | None = None


class LinuxGroupSpec(Body):
    """A group to make."""

    name: str
    gid: Amount | None = None
    system: bool | None = None


class FreestyleFile(Body):
    """A file to write. `encoding`: utf-8 (or utf8), which it is if left out, or base64."""

    content: str
    encoding: str | None = None
    executable: bool | None = None


class GitRepositorySpec(Body):
    """A repository to clone."""

    repo: str
    path: str
    rev: str | None = None


class GitUser(Body):
    """Who commits are by."""

    name: str | None = None
    email: str | None = None
    signingkey: str | None = None


class GitConfig(Body):
    """What git is told."""

    user: GitUser | None = None


class GitOptions(Body):
    """Repositories, and what git is told."""

    config: GitConfig | None = None
    repos: list[GitRepositorySpec] | None = None


class VmDomainConfig(Body):
    """A name of one's own, and where in the VM it leads: to where 443 does, if left out."""

    domain: str
    vm_port: Port | None = None


class StartVm(Body):
    """How a VM is started."""

    idle_timeout_seconds: Amount | None = None
    ready_signal_timeout_seconds: Amount | None = None
    wait_for_ready_signal: bool | None = None
    activity_threshold_bytes: Amount | None = None


class ForkVm(Body):
    """How many copies (1)."""

    count: Amount | None = None


class ResizeVm(Body):
    """What a VM is to have; what is left out stays."""

    rootfs_size_gb: Amount | None = None
    mem_size_gb: Amount | None = None
    vcpu_count: Amount | None = None


class SnapshotVm(Body):
    """What a snapshot of a VM is to be; sticky if it does not say."""

    name: str | None = None
    persistence: SnapshotPersistence | None = None


class UpdateSnapshot(Body):
    """What a snapshot is called from now on."""

    name: str | None = None


class Listing(BaseModel):
    """Which VMs are listed."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)

    limit: Annotated[int, Field(ge=0, le=2**31)] | None = None
    offset: Annotated[int, Field(ge=0, le=2**31)] | None = None
    vm_state: VMState | None = None
    include_deleted: bool | None = None
    search: str | None = None


class SnapshotListing(BaseModel):
    """Which snapshots are listed; what is not said is as the documented client has it."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)

    include_deleted: bool | None = None
    include_failed: bool | None = None
    include_building: bool | None = None
    include_cancelled: bool | None = None
    include_lost: bool | None = None


ALL: tuple[type[Body], ...] = (StartVm, ForkVm, ResizeVm, SnapshotVm, UpdateSnapshot)
"""For the OpenAPI document."""
