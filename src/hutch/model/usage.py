"""What a tenant, or one machine, has used in a period."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over a period. A running second counts with all vCPUs and all memory the machine was given."""

    uptime_seconds: float = 0.0
    cpu_hours: float = 0.0
    memory_gib_hours: float = 0.0
    disk_gib_hours: float = 0.0  # allotted, from creation to deletion
    machines: int = 0  # that existed in the period
    execs: int = 0
    exec_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Usage from `start` (inclusive) to `end` (exclusive)."""

    start: datetime
    end: datetime
    usage: Usage
