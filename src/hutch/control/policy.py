"""What is done with a request to change a machine: decided here, from where the machine is and what is under way.

Pure: no clock, no task, no host. `owner.py` asks and obeys. Two tables say everything: what a request means to a
machine that nobody works on (`IDLE`, by its state), and behind the last request that is not yet done (`BEHIND`). A
state from the middle of something, with nobody at it, is what a failed write or a killed service left: any request
first settles it.
"""

from collections.abc import Sequence
from enum import StrEnum

from hutch.model import errors
from hutch.model.states import TRANSIENT, State


class Verb(StrEnum):
    """What can be asked of a machine's owner."""

    CREATE = "create"
    START = "start"
    WAKE = "wake"  # as start, for somebody who only wants to use it: a failed machine stays as it is
    STOP = "stop"
    DELETE = "delete"
    DIED = "died"  # the host says that it ended unasked
    SETTLE = "settle"  # bring it to rest


class Answer(StrEnum):
    """What becomes of a request."""

    NOTHING = "nothing"  # it is so already, or no longer matters
    JOIN = "join"  # the last one waiting asks the same: its end is the answer
    QUEUE = "queue"  # what `ENDS` names is ended; then it is done, behind what is left
    ILLEGAL = "illegal"  # the state does not allow it
    FAILED = "failed"  # the machine has failed, and somebody should look at it first
    GONE = "gone"  # there is no machine any more


ENDS: dict[Verb, frozenset[Verb]] = {
    Verb.CREATE: frozenset(),
    Verb.START: frozenset(),
    Verb.WAKE: frozenset(),
    Verb.STOP: frozenset({Verb.START, Verb.WAKE}),
    Verb.DELETE: frozenset({Verb.CREATE, Verb.START, Verb.WAKE, Verb.STOP}),
    Verb.DIED: frozenset(),
    Verb.SETTLE: frozenset(),
}
"""What a request makes pointless: the running one is interrupted, waiting ones are dropped."""

_A, _S = Answer, State


def _by_state(usual: Answer, **others: Answer) -> dict[State, Answer]:
    return {state: others.get(state, usual) for state in State}


IDLE: dict[Verb, dict[State, Answer]] = {
    Verb.CREATE: _by_state(_A.ILLEGAL, creating=_A.QUEUE),
    Verb.START: _by_state(
        _A.QUEUE, running=_A.NOTHING, paused=_A.ILLEGAL, suspended=_A.ILLEGAL, lost=_A.ILLEGAL, destroyed=_A.GONE
    ),
    Verb.WAKE: _by_state(
        _A.QUEUE,
        running=_A.NOTHING,
        failed=_A.FAILED,
        paused=_A.ILLEGAL,
        suspended=_A.ILLEGAL,
        lost=_A.ILLEGAL,
        destroyed=_A.GONE,
    ),
    Verb.STOP: _by_state(_A.QUEUE, stopped=_A.NOTHING, suspended=_A.ILLEGAL, lost=_A.ILLEGAL, destroyed=_A.GONE),
    Verb.DELETE: _by_state(_A.QUEUE, destroyed=_A.GONE),
    Verb.DIED: _by_state(
        _A.QUEUE,
        stopped=_A.NOTHING,
        suspended=_A.NOTHING,
        failed=_A.NOTHING,
        lost=_A.NOTHING,
        destroyed=_A.NOTHING,
    ),
    Verb.SETTLE: {state: _A.QUEUE if state in TRANSIENT else _A.NOTHING for state in State},
}
"""What a request means to a machine that nobody works on."""


def _behind(usual: Answer, **others: Answer) -> dict[Verb, Answer]:
    return {verb: others.get(verb, usual) for verb in Verb}


BEHIND: dict[Verb, dict[Verb, Answer]] = {
    Verb.CREATE: _behind(_A.ILLEGAL),
    Verb.START: _behind(_A.QUEUE, start=_A.JOIN, delete=_A.ILLEGAL),
    Verb.WAKE: _behind(_A.QUEUE, start=_A.JOIN, wake=_A.JOIN, delete=_A.ILLEGAL),
    Verb.STOP: _behind(_A.QUEUE, stop=_A.JOIN, delete=_A.ILLEGAL),
    Verb.DELETE: _behind(_A.QUEUE, delete=_A.JOIN),
    Verb.DIED: _behind(_A.QUEUE, create=_A.NOTHING, delete=_A.NOTHING),
    Verb.SETTLE: _behind(_A.NOTHING),
}
"""What a request means behind the last one that is not yet done."""


def decide(verb: Verb, state: State, waiting: Sequence[Verb]) -> Answer:
    """What becomes of a request; `waiting` are those not yet done, the running one first."""
    return BEHIND[verb][waiting[-1]] if waiting else IDLE[verb][state]


def refusal(answer: Answer, verb: Verb, machine: str, state: State, reason: str | None) -> errors.HutchError | None:
    """The error that tells a refused caller why; None if it was not refused."""
    match answer:
        case Answer.GONE:
            return errors.NotFound("machine not found")
        case Answer.FAILED:
            why = f"machine {machine} has failed: {reason or 'the reason is not known'}; start it again or delete it"
            return errors.MachineFailed(why)
        case Answer.ILLEGAL:
            return errors.IllegalTransition(f"machine {machine} is {state} and cannot {_WORDS[verb]}")
        case _:
            return None


_WORDS: dict[Verb, str] = {
    Verb.CREATE: "be created",
    Verb.START: "be started",
    Verb.WAKE: "be used",
    Verb.STOP: "be stopped",
    Verb.DELETE: "be deleted",
    Verb.DIED: "die",
    Verb.SETTLE: "be settled",
}
