"""Sessions, jobs, volumes, usage, tenants, domains, webhooks: frozen dataclasses, and how the API's JSON is read. Pure.

Sizes are in the unit their name says, times in UTC. Machines and what is run in them are in `models` and `wire`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from hutch.client import errors, wire
from hutch.client.wire import Json


@dataclass(frozen=True)
class Session:
    """A working directory and variables, kept from one command to the next."""

    id: str
    machine: str
    cwd: str | None
    env: Mapping[str, str]
    created_at: datetime
    last_exec_at: datetime | None


@dataclass(frozen=True)
class Job:
    """A command that runs on when its caller has gone."""

    id: str
    machine: str
    command: Sequence[str]
    state: str  # running, exited or lost
    created_at: datetime
    finished_at: datetime | None
    exit_code: int | None  # 143 when it was cancelled, 124 after its time limit
    stdout_bytes: int
    stderr_bytes: int


@dataclass(frozen=True)
class JobOutput:
    """A page of one of a job's streams; `offset` is where it really begins, `next_offset` where to go on."""

    data: bytes
    offset: int
    next_offset: int
    eof: bool


@dataclass(frozen=True)
class Volume:
    """A disk that outlives machines."""

    id: str
    name: str
    size_gb: int
    status: str  # available or attached
    machines: Sequence[str]  # that mount it, running or not
    created_at: datetime


@dataclass(frozen=True)
class Usage:
    """What was used from `start` (inclusive) to `end` (exclusive), by a tenant or one machine."""

    start: datetime
    end: datetime
    uptime_seconds: float
    cpu_hours: float
    memory_gb_hours: float
    disk_gb_hours: float
    execs: int
    exec_seconds: float
    machines: int | None = None  # of a tenant: those that existed in the period
    egress_gb: float = 0.0  # what machines have sent


@dataclass(frozen=True)
class Limits:
    """The most a tenant may have at once; None: as much as the box has."""

    machines: int | None = None
    running_machines: int | None = None
    cpus: int | None = None  # of running machines in all, as is memory
    memory_mb: int | None = None
    disk_gb: int | None = None  # of all machines and volumes
    volumes: int | None = None
    checkpoints: int | None = None
    requests_per_second: float | None = None  # of each key, execs not counted; None: the service's default, 0: no limit


@dataclass(frozen=True)
class Tenant:
    """Who owns machines and keys; nobody sees another tenant's."""

    id: str
    name: str
    status: str  # active or suspended
    limits: Limits
    created_at: datetime


@dataclass(frozen=True)
class Domain:
    """A name and where it leads, once it is verified: by `proof` in the TXT record or in the file."""

    name: str
    machine: str
    port: int
    verified_at: datetime | None
    created_at: datetime
    record_name: str
    file_url: str
    proof: str


@dataclass(frozen=True)
class Webhook:
    """An HTTP endpoint that is told of events. `secret` only of one that was made just now."""

    id: str
    url: str
    kinds: Sequence[str]  # none: all
    enabled: bool
    description: str
    created_at: datetime
    secret: str | None = None

    def __repr__(self) -> str:
        return f"Webhook({self.id!r}, {self.url!r})"


@dataclass(frozen=True)
class Delivery:
    """One event on its way to a webhook."""

    id: str
    event: str
    kind: str
    state: str  # pending, delivered or failed
    attempts: int
    status_code: int | None
    error: str | None
    created_at: datetime
    delivered_at: datetime | None
    next_attempt_at: datetime | None


@dataclass(frozen=True)
class FileChange:
    """Something that happened to a file or a directory."""

    kind: str  # created, written, removed, renamed or changed
    path: str
    directory: bool


@dataclass(frozen=True)
class Stats:
    """How a machine fares, as its own kernel says. Memory is in bytes."""

    cpu_percent: float  # of all its vCPUs, 0 to 100
    memory_total: int
    memory_used: int
    memory_available: int
    at: datetime


_LIMITS = {
    "machines": "machines",
    "running_machines": "runningMachines",
    "cpus": "cpus",
    "memory_mb": "memoryMb",
    "disk_gb": "diskGb",
    "volumes": "volumes",
    "checkpoints": "checkpoints",
    "requests_per_second": "requestsPerSecond",
}


