"""Which machines' time is up. Pure; `keeper.py` asks every few moments and acts.

Everything is computed from the record, so timers survive a restart of the service and fire late rather than never.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hutch.control.policy import Verb
from hutch.model.machine import Machine
from hutch.model.states import State


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
    """What a machine's timers want done now; `is_used`: a call is using it at this moment."""
    timers = machine.timers
    if timers.lifetime is not None and now >= machine.created_at + timedelta(seconds=timers.lifetime):
        return Due(Verb.DELETE, f"its lifetime of {timers.lifetime} s is over")
    if timers.idle is None or is_used or machine.state is not State.RUNNING:
        return None
    if now >= _last_use(machine) + timedelta(seconds=timers.idle):
        return Due(Verb.STOP, f"not used for {timers.idle} s")
    return None


def _last_use(machine: Machine) -> datetime:
    moments = (machine.created_at, machine.ready_at, machine.last_activity_at)
    return max(moment for moment in moments if moment is not None)
