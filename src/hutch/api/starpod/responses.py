"""What the starpod dialect answers, for the OpenAPI document and for tests: `present` writes it as plain dicts.

Times are Unix seconds. The documented client takes integers only where these are declared.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["creating", "running", "paused", "stopped", "error"]


class Answer(BaseModel):
    """Nothing beyond what is declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Error(Answer):
    """What went wrong."""

    error: str


class InstanceHealth(Answer):
    """How an instance fares, as its guest says."""

    cpu_percent: float = Field(description="Of all its vCPUs, 0 to 100, since the last look.")
    memory_mb: int
    disk_mb: int
    last_heartbeat: int = Field(description="When the guest last answered.")
    uptime_secs: int = Field(description="Since it last began to run: booted, or woken.")


class Instance(Answer):
    """An instance."""

    id: str
    name: str | None
    status: Status
    region: str | None
    created_at: int
    updated_at: int
    health: InstanceHealth | None = Field(description="Null of one that does not run, or did not answer quickly.")


class Paused(Answer):
    """It is paused."""

    status: Literal["paused"]


class Restarted(Answer):
    """It runs again."""

    status: Literal["restarted"]


class LogLine(Answer):
    """One line of a log."""

    timestamp: int
    level: Literal["info", "warning", "error"]
    message: str


class Health(Answer):
    """How the service is."""

    status: str
    version: str
