"""What the smol dialect answers. For the OpenAPI document and for tests: `present` writes the same as plain dicts.

Required is what the documented service requires; native extensions say so.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from hutch.model.machine import CheckoutMode, CheckoutSource, PoolState
from hutch.model.states import State


class Answer(BaseModel):
    """camelCase outside; nothing beyond what is declared."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class Source(Answer):
    """What a machine was made of. `digest` (native) is what the reference meant then."""

    type: Literal["image"]
    reference: str
    digest: str


class Resources(Answer):
    """What a machine has."""

    cpus: int
    memory_mb: int
    disk_gb: int


class Network(Answer):
    """What a machine may reach."""

    mode: Literal["blocked", "open", "allowCidrs"]
    cidrs: list[str] | None = None
    hosts: list[str] | None = None
    denied: list[str] | None = Field(None, description="CIDRs that are refused all the same. Native.")
    kbit_per_second: int | None = Field(None, description="Most it may send. Native.")
    packets_per_second: int | None = Field(None, description="Most it may send. Native.")
    burst: int | None = Field(None, description="Packets it may send at once above that. Native.")


class Capabilities(Answer):
    """What can be done with a machine here."""

    exec: bool
    branch: bool


class Mount(Answer):
    """A volume's place in a machine."""

    volume: str
    mount_path: str
    readonly: bool


class Port(Answer):
    """A published port. `hostPort` is null: no port of the host is opened for it. `public` is native."""

    port: int
    host_port: None
    protocol: Literal["tcp"]
    public: bool


class Share(Answer):
    """A link to a machine's first published port, for whoever has it."""

    token: str
    url: str


class PortLinks(Answer):
    """A link to each published port, by port."""

    urls: dict[str, str]


class Link(Answer):
    """A link to one published port; `expiresAt` null: until it is revoked. Native."""

    url: str
    token: str
    expires_at: str | None


class TrafficToken(Answer):
    """What lets a client to all published ports of a machine, until it is revoked. Native."""

    token: str


class Progress(Answer):
    """Where a start has got to; `fraction` (0–1) if that is known. Native."""

    phase: str
    fraction: float | None


class Persistence(Answer):
    """What becomes of a machine that does not run; `priority` only of a sticky one. Native."""

    type: Literal["ephemeral", "sticky", "persistent"]
    priority: int | None


class Timers(Answer):
    """Seconds until each timer fires, as things stand; null: it will not. Native."""

    idle_remaining_seconds: float | None
    lifetime_remaining_seconds: float | None
    suspended_remaining_seconds: float | None


Action = Literal["stop", "suspend", "destroy"]


class Checkout(Answer):
    """How a warm pool was used for a machine. Native."""

    source: CheckoutSource
    mode: CheckoutMode
    pool_id: str | None


class Machine(Answer):
    """A machine."""

    id: str
    name: str
    source: Source
    state: Literal["created", "stopped", "started", "paused", "error", "deleted"]
    state_detail: State = Field(description="The exact state. Native.")
    ready: bool
    ready_at: str | None
    resources: Resources
    network: Network
    env: dict[str, str]
    workdir: str | None
    mounts: list[Mount]
    command: list[str] | None
    labels: dict[str, str]
    metadata: dict[str, Any] = Field(description="Native.")
    ephemeral: bool
    persistence: Persistence
    auto_stop_seconds: int | None
    idle_action: Action = Field(description="What autoStopSeconds does. Native.")
    ttl_seconds: int | None
    lifetime_action: Action = Field(description="What ttlSeconds does. Native.")
    delete_after_suspended_seconds: int | None = Field(description="Native.")
    parent_id: str | None = Field(description="Of which it is a branch, or of whose checkpoint it was made. Native.")
    checkpoint_id: str | None = Field(description="Of which it was made. Native.")
    suspended_at: str | None = Field(description="Native.")
    last_activity_at: str | None
    created_at: str
    updated_at: str
    url: str | None = Field(description="Of its first published port.")
    ports: list[Port]
    wakes_on_traffic: bool = Field(description="Paused or suspended, traffic to a port wakes it. Native.")
    starts_on_traffic: bool = Field(description="Stopped, traffic to a port starts it. Native.")
    branchable: bool
    forkable: bool
    capabilities: Capabilities
    reason: str | None = Field(None, description="Why it failed. Native; only in state error.")
    progress: Progress | None = Field(None, description="Native; only while it starts.")
    timers: Timers | None = Field(None, description="Native; only of one machine that is looked at.")
    checkout: Checkout | None = Field(None, description="Native; only if a pool was considered.")


