"""Sessions: what is kept from one command to the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hutch.model.ids import MachineId, SessionId


@dataclass(frozen=True, slots=True)
class Session:
    """A working directory and an environment, of one machine."""

    id: SessionId  # its own within the machine
    machine: MachineId
    cwd: str | None
    env: Mapping[str, str]
    created_at: datetime
    last_exec_at: datetime | None = None
