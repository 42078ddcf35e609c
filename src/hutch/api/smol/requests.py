"""What the smol dialect reads: the bodies of its requests.

As the documented service does, unknown fields are dropped and wrong types are refused. A field that is known but cannot
act here is declared, so that `parse` can refuse it by name instead of ignoring it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from hutch.model.machine import CheckoutMode, PoolState
from hutch.model.states import State


def _command(value: object) -> object:
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(word, str) for word in value)):
        return value
    raise PydanticCustomError("untagged", "data did not match any variant of untagged enum CommandSpec")


U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
CommandSpec = Annotated[str | list[str], BeforeValidator(_command)]
Environment = dict[str, str]


class Body(BaseModel):
    """camelCase outside, strict types, unknown fields dropped."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="ignore", frozen=True)


class Source(Body):
    """What a machine is made of: an image, or (native) a checkpoint by id or name."""

    type: Literal["image", "smolmachine", "checkpoint"]
    reference: str


class Resources(Body):
    """What a machine is given; what is left out, the service's settings decide."""

    cpus: U32 | None = None
    memory_mb: U32 | None = None
    disk_gb: U32 | None = None
    disk_durability: Literal["full", "deferred"] | None = None


class Network(Body):
    """What a machine may reach. What follows `hosts` is native: CIDRs refused all the same, and what it may send."""

    mode: Literal["blocked", "open", "allowCidrs"]
    cidrs: list[str] | None = None
    hosts: list[str] | None = None
    denied: list[str] | None = None
    kbit_per_second: U32 | None = None
    packets_per_second: U32 | None = None
    burst: U32 | None = None


class Port(Body):
    """A port to publish. `hostPort` is a wish that is not followed; `public` (native): for whoever knows the name."""

    port: U32
    host_port: U32 | None = None
    protocol: Literal["tcp", "udp"] | None = None
    public: bool | None = None


class Persistence(Body):
    """What becomes of a machine that does not run; `priority` (0 to 10) only of a sticky one. Native."""

    type: Literal["ephemeral", "sticky", "persistent"]
    priority: U32 | None = None


Action = Literal["stop", "suspend", "destroy"]


class Mount(Body):
    """A volume, by id or name, and where it is to be in the machine."""

    volume: str
    mount_path: str
    readonly: bool | None = None


class Character(Body):
    """What a new machine is besides what it is made of."""

    name: str | None = None
    resources: Resources | None = None
    network: Network | None = None
    mounts: list[Mount] | None = None
    env: Environment | None = None
    workdir: str | None = None
    command: list[str] | None = None
    labels: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None
    auto_stop_seconds: U32 | None = None
    idle_action: Action | None = None
    ttl_seconds: U32 | None = None
    lifetime_action: Action | None = None
    delete_after_suspended_seconds: U32 | None = None
    ephemeral: bool | None = None
    persistence: Persistence | None = None
    ports: list[Port] | None = None
    wakes_on_traffic: bool | None = None
    starts_on_traffic: bool | None = None


class CreateMachine(Character):
    """A machine to make."""

    source: Source
    branchable: bool | None = None
    forkable: bool | None = None
    credentials: list[str] | None = None
    cache_disk: dict[str, Any] | None = None


class Terminal(Body):
    """A terminal's size in characters."""

    cols: Annotated[int, Field(ge=1, le=65535)]
    rows: Annotated[int, Field(ge=1, le=65535)]


class Work(Body):
    """A command, and in what it runs. `stdinB64` is a native extension."""

    command: CommandSpec
    env: Environment | None = None
    cwd: str | None = None
    timeout_seconds: U32 | None = None
    user: str | None = None
    stdin: str | None = None
    stdin_b64: Annotated[str | None, Field(alias="stdinB64")] = None


class Exec(Work):
    """A command to run now. `interactive` and `terminal` are native extensions."""

    background: bool | None = None
    stream: bool | None = None
    interactive: bool | None = None
    terminal: Terminal | None = None


class Code(Body):
    """A program to run in a language's own interpreter."""

    language: str
    code: str
    env: Environment | None = None
    cwd: str | None = None
    timeout_seconds: U32 | None = None
    user: str | None = None


class CreateKey(Body):
    """An API key to make. `prefix` is a native extension."""

    description: str | None = None
    scopes: list[str] | None = None
    expires_in_days: U32 | None = None
    tenant_id: str | None = None
    prefix: str | None = None


class Signal(Body):
    """A signal to send: its number, or its name with or without SIG. Native."""

    signal: int | str


