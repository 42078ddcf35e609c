"""What the freestyle dialect reads of work inside a VM."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hutch.api.freestyle.requests import Amount, Body
from hutch.api.freestyle.units import SystemdUnitSpec

Side = Annotated[int, Field(ge=1, le=65535)]


class ExecAwait(Body):
    """A line for the shell; in the terminal of this name, if it has one."""

    command: str
    terminal: str | None = None
    timeout_ms: Amount | None = None


class WriteFile(Body):
    """A file's whole content."""

    content: str
    encoding: Literal["utf8", "utf-8", "base64"] | None = None


class ServiceId(Body):
    """A service."""

    id: str


class BatchService(Body):
    """Services that something is done to."""

    services: list[ServiceId]


class PtyOpening(BaseModel):
    """A terminal to open, in the query."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    cols: Side = 80
    rows: Side = 24
    exec: Annotated[str, Field(min_length=1)] | None = None
    session_id: str | None = Field(None, alias="sessionId")


class PtySize(Body):
    """Another size."""

    type: Literal["resize"]
    cols: Side
    rows: Side


class PtySignal(Body):
    """A signal, by its name."""

    type: Literal["signal"]
    signal: str


ALL: tuple[type[BaseModel], ...] = (ExecAwait, WriteFile, BatchService, SystemdUnitSpec)
"""For the OpenAPI document."""
