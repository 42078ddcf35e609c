"""What the nullspace dialect reads: the bodies of its requests.

Types are strict, unknown fields are dropped, and an explicit null is as good as nothing: the documented client sends
many. A field that is known but cannot act here is declared, so that `parse` can refuse it by name.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, le=2**53)]
Environment = dict[str, str]
Action = Literal["destroy", "hibernate"]
Encoding = Literal["utf8", "base64"]


class Body(BaseModel):
    """Strict types, unknown fields dropped."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class WarmPool(Body):
    """Whether and how a ready machine of a warm pool is taken."""

    id: str | None = None
    mode: Literal["prefer", "require", "bypass"] | None = None
    wait_ms: Annotated[int, Field(ge=0, le=30_000)] | None = None


class RateLimit(Body):
    """How much may leave a machine."""

    kbit_per_sec: Count | None = None
    pps: Count | None = None
    burst: Count | None = None


class Egress(Body):
    """What a machine may reach."""

    mode: Literal["allow_all", "deny_all", "custom"]
    allow_cidrs: list[str] | None = None
    deny_cidrs: list[str] | None = None
    rate_limit: RateLimit | None = None


class Network(Body):
    """A machine's network."""

    allow_public_traffic: bool | None = None
    mask_request_host: str | None = None
    egress: Egress | None = None
    allow_out: list[str] | None = None
    deny_out: list[str] | None = None


class VolumeMount(Body):
    """A volume, by id or name, and where it is mounted."""

    ref: str
    mount_path: str
    subpath: str | None = None
    read_only: bool | None = None


class Lifecycle(Body):
    """What happens when a machine's time is over, in the older spelling."""

    on_timeout: Literal["destroy", "pause", "hibernate"] | None = None


class CreateMachine(Body):
    """A machine to make and to run."""

    template: str | None = None
    snapshot_id: str | None = None
    warm_pool: WarmPool | None = None
    vcpus: Count | None = None
    memory_mb: Count | None = None
    disk_mb: Annotated[int, Field(ge=512, le=131_072)] | None = None
    timeout_ms: Count | None = None
    timeout_action: Action | None = None
    lifecycle: Lifecycle | None = None
    inactivity_timeout_ms: Count | None = None
    auto_delete_after_ms: Count | None = None
    ephemeral: bool | None = None
    auto_resume: bool | None = None
    envs: Environment | None = None
    metadata: dict[str, Any] | None = None
    internet_access: bool | None = None
    cwd: str | None = None
    desktop: dict[str, Any] | bool | None = None
    network: Network | None = None
    volumes: list[VolumeMount] | None = None


class SetTimeout(Body):
    """A new lease: from now on, so long."""

    timeout_ms: Count
    timeout_action: Action | None = None


class UpdateEgress(Body):
    """What a living machine may reach from now on."""

    egress: Egress


class GetHost(Body):
    """A port to reach."""

    port: Count


class SignedPreviewUrl(Body):
    """How long a link is good."""

    expires_in_seconds: Count | None = None


class PreviewProxyTarget(SignedPreviewUrl):
    """What a proxy of one's own wants to send."""

    transports: Annotated[list[Literal["http", "websocket"]], Field(min_length=1)] | None = None
    token_transport: Literal["header"] | None = None
    include_traffic_token_hint: bool | None = None


class PreviewReadiness(Body):
    """What is looked for at a port, and for how long."""

    kind: Literal["http", "tcp"] | None = None
    path: str | None = None
    timeout_secs: Count | None = None
    interval_ms: Count | None = None


class Exec(Body):
    """A command to run."""

    command: str
    args: list[str] | None = None
    timeout_secs: Count | None = None
    cwd: str | None = None
    envs: Environment | None = None
    shell: bool | None = None
    background: bool | None = None


class SendStdin(Body):
    """Text for a process to read."""

    data: str


class Path(Body):
    """A file. `user` is whose rights count."""

    path: str
    user: str | None = None


class ReadFile(Path):
    """A file to read."""

    encoding: Encoding | None = None


class WriteFile(Path):
    """A file to write."""

    content: str
    encoding: Encoding | None = None


class Rename(Body):
    """A file to call otherwise."""

    old_path: str
    new_path: str
    user: str | None = None


class SetPermissions(Path):
    """A file's new permissions, in octal."""

    permissions: Annotated[str, Field(pattern=r"^(0o)?[0-7]{3,4}$")]


class Search(Path):
    """A directory, and a pattern to look for below it."""

    pattern: str


class Replace(Body):
    """Files, a pattern in them, and what to put in its place."""

    files: list[str]
    pattern: str
    replacement: str
    user: str | None = None
    dry_run: bool | None = None


class CreateKey(Body):
    """An API key to make; `scope` holds scopes, with spaces or commas between them."""

    name: str | None = None
    scope: str | None = None


class PoolResources(Body):
    """The shape of a pool's machines."""

    vcpus: Count
    memory_mb: Count
    disk_mb: Annotated[int, Field(ge=512, le=131_072)] | None = None


class PoolFields(Body):
    """What may be said of a new pool and of one that is to be changed."""

    template_ref: str | None = None
    template: str | None = None
    checkout_policy: Literal["prefer", "require", "bypass"] | None = None
    idle_timeout_seconds: Count | None = None
    stale_after_seconds: Count | None = None
    version_policy: Literal["pinned_build", "track_tag"] | None = None
    track_tag: str | None = None
    host_pool_id: str | None = None
    cell_id: str | None = None
    labels: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None


class CreatePool(PoolFields):
    """A pool of machines to keep ready."""

    name: str
    min_ready: Count
    max_ready: Count
    resources: PoolResources


class UpdatePool(PoolFields):
    """What of a pool is to be otherwise."""

    name: str | None = None
    min_ready: Count | None = None
    max_ready: Count | None = None
    resources: PoolResources | None = None


class CreateSnapshot(Body):
    """A snapshot to make. Hutch's own: the documented service reads no body."""

    metadata: dict[str, Any] | None = None


class CreateVolume(Body):
    """A volume to make. `size_gb` is Hutch's own."""

    name: str
    size_gb: Count | None = None


Operation = Literal[
    "create",
    "destroy",
    "fork",
    "hibernate",
    "reconcile",
    "resume_from_snapshot",
    "snapshot_created",
    "timeout_expired",
    "timeout_updated",
]


class CreateWebhook(Body):
    """Where lifecycle events are to be told."""

    url: str
    operations: Annotated[list[Operation], Field(min_length=1)]
    signing_secret: str
    enabled: bool | None = None


class UpdateWebhook(Body):
    """What to change of a webhook."""

    url: str | None = None
    operations: Annotated[list[Operation], Field(min_length=1)] | None = None
    signing_secret: str | None = None
    enabled: bool | None = None


class Resize(Body):
    """A terminal's size in characters."""

    cols: Annotated[int, Field(ge=1, le=65535)]
    rows: Annotated[int, Field(ge=1, le=65535)]


ALL = (
    *(CreateMachine, SetTimeout, UpdateEgress, GetHost, SignedPreviewUrl, PreviewProxyTarget, PreviewReadiness),
    *(Exec, SendStdin),
    *(Path, ReadFile, WriteFile, Rename, SetPermissions, Search, Replace),
    *(CreateKey, CreatePool, UpdatePool, CreateSnapshot, CreateVolume, CreateWebhook, UpdateWebhook, Resize),
)
"""For the OpenAPI document."""
