"""Jobs: commands with a record that outlives their caller and their machine's stops."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hutch.model.ids import MachineId


class JobState(StrEnum):
    """Where a job is."""

    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"  # its machine was stopped or failed, and nobody saw it end


@dataclass(frozen=True, slots=True)
class Job:
    """One job."""

    id: str
    machine: MachineId
    command: tuple[str, ...]
    state: JobState
    created_at: datetime
    finished_at: datetime | None = None
    exit_code: int | None = None  # 143 when it was cancelled, 124 after its time limit
    stdout_bytes: int = 0
    stderr_bytes: int = 0