def session(data: Json) -> Session:
    """A session."""
    return Session(
        id=data["id"],
        machine=data["machineId"],
        cwd=data["cwd"],
        env=data["env"],
        created_at=wire.time(data["createdAt"]),
        last_exec_at=wire.maybe_time(data["lastExecAt"]),
    )


def job(data: Json) -> Job:
    """A job."""
    return Job(
        id=data["id"],
        machine=data["machineId"],
        command=data["command"],
        state=data["state"],
        created_at=wire.time(data["createdAt"]),
        finished_at=wire.maybe_time(data["finishedAt"]),
        exit_code=data["exitCode"],
        stdout_bytes=data["stdoutBytes"],
        stderr_bytes=data["stderrBytes"],
    )


def job_output(data: Json) -> JobOutput:
    """A page of a job's output."""
    return JobOutput(base64.b64decode(data["dataB64"]), data["offset"], data["nextOffset"], data["eof"])


def volume(data: Json) -> Volume:
    """A volume."""
    return Volume(
        id=data["id"],
        name=data["name"],
        size_gb=data["sizeGb"],
        status=data["status"],
        machines=data["machineIds"],
        created_at=wire.time(data["createdAt"]),
    )


def usage(data: Json) -> Usage:
    """A tenant's usage, or a machine's, whose sums are one level down."""
    sums: Mapping[str, Any] = data.get("usage", data)
    return Usage(
        start=wire.time(data["from"]),
        end=wire.time(data["to"]),
        uptime_seconds=sums["totalUptimeSeconds"],
        cpu_hours=sums["cpuHours"],
        memory_gb_hours=sums["memoryGbHours"],
        disk_gb_hours=sums["diskGbHours"],
        execs=sums["execCount"],
        exec_seconds=sums["execDurationMs"] / 1000,
        machines=data.get("machineCount"),
        egress_gb=sums["egressGb"],
    )


def limits(it: Limits) -> Json:
    """Limits for the body of a request: all of them, null where there is none."""
    return {_LIMITS[field.name]: getattr(it, field.name) for field in fields(it)}


def tenant(data: Json) -> Tenant:
    """A tenant."""
    return Tenant(
        id=data["id"],
        name=data["name"],
        status=data["status"],
        limits=Limits(**{ours: data["limits"][theirs] for ours, theirs in _LIMITS.items()}),
        created_at=wire.time(data["createdAt"]),
    )


def domain(data: Json) -> Domain:
    """A domain."""
    return Domain(
        name=data["name"],
        machine=data["machineId"],
        port=data["port"],
        verified_at=None if data["verifiedAt"] is None else wire.time(data["verifiedAt"]),
        created_at=wire.time(data["createdAt"]),
        record_name=data["record"]["name"],
        file_url=data["file"]["url"],
        proof=data["record"]["value"],
    )


def webhook(data: Json) -> Webhook:
    """A webhook."""
    return Webhook(
        id=data["id"],
        url=data["url"],
        kinds=data["kinds"],
        enabled=data["enabled"],
        description=data["description"],
        created_at=wire.time(data["createdAt"]),
        secret=data.get("secret"),
    )


def change_event(name: str, data: str) -> FileChange:
    """An event of a watch. Raises `ApiError` for `error`."""
    if name == "error":
        raise errors.ApiError(500, data)
    told = json.loads(data)
    return FileChange(told["kind"], told["path"], told["directory"])


def stats(data: Json) -> Stats:
    """How a machine fares."""
    memory = (data["memoryTotalBytes"], data["memoryUsedBytes"], data["memoryAvailableBytes"])
    return Stats(data["cpuPercent"], *memory, wire.time(data["at"]))


def stats_event(data: str) -> Stats:
    """An event of a stream of them."""
    return stats(json.loads(data))


def delivery(data: Json) -> Delivery:
    """A delivery."""
    return Delivery(
        id=data["id"],
        event=data["eventId"],
        kind=data["kind"],
        state=data["state"],
        attempts=data["attempts"],
        status_code=data["statusCode"],
        error=data["error"],
        created_at=wire.time(data["createdAt"]),
        delivered_at=wire.maybe_time(data["deliveredAt"]),
        next_attempt_at=wire.maybe_time(data["nextAttemptAt"]),
    )
