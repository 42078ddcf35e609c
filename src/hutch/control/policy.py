"""What is done with a request to change a machine: decided here, from where the machine is and what is under way.

Pure: no clock, no task, no host. `owner.py` asks and obeys. Two tables say everything: what a request means to a
machine that nobody works on (`IDLE`, by its state), and behind the last request that is not yet done (`BEHIND`). A
state from the middle of something, with nobody at it, is what a failed write or a killed service left: any request
first settles it.
"""

from collections.abc import Sequence
from enum import StrEnum

from hutch.model import errors
from hutch.model.machine import EndsOn, Machine, Persistence
from hutch.model.states import TRANSIENT, State


class Verb(StrEnum):
    """What can be asked of a machine's owner."""

    CREATE = "create"
    START = "start"  # from whatever state: boots, goes on from saved memory, or lets a paused one go on
    WAKE = "wake"  # as start, for somebody who only wants to use it: a failed machine stays as it is
    PAUSE = "pause"
    SUSPEND = "suspend"
    SNAPSHOT = "snapshot"  # copy it as it stands; also the first step of a fork
    ROLLBACK = "rollback"
    RESTART = "restart"  # stopped and started in one turn
    RESIZE = "resize"  # a larger disk
    RESHAPE = "reshape"  # other vCPUs or another memory too: stopped and started in one turn if it runs
    OPTIMIZE = "optimize"  # suspended, and its state made cheap to go on from
    NETWORK = "network"  # another network policy
    SET = "set"  # other timers, or other published ports
    STOP = "stop"
    KILL = "kill"  # stopped at once
    DELETE = "delete"
    DIED = "died"  # the host says that it ended unasked
    SETTLE = "settle"  # bring it to rest


class Answer(StrEnum):
    """What becomes of a request."""

    NOTHING = "nothing"  # it is so already, or no longer matters
    JOIN = "join"  # the last one waiting asks the same: its end is the answer
    QUEUE = "queue"  # what `ENDS` names is ended; then it is done, behind what is left
    ILLEGAL = "illegal"  # the state does not allow it
    NO_MEMORY = "no memory"  # only a machine that has its memory can be copied
    FAILED = "failed"  # the machine has failed, and somebody should look at it first
    GONE = "gone"  # there is no machine any more


_V = Verb

ENDS: dict[Verb, frozenset[Verb]] = {verb: frozenset() for verb in Verb} | {
    _V.STOP: frozenset({_V.START, _V.WAKE}),
    _V.KILL: frozenset({_V.START, _V.WAKE, _V.RESTART, _V.RESIZE, _V.RESHAPE, _V.SUSPEND, _V.OPTIMIZE, _V.STOP}),
    _V.DELETE: frozenset(set(Verb) - {_V.DELETE, _V.DIED, _V.SETTLE}),
}
"""What a request makes pointless: the running one is interrupted, waiting ones are dropped."""

UNDISTURBING = frozenset({_V.SNAPSHOT, _V.RESIZE, _V.NETWORK, _V.SET})
"""While these are done to a running machine it is used as ever."""

_A, _S = Answer, State


def _by_state(usual: Answer, **others: Answer) -> dict[State, Answer]:
    return {state: others.get(state, usual) for state in State}


def _only_in(refused: Answer, **others: Answer) -> dict[State, Answer]:
    """Refused, but in these states; one left in the middle of something is settled first."""
    middle = {state.value: _A.QUEUE for state in TRANSIENT}
    return _by_state(refused, **(middle | {"lost": _A.ILLEGAL, "destroyed": _A.GONE} | others))


IDLE: dict[Verb, dict[State, Answer]] = {
    _V.CREATE: _by_state(_A.ILLEGAL, creating=_A.QUEUE),
    _V.START: _by_state(_A.QUEUE, running=_A.NOTHING, lost=_A.ILLEGAL, destroyed=_A.GONE),
    _V.WAKE: _by_state(_A.QUEUE, running=_A.NOTHING, failed=_A.FAILED, lost=_A.ILLEGAL, destroyed=_A.GONE),
    _V.PAUSE: _only_in(_A.ILLEGAL, running=_A.QUEUE, paused=_A.NOTHING),
    _V.SUSPEND: _only_in(_A.ILLEGAL, running=_A.QUEUE, paused=_A.QUEUE, suspended=_A.NOTHING),
    _V.SNAPSHOT: _only_in(_A.NO_MEMORY, running=_A.QUEUE, paused=_A.QUEUE, suspended=_A.QUEUE),
    _V.ROLLBACK: _by_state(_A.QUEUE, lost=_A.ILLEGAL, destroyed=_A.GONE),
    _V.RESTART: _by_state(_A.QUEUE, lost=_A.ILLEGAL, destroyed=_A.GONE),
    _V.RESIZE: _by_state(_A.QUEUE, lost=_A.ILLEGAL, destroyed=_A.GONE),
    _V.RESHAPE: _by_state(_A.QUEUE, lost=_A.ILLEGAL, destroyed=_A.GONE),
    _V.OPTIMIZE: _only_in(_A.NO_MEMORY, running=_A.QUEUE, paused=_A.QUEUE, suspended=_A.QUEUE),
    _V.NETWORK: _by_state(_A.QUEUE, lost=_A.ILLEGAL, destroyed=_A.GONE),
    _V.SET: _by_state(_A.QUEUE, destroyed=_A.GONE),
    _V.STOP: _by_state(_A.QUEUE, stopped=_A.NOTHING, lost=_A.ILLEGAL, destroyed=_A.GONE),
    _V.KILL: _by_state(_A.QUEUE, stopped=_A.NOTHING, lost=_A.ILLEGAL, destroyed=_A.GONE),
    _V.DELETE: _by_state(_A.QUEUE, destroyed=_A.GONE),
    _V.DIED: _by_state(
        _A.QUEUE,
        stopped=_A.NOTHING,
        suspended=_A.NOTHING,
        failed=_A.NOTHING,
        lost=_A.NOTHING,
        destroyed=_A.NOTHING,
    ),
    _V.SETTLE: {state: _A.QUEUE if state in TRANSIENT else _A.NOTHING for state in State},
}
"""What a request means to a machine that nobody works on."""


