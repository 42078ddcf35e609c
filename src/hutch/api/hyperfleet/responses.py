"""What the hyperfleet dialect answers, for the OpenAPI document and for tests: `present` writes it as plain dicts.

What there is only while a machine has a process is left out otherwise.
"""

from pydantic import BaseModel, ConfigDict, Field

from hutch.api.hyperfleet.states import Status


class Answer(BaseModel):
    """Nothing beyond what is declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cause(Answer):
    """What went wrong."""

    code: str
    message: str


class Error(Answer):
    """An error."""

    error: Cause


class ListedMachine(Answer):
    """A machine in a list."""

    id: str
    name: str
    status: Status
    vcpu_count: int
    mem_size_mib: int
    created_at: str


class Machine(ListedMachine):
    """A machine."""

    kernel_image_path: str
    kernel_args: str
    rootfs_path: str
    exposed_ports: list[int]
    updated_at: str
    socket_path: str | None = Field(None, description="Only while it has a process, as the next five.")
    tap_device: str | None = None
    tap_ip: str | None = None
    guest_ip: str | None = None
    guest_mac: str | None = None
    pid: int | None = None
    error_message: str | None = Field(None, description="Only of one that has failed.")


class Machines(Answer):
    """A page of machines; `total` counts all that were meant."""

    machines: list[ListedMachine]
    total: int


class ExecResult(Answer):
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str


class Written(Answer):
    """A file was written."""

    success: bool
    bytes_written: int


class Content(Answer):
    """A file's content, in base64."""

    content: str
    size: int


class Stat(Answer):
    """A path in a machine."""

    path: str
    size: int
    mode: int = Field(description="Permission bits.")
    mod_time: str
    is_dir: bool


class Health(Answer):
    """How the service is."""

    status: str
