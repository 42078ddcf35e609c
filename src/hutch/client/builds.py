"""Builds and services as the API tells of them: frozen dataclasses, and how its JSON is read. Pure."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hutch.client import errors, wire
from hutch.client.wire import Json

ENDED = frozenset({"succeeded", "failed", "cancelled", "lost"})
"""States of a build that is over."""


@dataclass(frozen=True)
class Build:
    """A build; `snapshot` is what it makes: it is there once the state is succeeded."""

    id: str
    request: str
    state: str  # pending, running, succeeded, failed, cancelled or lost
    snapshot: str
    name: str | None
    recipe: str  # the hash of the outermost layer
    planned: Sequence[str]  # the names of its phases, in order
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    reason: str | None


@dataclass(frozen=True)
class Phase:
    """Something a build has begun; the last one is what it is doing."""

    id: str
    name: str
    started_at: datetime
    snapshot: str | None = None  # of the layer it made or found


@dataclass(frozen=True)
class Output:
    """What a build's commands have written."""

    data: bytes


BuildEvent = Phase | Output | Build


@dataclass(frozen=True)
class ServiceStatus:
    """What systemd says of a service, in its words."""

    name: str
    active: str  # active, inactive, failed, activating …
    sub: str  # running, dead, exited …
    load: str  # loaded, not-found, masked …
    description: str


@dataclass(frozen=True)
class JournalLine:
    """A line of a service's journal."""

    message: str
    at: datetime
    priority: int | None = None  # of syslog: 0 to 7
    unit: str | None = None


@dataclass(frozen=True)
class ServiceResult:
    """What became of one of several services."""

    name: str
    done: bool
    message: str


def path(build_id: str, *rest: str) -> str:
    """The path of a build, or of something below it."""
    return "/".join(("/v1/builds", wire.segment(build_id), *rest))


def service_path(machine: str, name: str, *rest: str) -> str:
    """The path of a machine's service, or of something below it."""
    return wire.part_path(machine, "services", name, *rest)


def build(data: Json) -> Build:
    """A build."""
    return Build(
        id=data["id"],
        request=data["requestId"],
        state=data["state"],
        snapshot=data["checkpointId"],
        name=data["name"],
        recipe=data["recipe"],
        planned=data["planned"],
        started_at=wire.time(data["startedAt"]),
        updated_at=wire.time(data["updatedAt"]),
        finished_at=wire.maybe_time(data["finishedAt"]),
        reason=data["reason"],
    )


def phase(data: Json) -> Phase:
    """A phase."""
    return Phase(data["id"], data["name"], wire.time(data["startedAt"]), data["checkpointId"])


def event(name: str, data: str) -> BuildEvent:
    """An event of a build's log. Raises `ApiError` for `error`."""
    if name == "error":
        raise errors.ApiError(500, data)
    told = json.loads(data)
    if name == "output":
        return Output(base64.b64decode(told["dataB64"]))
    return phase(told) if name == "phase" else build(told)


def service_status(data: Json) -> ServiceStatus:
    """A service."""
    return ServiceStatus(data["name"], data["active"], data["sub"], data["load"], data["description"])


def journal_line(data: Json) -> JournalLine:
    """A line of a journal."""
    return JournalLine(data["message"], wire.time(data["at"]), data["priority"], data["unit"])


def service_result(data: Json) -> ServiceResult:
    """What became of a service."""
    return ServiceResult(data["name"], data["done"], data["message"])