def _behind(usual: Answer, **others: Answer) -> dict[Verb, Answer]:
    return {verb: others.get(verb, usual) for verb in Verb}


BEHIND: dict[Verb, dict[Verb, Answer]] = {
    _V.CREATE: _behind(_A.ILLEGAL),
    _V.START: _behind(_A.QUEUE, start=_A.JOIN, delete=_A.ILLEGAL),
    _V.WAKE: _behind(_A.QUEUE, start=_A.JOIN, wake=_A.JOIN, delete=_A.ILLEGAL),
    _V.PAUSE: _behind(_A.QUEUE, pause=_A.JOIN, delete=_A.ILLEGAL),
    _V.SUSPEND: _behind(_A.QUEUE, suspend=_A.JOIN, delete=_A.ILLEGAL),
    _V.SNAPSHOT: _behind(_A.QUEUE, delete=_A.ILLEGAL),
    _V.ROLLBACK: _behind(_A.QUEUE, delete=_A.ILLEGAL),
    _V.RESTART: _behind(_A.QUEUE, restart=_A.JOIN, delete=_A.ILLEGAL),
    _V.RESIZE: _behind(_A.QUEUE, delete=_A.ILLEGAL),
    _V.RESHAPE: _behind(_A.QUEUE, delete=_A.ILLEGAL),
    _V.OPTIMIZE: _behind(_A.QUEUE, optimize=_A.JOIN, delete=_A.ILLEGAL),
    _V.NETWORK: _behind(_A.QUEUE, delete=_A.ILLEGAL),
    _V.SET: _behind(_A.QUEUE, delete=_A.ILLEGAL),
    _V.STOP: _behind(_A.QUEUE, stop=_A.JOIN, kill=_A.JOIN, delete=_A.ILLEGAL),
    _V.KILL: _behind(_A.QUEUE, kill=_A.JOIN, delete=_A.ILLEGAL),
    _V.DELETE: _behind(_A.QUEUE, delete=_A.JOIN),
    _V.DIED: _behind(_A.QUEUE, delete=_A.NOTHING),
    _V.SETTLE: _behind(_A.NOTHING),
}
"""What a request means behind the last one that is not yet done."""


def ends_at_rest(machine: Machine) -> bool:
    """Whether it is deleted instead of being suspended. Any ephemeral machine is when it stops."""
    return machine.persistence is Persistence.EPHEMERAL and machine.ends_on is EndsOn.REST


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
            return errors.IllegalTransition(illegal(verb, machine, state))
        case Answer.NO_MEMORY:
            return errors.NotRunning(f"{illegal(verb, machine, state)}: start it first")
        case _:
            return None


def illegal(verb: Verb, machine: str, state: State) -> str:
    """Why a machine in this state refuses it."""
    return f"machine {machine} is {state} and cannot {_WORDS[verb]}"


_WORDS: dict[Verb, str] = {
    Verb.CREATE: "be created",
    Verb.START: "be started",
    Verb.WAKE: "be used",
    Verb.PAUSE: "be paused",
    Verb.SUSPEND: "be suspended",
    Verb.SNAPSHOT: "be copied",
    Verb.ROLLBACK: "be put back",
    Verb.RESTART: "be restarted",
    Verb.RESIZE: "be resized",
    Verb.RESHAPE: "be resized",
    Verb.OPTIMIZE: "be optimized",
    Verb.NETWORK: "be given another network policy",
    Verb.SET: "be changed",
    Verb.STOP: "be stopped",
    Verb.KILL: "be killed",
    Verb.DELETE: "be deleted",
    Verb.DIED: "die",
    Verb.SETTLE: "be settled",
}
