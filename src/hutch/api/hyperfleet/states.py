"""The states of this dialect, as its document names them, and in which of ours each verb is allowed. Pure."""

from collections.abc import Mapping
from typing import Literal, get_args

from hutch.model.machine import Machine
from hutch.model.states import State

Status = Literal["pending", "starting", "running", "paused", "stopping", "stopped", "failed"]
STATUSES: tuple[str, ...] = get_args(Status)

STATES: Mapping[State, Status] = {
    State.CREATING: "pending",
    State.STOPPED: "stopped",  # or pending, as long as it never ran
    State.STARTING: "starting",
    State.RUNNING: "running",
    State.PAUSING: "running",
    State.PAUSED: "paused",
    State.SUSPENDING: "running",
    State.SUSPENDED: "paused",
    State.STOPPING: "stopping",
    State.DESTROYING: "stopping",
    State.DESTROYED: "stopped",
    State.FAILED: "failed",
    State.LOST: "failed",
}

_ASLEEP = frozenset({State.PAUSED, State.SUSPENDED})

ALLOWED: Mapping[str, frozenset[State]] = {
    "start": frozenset({State.STOPPED}),
    "stop": _ASLEEP | {State.RUNNING},
    "restart": frozenset({State.RUNNING}),
    "pause": frozenset({State.RUNNING}),
    "resume": _ASLEEP,
    "delete": frozenset({State.CREATING, State.STOPPED, State.FAILED, State.LOST}),
}
"""The documented matrix: anywhere else a verb is a 400."""


def status(it: Machine) -> Status:
    """A machine's status. One that never ran is `pending`."""
    return "pending" if it.state is State.STOPPED and it.ready_at is None else STATES[it.state]