class Page(BaseModel):
    """Which page of a process's output: offsets, seconds to wait, and bytes of each stream. Native, in the query."""

    stdout: Annotated[int, Field(ge=0)] = 0
    stderr: Annotated[int, Field(ge=0)] = 0
    wait: Annotated[float, Field(ge=0, le=60)] = 0
    limit: Annotated[int, Field(ge=1, le=512 * 1024)] = 256 * 1024


class PullImage(Body):
    """An image to have here. Native."""

    reference: str


class Pause(Body):
    """How to pause: `keepMemory` (native) leaves the memory where it is instead of saving it."""

    keep_memory: bool | None = None


class Branch(Body):
    """A branch of a machine."""

    name: str | None = None
    freeze_source: bool | None = None
    branchable: bool | None = None
    forkable: bool | None = None
    ports: list[Port] | None = None


class BranchBatch(Body):
    """Several branches of a machine at once."""

    count: U32 | None = None
    names: list[str] | None = None
    name_prefix: str | None = None
    freeze_source: bool | None = None
    ports: list[Port] | None = None


class SetPorts(Body):
    """The ports that are to be published, and no others."""

    ports: list[Port]


class NewLink(Body):
    """A link to make to a published port, for so many seconds; left out: until it is revoked. Native."""

    port: U32
    ttl_seconds: U32 | None = None


class Timers(Body):
    """What timers a machine is to have, in place of all it has; what is left out is none. Native."""

    auto_stop_seconds: U32 | None = None
    idle_action: Action | None = None
    ttl_seconds: U32 | None = None
    lifetime_action: Action | None = None
    delete_after_suspended_seconds: U32 | None = None


class Resize(Body):
    """What a machine is to have; what is left out stays."""

    cpus: U32 | None = None
    memory_mb: U32 | None = None
    disk_gb: U32 | None = None


class Rollback(Body):
    """Where a machine is to go back to: one of its checkpoints, by id or name. Native."""

    checkpoint: str


class CreateCheckpoint(Body):
    """A checkpoint to make. Native."""

    name: str | None = None
    metadata: dict[str, Any] | None = None
    persistence: Persistence | None = None


class UpdateCheckpoint(Body):
    """What of a checkpoint is to be otherwise. Native."""

    name: str


class Restore(Body):
    """A machine to make of a checkpoint."""

    name: str | None = None
    network: Network | None = None
    cache_disk: dict[str, Any] | None = None


class CreatePool(Body):
    """A pool of machines to keep ready. What follows `tenantId` is native, and so is `diskGb`."""

    image: str
    cpus: U32 | None = None
    memory_mb: U32 | None = None
    disk_gb: U32 | None = None
    network: bool | None = None
    target_size: U32 | None = None
    max_idle_secs: U32 | None = None
    tenant_id: str | None = None
    name: str | None = None
    min: U32 | None = None
    max: U32 | None = None
    warm_up: list[str] | None = None
    mode: CheckoutMode | None = None
    labels: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None


class UpdatePool(Body):
    """What of a pool is to be otherwise; what is left out stays. Native."""

    name: str | None = None
    target_size: U32 | None = None
    min: U32 | None = None
    max: U32 | None = None
    warm_up: list[str] | None = None
    state: PoolState | None = None
    mode: CheckoutMode | None = None
    labels: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None


class Claim(Character):
    """What a machine out of a pool is to be; its source, resources and network can only be the pool's.

    Native: the documented service reads no body.
    """

    source: Source | None = None
    mode: CheckoutMode | None = None
    wait_ms: Annotated[int, Field(ge=0, le=30_000)] | None = None


class Listing(BaseModel):
    """Which machines, in the query. With `limit` or `next` (native) they come in pages; `state` is native."""

    model_config = ConfigDict(frozen=True)

    label: list[str] = []
    state: list[State] = []
    limit: Annotated[int | None, Field(ge=1, le=100)] = None
    next: str | None = None


class Wait(BaseModel):
    """For what to wait, in the query: states as `stateDetail` tells them, and seconds. Native."""

    state: Annotated[list[State], Field(min_length=1)] = [State.RUNNING]
    timeout: Annotated[float, Field(ge=0, le=3600)] = 60


ALL = (
    *(CreateMachine, Exec, Code, CreateKey, Signal, PullImage),
    *(SetPorts, NewLink, Network),
    *(Timers, Pause, Branch, BranchBatch, Resize, Rollback, CreatePool, UpdatePool, Claim),
    *(CreateCheckpoint, UpdateCheckpoint, Restore),
)
"""For the OpenAPI document."""