class Page(Answer):
    """Machines, newest first, a page of them. `next` asks for those behind; null: there are none now. Native."""

    machines: list[Machine]
    next: str | None


class Branches(Answer):
    """The branches that were made."""

    clones: list[Machine]


class Checkpoint(Answer):
    """A checkpoint. What follows `downloadUrl` is native."""

    id: str
    machine_id: str
    status: Literal["ready", "damaged"]
    size_bytes: int
    reused_bytes: int | None
    arch: str
    created_at: str
    download_url: str
    name: str
    source: Source
    resources: Resources
    damage: list[str] = Field(description="What the last verification found.")
    verified_at: str | None
    metadata: dict[str, Any] = Field(description="The machine's, as it was then, unless others were given.")
    persistence: Persistence
    build_id: str | None = Field(description="Of the build that made it.")
    used_at: str | None = Field(description="When a machine was last made of it.")


class Pool(Answer):
    """A pool. What follows `targetSize` is native."""

    id: str
    image: str
    status: Literal["ready", "filling", "waiting", "disabled", "draining"]
    idle_count: int
    busy_count: int
    target_size: int
    name: str
    min: int
    max: int
    making_count: int
    resources: Resources
    network: Network
    warm_up: list[str] | None
    state: PoolState
    mode: CheckoutMode = Field(description="Of a claim that names none.")
    labels: dict[str, str]
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    reason: str | None = Field(description="Why it is not full, if it should be.")


class ExecResult(Answer):
    """A command that has ended."""

    stdout: str
    stderr: str
    exit_code: int
    duration_ms: int
    machine_id: str
    stdout_truncated: bool
    stderr_truncated: bool
    stdout_b64: str | None = Field(None, alias="stdoutB64", description="Exact bytes; not with output=text.")
    stderr_b64: str | None = Field(None, alias="stderrB64", description="Exact bytes; not with output=text.")
    user: str | None = Field(None, description="As asked, if one was.")
    process_id: str = Field(description="Native: what …/processes/{process} calls it.")


class Event(Answer):
    """Something that happened to a machine."""

    id: str
    level: Literal["info", "warning", "error"]
    message: str
    created_at: str
    kind: str = Field(description="For programs: machine.started, … Native.")
    machine_id: str | None = Field(description="Native.")
    checkpoint_id: str | None = Field(description="Native: the checkpoint that was made.")


class KeyCreated(Answer):
    """A new key; `key` is never told again."""

    id: str
    key: str


class Key(Answer):
    """A key without its secret."""

    id: str
    scopes: list[str]
    description: str
    prefix: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class Health(Answer):
    """The service. What follows `uptimeSecs` is native."""

    cluster_id: str
    version: str
    api_version: int
    capabilities: list[str]
    nodes_total: int
    nodes_ready: int
    groups_total: int
    apps_total: int
    pools_total: int
    uptime_secs: int
    accelerator: str
    accelerator_reason: str
    vmm: str
    agent: str
    isolation: str


class Exit(Answer):
    """How a process ended: a code or a signal. Native."""

    exit_code: int
    signal: int | None
    timed_out: bool


class Process(Answer):
    """A process the guest's agent keeps. Native."""

    id: str
    pid: int
    command: list[str]
    started_at: str
    stdout_bytes: int
    stderr_bytes: int
    exit: Exit | None


class ProcessOutput(Answer):
    """A page of a process's output. `…Offset` is where the bytes begin, `…NextOffset` where to go on. Native."""

    stdout_b64: str = Field(alias="stdoutB64")
    stdout_offset: int
    stdout_next_offset: int
    stderr_b64: str = Field(alias="stderrB64")
    stderr_offset: int
    stderr_next_offset: int
    exit: Exit | None


class Image(Answer):
    """An image that is here. Native."""

    reference: str
    digest: str
    size_bytes: int
    created_at: str
    entrypoint: list[str]
    cmd: list[str]
    env: dict[str, str]
    workdir: str | None
    user: str | None
    systemd: bool


class UnknownKey(Answer):
    """The one error with a JSON body."""

    code: Literal["unknown_key"]
    error: str
