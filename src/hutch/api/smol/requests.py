"""What the smol dialect reads: the bodies of its requests.

As the documented service does, unknown fields are dropped and wrong types are refused. A field that is known but cannot
act here is declared, so that `parse` can refuse it by name instead of ignoring it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


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
    """What a machine is made of."""

    type: Literal["image", "smolmachine"]
    reference: str


class Resources(Body):
    """What a machine is given; what is left out, the service's settings decide."""

    cpus: U32 | None = None
    memory_mb: U32 | None = None
    disk_gb: U32 | None = None
    disk_durability: Literal["full", "deferred"] | None = None


class Network(Body):
    """What a machine may reach."""

    mode: Literal["blocked", "open", "allowCidrs"]
    cidrs: list[str] = []
    hosts: list[str] = []


class CreateMachine(Body):
    """A machine to make."""

    source: Source
    name: str | None = None
    resources: Resources | None = None
    network: Network | None = None
    env: Environment | None = None
    workdir: str | None = None
    command: list[str] | None = None
    labels: dict[str, str] | None = None
    auto_stop_seconds: U32 | None = None
    ttl_seconds: U32 | None = None
    ephemeral: bool | None = None
    branchable: bool | None = None
    forkable: bool | None = None
    mounts: list[dict[str, Any]] | None = None
    ports: list[dict[str, Any]] | None = None
    credentials: list[str] | None = None
    cache_disk: dict[str, Any] | None = None


class Terminal(Body):
    """A terminal's size in characters."""

    cols: Annotated[int, Field(ge=1, le=65535)]
    rows: Annotated[int, Field(ge=1, le=65535)]


class Exec(Body):
    """A command to run. `stdinB64`, `interactive` and `terminal` are native extensions."""

    command: CommandSpec
    env: Environment | None = None
    cwd: str | None = None
    timeout_seconds: U32 | None = None
    user: str | None = None
    stdin: str | None = None
    stdin_b64: Annotated[str | None, Field(alias="stdinB64")] = None
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


ALL = (CreateMachine, Exec, Code, CreateKey, Signal, PullImage)
"""For the OpenAPI document."""
