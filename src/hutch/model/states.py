"""The states of a machine and the one table of legal transitions between them."""

from enum import StrEnum

from hutch.model import errors


class State(StrEnum):
    """Where a machine is in its life."""

    CREATING = "creating"  # the record exists, the host is making its disk
    STOPPED = "stopped"  # disk kept, no memory, no process
    STARTING = "starting"  # an image is fetched, a template made, or a process restored
    RUNNING = "running"  # the agent has answered
    PAUSING = "pausing"  # on its way to paused
    PAUSED = "paused"  # memory kept in the host's RAM, no CPU
    SUSPENDING = "suspending"  # its memory is being written to disk
    SUSPENDED = "suspended"  # memory and disk kept on disk, nothing in RAM
    STOPPING = "stopping"  # shutting down
    DESTROYING = "destroying"  # being removed, disk and all
    DESTROYED = "destroyed"  # gone; the record stays for usage and events, and for who has it made anew
    FAILED = "failed"  # died or could not start; the reason says why; may be started again or destroyed
    LOST = "lost"  # its host is gone


S = State

TRANSITIONS: dict[State, frozenset[State]] = {
    S.CREATING: frozenset({S.STOPPED, S.SUSPENDED, S.RUNNING, S.FAILED, S.DESTROYING}),
    S.STOPPED: frozenset({S.STARTING, S.SUSPENDED, S.DESTROYING, S.FAILED}),
    S.STARTING: frozenset({S.RUNNING, S.PAUSED, S.STOPPED, S.SUSPENDED, S.FAILED, S.DESTROYING, S.LOST}),
    S.RUNNING: frozenset({S.PAUSING, S.SUSPENDING, S.STOPPING, S.DESTROYING, S.FAILED, S.LOST}),
    S.PAUSING: frozenset({S.PAUSED, S.RUNNING, S.FAILED, S.DESTROYING, S.LOST}),
    S.PAUSED: frozenset({S.RUNNING, S.SUSPENDING, S.STOPPING, S.DESTROYING, S.FAILED, S.LOST}),
    S.SUSPENDING: frozenset({S.SUSPENDED, S.RUNNING, S.PAUSED, S.FAILED, S.DESTROYING, S.LOST}),
    S.SUSPENDED: frozenset({S.STARTING, S.STOPPED, S.DESTROYING, S.FAILED}),
    S.STOPPING: frozenset({S.STOPPED, S.SUSPENDED, S.FAILED, S.DESTROYING, S.LOST}),
    S.DESTROYING: frozenset({S.DESTROYED, S.FAILED, S.LOST}),
    S.DESTROYED: frozenset({S.CREATING}),
    S.FAILED: frozenset({S.STARTING, S.STOPPED, S.SUSPENDED, S.DESTROYING}),
    S.LOST: frozenset({S.RUNNING, S.PAUSED, S.STOPPED, S.SUSPENDED, S.FAILED, S.DESTROYING}),
}

TRANSIENT = frozenset({S.CREATING, S.STARTING, S.PAUSING, S.SUSPENDING, S.STOPPING, S.DESTROYING})

KEEPS_MEMORY = frozenset({S.RUNNING, S.PAUSING, S.PAUSED, S.SUSPENDING, S.SUSPENDED})
"""What was in memory is there, or will be again: processes go on."""


def check_transition(machine: str, current: State, target: State) -> None:
    """Raise `IllegalTransition`, naming both states, unless the table allows it."""
    if target not in TRANSITIONS[current]:
        raise errors.IllegalTransition(f"machine {machine} is {current} and cannot become {target}")
