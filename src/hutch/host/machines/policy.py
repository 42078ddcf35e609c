"""What a machine's owner does with a request, decided from where the machine is. Pure.

One task owns a machine; requests wait in its queue. Only what ends a machine jumps it, and interrupts what is on.
"""

from enum import Enum, auto

from hutch.host.machines.journal import Phase


class Verb(Enum):
    """What can be asked of an owner."""

    START = auto()
    STOP = auto()
    DESTROY = auto()
    DIED = auto()  # its process has ended


class Decision(Enum):
    """What to do about it."""

    ACT = auto()
    NOTHING = auto()  # it is so already


def decide(phase: Phase, verb: Verb) -> Decision:
    """What to do with a request whose turn has come."""
    match verb, phase:
        case Verb.START, Phase.RUNNING:
            return Decision.NOTHING
        case Verb.STOP, Phase.STOPPED | Phase.FAILED:
            return Decision.NOTHING
        case Verb.DIED, Phase.STOPPED | Phase.FAILED | Phase.DESTROYING:
            return Decision.NOTHING
        case _:
            return Decision.ACT


def interrupts(current: Verb, arriving: Verb) -> bool:
    """Whether what is under way is broken off for what has just arrived."""
    match arriving:
        case Verb.DESTROY:
            return current in (Verb.START, Verb.STOP)
        case Verb.STOP:
            return current is Verb.START
        case _:
            return False
