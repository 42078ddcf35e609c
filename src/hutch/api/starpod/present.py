"""From the service's nouns to the starpod dialect's JSON. Pure; `responses` has the same shapes for the documents."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import to_json

from hutch.api.starpod import parse, refs
from hutch.api.starpod.responses import Status
from hutch.control.logbook import Line
from hutch.control.vitals import Vital
from hutch.model.machine import Machine
from hutch.model.states import State

STATES: Mapping[State, Status] = {
    State.CREATING: "creating",
    State.STOPPED: "stopped",
    State.STARTING: "creating",
    State.RUNNING: "running",
    State.PAUSING: "running",
    State.PAUSED: "paused",
    State.SUSPENDING: "running",
    State.SUSPENDED: "paused",
    State.STOPPING: "running",
    State.DESTROYING: "stopped",
    State.DESTROYED: "stopped",
    State.FAILED: "error",
    State.LOST: "error",
}

_MIB = 2**20


def status(it: Machine) -> Status:
    """A machine's status."""
    return STATES[it.state]


def health(it: Vital) -> dict[str, Any]:
    """How a machine fares."""
    return {
        "cpu_percent": round(it.cpu_percent, 1),
        "memory_mb": round(it.memory_used / _MIB),
        "disk_mb": round(it.disk_used / _MIB),
        "last_heartbeat": int(it.answered_at.timestamp()),
        "uptime_secs": int(it.uptime),
    }


def instance(it: Machine, region: str, vital: Vital | None) -> dict[str, Any]:
    """A machine."""
    return {
        "id": refs.INSTANCE + it.id,
        "name": it.labels.get(parse.DISPLAY_NAME, it.name),
        "status": status(it),
        "region": region,
        "created_at": int(it.created_at.timestamp()),
        "updated_at": int(it.updated_at.timestamp()),
        "health": None if vital is None else health(vital),
    }


def log(lines: Iterable[Line]) -> bytes:
    """Lines of a log, each a JSON object on a line of its own."""
    shown = ({"timestamp": int(it.at), "level": it.level.value, "message": it.text} for it in lines)
    return b"".join(to_json(it) + b"\n" for it in shown)
