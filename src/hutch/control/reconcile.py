"""What to do about a machine whose record and host disagree: after a restart, or after a write that failed.

Pure. The host is the truth about what runs, the record about what should be; what was begun is finished where the host
got that far, and undone where it did not.
"""

from dataclasses import dataclass

from hutch.control.policy import Verb
from hutch.host.interface import HostMachine, Life
from hutch.model.kinds import Kind
from hutch.model.machine import Level
from hutch.model.states import State


@dataclass(frozen=True, slots=True)
class Finding:
    """The state to record (None: as it is), why, and what the owner has to do after that."""

    state: State | None = None
    message: str = ""
    reason: str | None = None  # of a failure
    level: Level = Level.INFO
    then: Verb | None = None
    again: bool = False  # the state is only on the way to another: look again
    kind: Kind = Kind.RECONCILED  # of the event, where the state stays


AGREED = Finding()
ADOPTED = Finding(message="adopted: it went on running while the service was away", kind=Kind.ADOPTED)
SETTLED = "what was under way when the service ended is settled"
CUT_SHORT = Finding(then=Verb.STOP, message="its stop was cut short: it is finished")


def find(recorded: State, real: HostMachine | None) -> Finding:
    """What to do about a machine recorded so, of which its host says this; None: the host does not know it."""
    match recorded:
        case State.CREATING:
            return Finding(then=Verb.DELETE, message="its creation was cut short: it is removed", level=Level.WARNING)
        case State.DESTROYING:
            return Finding(then=Verb.DELETE, message="its deletion was cut short: it is finished")
        case State.DESTROYED:
            return AGREED
    if real is None:
        return _missing(recorded)
    match real.life:
        case Life.RUNNING:
            return _running(recorded)
        case Life.PAUSED:
            return _paused(recorded)
        case Life.SUSPENDED:
            return _suspended(recorded)
        case Life.STOPPED:
            return _stopped(recorded)
        case Life.FAILED:
            return _failed(recorded, real.reason or "its process died")


def _missing(recorded: State) -> Finding:
    if recorded in (State.FAILED, State.LOST):
        return AGREED
    return _failure("the host does not have it any more: its disk is gone; delete it and make it anew")


def _running(recorded: State) -> Finding:
    match recorded:
        case State.RUNNING:
            return ADOPTED
        case State.STARTING | State.PAUSING | State.PAUSED | State.SUSPENDING | State.LOST:
            return Finding(State.RUNNING, f"running: {SETTLED}")
        case State.SUSPENDED:
            return Finding(State.STARTING, "it runs though its record says suspended", again=True)
        case _:
            return _to_be_stopped(recorded)


def _paused(recorded: State) -> Finding:
    match recorded:
        case State.PAUSED:
            return AGREED
        case State.PAUSING | State.SUSPENDING | State.STARTING | State.LOST:
            return Finding(State.PAUSED, f"paused: {SETTLED}")
        case State.RUNNING:
            return Finding(State.PAUSING, "it is paused though its record says running", again=True)
        case State.SUSPENDED:
            return Finding(State.STARTING, "it is paused though its record says suspended", again=True)
        case _:
            return _to_be_stopped(recorded)


def _to_be_stopped(recorded: State) -> Finding:
    if recorded is State.STOPPED:
        return Finding(State.STARTING, "it runs though its record says stopped: it is stopped", then=Verb.STOP)
    return CUT_SHORT


def _suspended(recorded: State) -> Finding:
    match recorded:
        case State.SUSPENDED:
            return AGREED
        case State.RUNNING | State.PAUSED:
            return Finding(State.SUSPENDING, f"it is suspended though its record says {recorded}", again=True)
        case State.PAUSING:
            return Finding(State.PAUSED, "it is suspended though its record says pausing", again=True)
        case _:
            return Finding(State.SUSPENDED, f"suspended: {SETTLED}")


def _stopped(recorded: State) -> Finding:
    match recorded:
        case State.STOPPED | State.FAILED:
            return AGREED
        case State.STARTING:
            return Finding(State.STOPPED, "stopped: its start was cut short", level=Level.WARNING)
        case State.SUSPENDED:
            return Finding(State.STOPPED, "stopped: its memory is gone, its disk is kept", level=Level.WARNING)
        case State.STOPPING:
            return CUT_SHORT
        case State.LOST:
            return Finding(State.STOPPED, "stopped")
        case State.RUNNING | State.PAUSED:
            return Finding(State.STOPPING, "it shut down while the service was away", then=Verb.STOP)
        case _:
            return _failure("it shut down in the middle of something else")


def _failed(recorded: State, reason: str) -> Finding:
    match recorded:
        case State.STOPPED | State.FAILED:
            return AGREED
        case State.STOPPING:
            return CUT_SHORT
        case _:
            return _failure(reason)


def _failure(reason: str) -> Finding:
    return Finding(State.FAILED, f"failed: {reason}", reason=reason, level=Level.ERROR)
