"""What a tenant, or one machine, has used in a period; and what it is summed from."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from hutch.model.ids import MachineId, TenantId


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over a period. A running second counts with all vCPUs and all memory the machine was given.

    A paused second counts with its memory only; on its way from one state to another a machine costs its disk alone.
    """

    uptime_seconds: float = 0.0
    cpu_hours: float = 0.0
    memory_gib_hours: float = 0.0
    disk_gib_hours: float = 0.0  # allotted to machines and volumes, from creation to deletion
    machines: int = 0  # that existed in the period
    execs: int = 0  # by the minute they ended in
    exec_seconds: float = 0.0
    sent_bytes: int = 0  # by machines, to wherever; by the minute in which it was counted


@dataclass(frozen=True, slots=True)
class Report:
    """Usage from `start` (inclusive) to `end` (exclusive)."""

    start: datetime
    end: datetime
    usage: Usage


class Charge(StrEnum):
    """What an interval is charged for."""

    RUNNING = "running"  # uptime, vCPUs and memory
    PAUSED = "paused"  # memory
    DISK = "disk"  # of a machine
    VOLUME = "volume"
    POOL = "pool"  # memory of the ready members of a pool


@dataclass(frozen=True, slots=True)
class Rate:
    """What one second of an interval costs."""

    cpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which something was charged at one rate. An open one goes on; `until` is then its last heartbeat."""

    subject: str  # the id of a machine, a volume or a pool
    tenant: TenantId
    charge: Charge
    start: datetime
    until: datetime
    is_open: bool
    rate: Rate


@dataclass(frozen=True, slots=True)
class Day:
    """What was used on one day, in UTC, of which the intervals and counts are kept no more.

    Of one machine, volume or pool; or, `subject` empty, of all of a tenant's that were deleted long ago.
    """

    tenant: TenantId
    subject: str
    day: datetime
    uptime_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_mib_seconds: float = 0.0
    disk_gib_seconds: float = 0.0
    machines: int = 0  # 1 where a machine was there on this day
    begun: int = 0  # without a subject: machines of which this is the first day, …
    ended: int = 0  # … or the last
    execs: int = 0
    exec_seconds: float = 0.0
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """A change of what something is charged for: intervals that end, and others that begin.

    `ended_at` None: they end at their last heartbeat, because nobody saw the true end.
    """

    subject: str
    ends: frozenset[Charge]
    ended_at: datetime | None
    begins: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class ExecCount:
    """Execs of one machine that ended within one minute, and what it sent, seen by one run of the meter."""

    machine: MachineId
    tenant: TenantId
    minute: datetime
    run: str  # a count replaces what the same run has counted of this minute before: writing it again changes nothing
    count: int
    seconds: float
    sent_bytes: int = 0


def floor_day(moment: datetime) -> datetime:
    """Midnight, UTC, of the day it is in."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
