"""What a machine's owner does with a request, decided from where the machine is. Pure.

One task owns a machine; requests wait in its queue. Only what ends a machine jumps it, and interrupts what is on.
"""

from enum import Enum, auto

from hutch.host.machines.journal import Phase


class Verb(Enum):
    """What can be asked of an owner."""

    START = auto()
    STOP = auto()
    KILL = auto()  # stop without any grace
    DESTROY = auto()
    DIED = auto()  # its process has ended
    PAUSE = auto()
    RESUME = auto()
    SUSPEND = auto()
    SNAPSHOT = auto()
    ROLLBACK = auto()
    RESIZE = auto()
    RESHAPE = auto()  # other CPUs and memory
    CONNECT = auto()  # come under another network policy
    CLAIM = auto()  # go on with the process of another
    YIELD = auto()  # give its process to another
    FLATTEN = auto()  # copy the disk layers below into its own


class Decision(Enum):
    """What to do about it."""

    ACT = auto()
    NOTHING = auto()  # it is so already
    REFUSE = auto()  # it has no memory that could be kept


_P, _D = Phase, Decision
_AT_REST = {_P.STOPPED, _P.FAILED}

_NOTHING: dict[Verb, set[Phase]] = {
    Verb.START: {_P.RUNNING},
    Verb.STOP: _AT_REST,
    Verb.KILL: _AT_REST,
    Verb.DIED: {*_AT_REST, _P.SUSPENDED, _P.DESTROYING},
    Verb.PAUSE: {_P.PAUSED},
    Verb.RESUME: {_P.RUNNING},
    Verb.SUSPEND: {_P.SUSPENDED},
    Verb.FLATTEN: {phase for phase in Phase if phase not in (_P.RUNNING, _P.PAUSED)},
}
_REFUSE: dict[Verb, set[Phase]] = {
    Verb.PAUSE: {*_AT_REST, _P.SUSPENDED},
    Verb.RESUME: {*_AT_REST, _P.SUSPENDED},
    Verb.SUSPEND: _AT_REST,
    Verb.SNAPSHOT: _AT_REST,
    Verb.YIELD: {*_AT_REST, _P.SUSPENDED},
}


def decide(phase: Phase, verb: Verb) -> Decision:
    """What to do with a request whose turn has come."""
    if phase in _NOTHING.get(verb, ()):
        return Decision.NOTHING
    return Decision.REFUSE if phase in _REFUSE.get(verb, ()) else Decision.ACT


def interrupts(current: Verb, arriving: Verb) -> bool:
    """Whether what is under way is broken off for what has just arrived."""
    match arriving:
        case Verb.DESTROY | Verb.KILL:
            return current in (Verb.START, Verb.STOP, Verb.RESUME, Verb.SUSPEND, Verb.RESIZE, Verb.FLATTEN)
        case Verb.STOP:
            return current in (Verb.START, Verb.SUSPEND, Verb.FLATTEN)
        case Verb.START | Verb.DIED:
            return False
        case _:
            return current is Verb.FLATTEN
