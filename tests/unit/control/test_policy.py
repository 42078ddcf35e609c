"""What becomes of a request: both tables, whole."""

import pytest

from hutch.control import policy
from hutch.control.policy import BEHIND, ENDS, IDLE, Answer, Verb
from hutch.model import errors
from hutch.model.states import TRANSIENT, State

AT_REST = [State.STOPPED, State.RUNNING, State.PAUSED, State.SUSPENDED, State.FAILED]


@pytest.mark.parametrize("verb", list(Verb))
def test_there_is_an_answer_to_everything(verb: Verb) -> None:
    assert set(IDLE[verb]) == set(State)
    assert set(BEHIND[verb]) == set(Verb)
    assert verb in ENDS


@pytest.mark.parametrize(
    ("verb", "answers"),
    [
        (Verb.START, "queue nothing queue queue queue"),
        (Verb.WAKE, "queue nothing queue queue failed"),
        (Verb.PAUSE, "illegal queue nothing illegal illegal"),
        (Verb.SUSPEND, "illegal queue queue nothing illegal"),
        (Verb.SNAPSHOT, "no-memory queue queue queue no-memory"),
        (Verb.ROLLBACK, "queue queue queue queue queue"),
        (Verb.RESTART, "queue queue queue queue queue"),
        (Verb.RESIZE, "queue queue queue queue queue"),
        (Verb.RESHAPE, "queue queue queue queue queue"),
        (Verb.OPTIMIZE, "no-memory queue queue queue no-memory"),
        (Verb.NETWORK, "queue queue queue queue queue"),
        (Verb.SET, "queue queue queue queue queue"),
        (Verb.STOP, "nothing queue queue queue queue"),
        (Verb.KILL, "nothing queue queue queue queue"),
        (Verb.DELETE, "queue queue queue queue queue"),
        (Verb.DIED, "nothing queue queue nothing nothing"),
        (Verb.SETTLE, "nothing nothing nothing nothing nothing"),
        (Verb.CREATE, "illegal illegal illegal illegal illegal"),
    ],
)
def test_a_machine_at_rest_is_told(verb: Verb, answers: str) -> None:
    assert [policy.decide(verb, state, ()).value.replace(" ", "-") for state in AT_REST] == answers.split()


@pytest.mark.parametrize("verb", sorted(set(Verb) - {Verb.CREATE}))
@pytest.mark.parametrize("state", sorted(TRANSIENT))
def test_a_machine_left_in_the_middle_is_taken_up_by_any_request(verb: Verb, state: State) -> None:
    assert policy.decide(verb, state, ()) is Answer.QUEUE


@pytest.mark.parametrize("verb", sorted(set(Verb) - {Verb.CREATE, Verb.DIED, Verb.SETTLE}))
def test_a_machine_that_is_gone_is_gone(verb: Verb) -> None:
    assert policy.decide(verb, State.DESTROYED, ()) is Answer.GONE


@pytest.mark.parametrize(
    ("verb", "behind", "answer"),
    [
        (Verb.START, Verb.START, Answer.JOIN),
        (Verb.WAKE, Verb.START, Answer.JOIN),
        (Verb.START, Verb.WAKE, Answer.QUEUE),  # a wake may be refused where a start is not
        (Verb.START, Verb.STOP, Answer.QUEUE),
        (Verb.STOP, Verb.START, Answer.QUEUE),
        (Verb.STOP, Verb.STOP, Answer.JOIN),
        (Verb.STOP, Verb.KILL, Answer.JOIN),
        (Verb.KILL, Verb.KILL, Answer.JOIN),
        (Verb.KILL, Verb.STOP, Answer.QUEUE),  # which it ends
        (Verb.RESHAPE, Verb.RESHAPE, Answer.QUEUE),  # each may name something else
        (Verb.OPTIMIZE, Verb.OPTIMIZE, Answer.JOIN),
        (Verb.DELETE, Verb.DELETE, Answer.JOIN),
        (Verb.START, Verb.DELETE, Answer.ILLEGAL),
        (Verb.STOP, Verb.DELETE, Answer.ILLEGAL),
        (Verb.WAKE, Verb.SUSPEND, Answer.QUEUE),
        (Verb.PAUSE, Verb.PAUSE, Answer.JOIN),
        (Verb.SUSPEND, Verb.SUSPEND, Answer.JOIN),
        (Verb.SNAPSHOT, Verb.SNAPSHOT, Answer.QUEUE),  # each makes one of its own
        (Verb.ROLLBACK, Verb.ROLLBACK, Answer.QUEUE),
        (Verb.RESTART, Verb.RESTART, Answer.JOIN),
        (Verb.RESTART, Verb.START, Answer.QUEUE),
        (Verb.RESTART, Verb.DELETE, Answer.ILLEGAL),
        (Verb.SUSPEND, Verb.DELETE, Answer.ILLEGAL),
        (Verb.SNAPSHOT, Verb.DELETE, Answer.ILLEGAL),
        (Verb.DIED, Verb.CREATE, Answer.QUEUE),  # a copy that is made together with others
        (Verb.DIED, Verb.START, Answer.QUEUE),
        (Verb.DIED, Verb.DELETE, Answer.NOTHING),
        (Verb.SETTLE, Verb.START, Answer.NOTHING),
    ],
)
def test_behind_a_request_that_is_not_yet_done(verb: Verb, behind: Verb, answer: Answer) -> None:
    assert policy.decide(verb, State.STARTING, [Verb.STOP, behind]) is answer


def test_a_stop_ends_starts_a_kill_what_takes_its_time_and_a_deletion_ends_everything_but_a_death() -> None:
    assert ENDS[Verb.STOP] == {Verb.START, Verb.WAKE}
    starts = {Verb.START, Verb.WAKE, Verb.RESTART, Verb.RESHAPE}
    assert ENDS[Verb.KILL] == {*starts, Verb.RESIZE, Verb.SUSPEND, Verb.OPTIMIZE, Verb.STOP}
    assert ENDS[Verb.DELETE] == set(Verb) - {Verb.DELETE, Verb.DIED, Verb.SETTLE}
    assert not any(ENDS[verb] for verb in Verb if verb not in (Verb.STOP, Verb.KILL, Verb.DELETE))


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer.GONE, errors.NotFound, "machine not found"),
        (Answer.ILLEGAL, errors.IllegalTransition, "machine m is lost and cannot be started"),
        (Answer.NO_MEMORY, errors.NotRunning, "machine m is lost and cannot be started: start it first"),
        (Answer.FAILED, errors.MachineFailed, "machine m has failed: no disk; start it again or delete it"),
    ],
)
def test_a_refusal_says_why(answer: Answer, kind: type[Exception], words: str) -> None:
    error = policy.refusal(answer, Verb.START, "m", State.LOST, "no disk")
    assert type(error) is kind
    assert str(error) == words


@pytest.mark.parametrize("answer", [Answer.NOTHING, Answer.JOIN, Answer.QUEUE])
def test_what_is_accepted_is_no_refusal(answer: Answer) -> None:
    assert policy.refusal(answer, Verb.START, "m", State.STOPPED, None) is None
