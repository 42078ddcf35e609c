"""Which machines' time is up. Pure; `keeper.py` asks every few moments and acts.

Everything is computed from the record, so timers survive a restart of the service and fire late rather than never.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hutch.control.policy import Verb
from hutch.model.machine import Machine, TimerAction
from hutch.model.states import State

VERBS = {TimerAction.STOP: Verb.STOP, TimerAction.SUSPEND: Verb.SUSPEND, TimerAction.DESTROY: Verb.DELETE}


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done to a machine, and why."""

    verb: Verb
    cause: str


@dataclass(frozen=True, slots=True)
class Remaining:
    """Seconds until each timer of a machine fires, as things stand; None: it will not. 0: it is due."""

    idle: float | None = None
    lifetime: float | None = None
    suspended: float | None = None


def find_due(machine: Machine, now: datetime, is_used: bool) -> Due | None:
    """What a machine's timers want done now; `is_used`: a call is using it at this moment. What destroys goes first."""
    left, timers = find_remaining(machine, now, is_used), machine.timers
    due = []
    if left.lifetime == 0:
        due.append(Due(VERBS[timers.lifetime_action], f"its lifetime of {timers.lifetime} s is over"))
    if left.idle == 0:
        due.append(Due(VERBS[timers.idle_action], f"not used for {timers.idle} s"))
    if left.suspended == 0:
        due.append(Due(Verb.DELETE, f"suspended for {timers.suspended} s"))
    return min(due, key=lambda it: it.verb is not Verb.DELETE, default=None)


def find_remaining(machine: Machine, now: datetime, is_used: bool) -> Remaining:
    """How long until each of them fires."""
    timers = machine.timers
    idle = last_use(machine) if machine.state is State.RUNNING else None
    return Remaining(
        idle=_left(now if is_used and idle is not None else idle, timers.idle, now),
        lifetime=_left(_lifetime_began(machine) if _has_deadline(machine) else None, timers.lifetime, now),
        suspended=_left(machine.suspended_at if machine.state is State.SUSPENDED else None, timers.suspended, now),
    )


def needs_look(machine: Machine, looked_at: datetime | None, now: datetime) -> bool:
    """Whether it is to be found out now if what a machine has received and sent was a use of it.

    Four times in its idle time, and once when that is over: before it ends, all of its traffic has been seen.
    """
    its = machine.timers
    if machine.state is not State.RUNNING or its.idle is None or its.idle_bytes is None:
        return False
    if looked_at is None or not timedelta() <= now - looked_at < timedelta(seconds=its.idle / 4):
        return True
    return looked_at < last_use(machine) + timedelta(seconds=its.idle) <= now


def last_use(machine: Machine) -> datetime:
    """When it was last used, as far as is known."""
    moments = (machine.created_at, machine.ready_at, machine.last_activity_at)
    return max(moment for moment in moments if moment is not None)


def find_deadline(machine: Machine) -> datetime | None:
    """When its lifetime ends, whether or not that still means something to it."""
    lifetime = machine.timers.lifetime
    return None if lifetime is None else _lifetime_began(machine) + timedelta(seconds=lifetime)


def _lifetime_began(machine: Machine) -> datetime:
    return machine.timers.since or machine.created_at


def _has_deadline(machine: Machine) -> bool:
    """Whether the end of its lifetime still means something to it.

    It is destroyed in any state. Stopped or suspended is what has been running since before; who starts it again
    after that has it.
    """
    timers = machine.timers
    if timers.lifetime is None or timers.lifetime_action is TimerAction.DESTROY:
        return True
    deadline = find_deadline(machine)
    assert deadline is not None
    is_up = machine.state in (State.RUNNING, State.PAUSED)
    return is_up and (machine.ready_at is None or machine.ready_at < deadline)


def _left(since: datetime | None, seconds: int | None, now: datetime) -> float | None:
    if since is None or seconds is None:
        return None
    return max(0.0, (since + timedelta(seconds=seconds) - now).total_seconds())
