"""What the nullspace dialect answers. For the OpenAPI document and for tests: `present` writes the same as plain dicts.

Required is what the documented service requires.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["creating", "running", "paused", "destroyed", "error"]
Action = Literal["destroy", "hibernate"]


class Answer(BaseModel):
    """Nothing beyond what is declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Error(Answer):
    """What went wrong."""

    error: str
    code: str
    request_id: str | None = None


class Config(Answer):
    """A machine's shape."""

    vcpus: int
    memory_mb: int
    disk_mb: int


class Checkout(Answer):
    """How a machine was taken out of a warm pool."""

    source: Literal["bypassed", "cold_create", "ready_instance"]
    hit: bool
    id: str | None = None
    mode: Literal["prefer", "require", "bypass"] | None = None


class Machine(Answer):
    """A machine."""

    id: str
    status: Status
    config: Config
    template: str
    created_at: str
    metadata: dict[str, Any] = Field({}, description="With `volume_attachments` if volumes are mounted.")
    started_at: str | None = None
    timeout_ms: int | None = None
    timeout_at: str | None = Field(None, description="Left out when nothing will end its lease.")
    expires_at: str | None = Field(None, description="The same as timeout_at.")
    remaining_ms: int | None = None
    timeout_action: Action | None = None
    last_active_at: str | None = None
    inactivity_timeout_ms: int | None = None
    auto_delete_after_ms: int | None = None
    ephemeral: bool | None = None
    cwd: str | None = None
    snapshot_id: str | None = Field(None, description="Only while it is paused.")
    warm_pool_checkout: Checkout | None = None
    traffic_access_token: str | None = Field(
        None, description="Of one without public traffic: in the answer to its creation, and where `fields` names it."
    )


Masked = dict[str, Any]
"""What a field mask leaves of anything."""


class MachinePage(Answer):
    """A page of machines, or of what a field mask leaves of them."""

    items: list[dict[str, Any]]
    has_next: bool
    next_token: str | None = None


class Destroyed(Answer):
    """A machine that is gone."""

    id: str
    status: Literal["destroyed"]


class Lease(Answer):
    """How long a machine still has."""

    timeout_ms: int
    timeout_action: Action
    timeout_at: str | None = None
    remaining_ms: int | None = None


class Snapshot(Answer):
    """A snapshot, or a hibernation."""

    id: str
    machine_id: str
    size_bytes: int
    created_at: str
    metadata: dict[str, Any]


class ExecResult(Answer):
    """A command that has ended, or one in the background."""

    exit_code: int
    stdout: str
    stderr: str
    pid: int | None = None
    stdout_truncated: bool = Field(False, description="Only there if it is; Hutch's own, as the next.")
    stderr_truncated: bool = False


class Process(Answer):
    """A process in a machine."""

    pid: int
    command: str
    running: bool


class Logs(Answer):
    """What a process wrote."""

    stdout: str
    stderr: str
    output: str
    exit_code: int | None


class Metrics(Answer):
    """A machine at a moment. Traffic is what it received and sent since it last began to run."""

    timestamp: str
    cpu_percent: float
    cpu_count: int
    mem_used_bytes: int
    mem_total_bytes: int
    disk_used_bytes: int
    disk_total_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int


class File(Answer):
    """A path in a machine."""

    name: str
    path: str
    is_dir: bool
    size: int
    type: Literal["file", "dir", "symlink", "other"]
    mode: str
    permissions: str
    owner: str
    group: str
    modified_time: str
    symlink_target: str | None = None


class Content(Answer):
    """A file's content."""

    content: str
    encoding: Literal["utf8", "base64"]
    size: int


class Exists(Answer):
    """Whether a path is there."""

    exists: bool


class Match(Answer):
    """A line that holds what was looked for."""

    file: str
    line: int
    content: str


class Replaced(Answer):
    """What was put in place of a pattern."""

    replacements: int
    files_modified: int
    files_skipped: int
    binary_files_skipped: int


class Written(Answer):
    """What became of one file of several."""

    status: Literal["success", "error"]
    path: str
    info: File | None = None
    error: str | None = None


class BatchWritten(Answer):
    """What became of each."""

    results: list[Written]


class Attachment(Answer):
    """A volume's place in a machine."""

    id: str
    volume_id: str
    machine_id: str
    mount_path: str
    read_only: bool
    subpath: str | None
    state: Literal["requested", "mounted", "paused", "released", "failed"]
    created_at: str
    updated_at: str


class Pty(Answer):
    """A terminal."""

    session_id: str
    pid: int
    cols: int
    rows: int
    exec_id: str


class LifecycleEvent(Answer):
    """Something that happened to a machine."""

    id: str
    occurred_at: str
    audience: Literal["customer"]
    operation: str
    status: Literal["requested", "succeeded", "failed"]
    actor_kind: Literal["user", "system"]
    metadata: dict[str, Any]
    machine_id: str
    snapshot_id: str | None = None
    source_machine_id: str | None = None
    reason: str
    error_code: str | None = None
    error_message: str | None = None


class Events(Answer):
    """A page of them."""

    events: list[LifecycleEvent]
    offset: int
    limit: int
    has_more: bool


class Health(Answer):
    """The service answers."""

    status: Literal["ok"]
