"""The states of this dialect, as its document names them. Pure."""

from collections.abc import Mapping
from typing import Literal, get_args

from hutch.control.building.workbench import LABEL
from hutch.model.builds import BuildState
from hutch.model.machine import Machine
from hutch.model.states import State

VMState = Literal["building", "starting", "running", "suspending", "suspended", "stopped", "lost"]
STATES_SHOWN: tuple[VMState, ...] = get_args(VMState)

STATES: Mapping[State, VMState] = {
    State.CREATING: "starting",
    State.STOPPED: "stopped",
    State.STARTING: "starting",
    State.RUNNING: "running",
    State.PAUSING: "suspending",
    State.PAUSED: "suspended",  # its memory is in the host's RAM; a use lets it go on just as well
    State.SUSPENDING: "suspending",
    State.SUSPENDED: "suspended",
    State.STOPPING: "running",
    State.DESTROYING: "stopped",
    State.DESTROYED: "stopped",
    State.FAILED: "stopped",  # it may be started again
    State.LOST: "lost",
}

ShownBuildState = Literal["pending", "running", "succeeded", "failed"]

BUILD_STATES: Mapping[BuildState, ShownBuildState] = {
    BuildState.PENDING: "pending",
    BuildState.RUNNING: "running",
    BuildState.SUCCEEDED: "succeeded",
    BuildState.FAILED: "failed",
    BuildState.CANCELLED: "failed",
    BuildState.LOST: "failed",
}


def state(it: Machine) -> VMState:
    """A machine's; one that something is built in is building for as long as it is there."""
    is_up = it.state not in (State.DESTROYED, State.LOST)
    return "building" if is_up and LABEL in it.labels else STATES[it.state]
