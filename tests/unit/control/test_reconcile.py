"""What is done when record and host disagree."""

import itertools

import pytest

from hutch.control import reconcile
from hutch.control.policy import Verb
from hutch.host.interface import HostMachine, Life
from hutch.model.ids import MachineId
from hutch.model.states import TRANSIENT, TRANSITIONS, State

LIVES = [None, *Life]


def find(recorded: State, life: Life | None) -> reconcile.Finding:
    real = None if life is None else HostMachine(MachineId("m"), life, "killed" if life is Life.FAILED else None)
    return reconcile.find(recorded, real)


@pytest.mark.parametrize(("recorded", "life"), list(itertools.product(State, LIVES)))
def test_every_finding_is_a_legal_transition_that_says_why(recorded: State, life: Life | None) -> None:
    found = find(recorded, life)
    if found.state is not None:
        assert found.state in TRANSITIONS[recorded]
        assert found.message
    assert (found.state is State.FAILED) == (found.reason is not None)


@pytest.mark.parametrize(("recorded", "life"), list(itertools.product(sorted(TRANSIENT), LIVES)))
def test_nothing_is_left_in_the_middle(recorded: State, life: Life | None) -> None:
    for _ in range(3):
        found = find(recorded, life)
        if not found.again:
            break
        assert found.state is not None
        recorded = found.state
    assert found.then is not None or found.state not in (None, *TRANSIENT)


@pytest.mark.parametrize(("recorded", "life"), list(itertools.product(State, LIVES)))
def test_in_the_end_record_and_host_say_the_same(recorded: State, life: Life | None) -> None:
    for _ in range(4):
        found = find(recorded, life)
        recorded = found.state or recorded
        if not found.again:
            break
    assert not found.again
    if found.then is None and recorded not in (State.FAILED, State.DESTROYED, State.LOST):
        assert life in (Life(recorded.value), Life.FAILED)


@pytest.mark.parametrize("life", LIVES)
def test_what_was_being_made_is_undone_and_what_was_being_deleted_is_finished(life: Life | None) -> None:
    assert find(State.CREATING, life).then is Verb.DELETE
    assert find(State.DESTROYING, life).then is Verb.DELETE


@pytest.mark.parametrize(
    ("recorded", "life", "state", "then"),
    [
        (State.RUNNING, Life.RUNNING, None, None),
        (State.RUNNING, Life.FAILED, State.FAILED, None),
        (State.RUNNING, Life.STOPPED, State.STOPPING, Verb.STOP),
        (State.RUNNING, None, State.FAILED, None),
        (State.STARTING, Life.RUNNING, State.RUNNING, None),
        (State.STARTING, Life.STOPPED, State.STOPPED, None),
        (State.STARTING, Life.FAILED, State.FAILED, None),
        (State.STOPPING, Life.RUNNING, None, Verb.STOP),
        (State.STOPPING, Life.STOPPED, None, Verb.STOP),
        (State.STOPPING, Life.FAILED, None, Verb.STOP),
        (State.STOPPED, Life.STOPPED, None, None),
        (State.STOPPED, Life.RUNNING, State.STARTING, Verb.STOP),
        (State.STOPPED, None, State.FAILED, None),
        (State.STOPPED, Life.PAUSED, State.STARTING, Verb.STOP),
        (State.STOPPED, Life.SUSPENDED, State.SUSPENDED, None),  # put back to a snapshot
        (State.RUNNING, Life.PAUSED, State.PAUSING, None),
        (State.RUNNING, Life.SUSPENDED, State.SUSPENDING, None),
        (State.STARTING, Life.SUSPENDED, State.SUSPENDED, None),
        (State.STARTING, Life.PAUSED, State.PAUSED, None),
        (State.PAUSING, Life.RUNNING, State.RUNNING, None),
        (State.PAUSING, Life.PAUSED, State.PAUSED, None),
        (State.PAUSED, Life.RUNNING, State.RUNNING, None),
        (State.PAUSED, Life.PAUSED, None, None),
        (State.PAUSED, Life.SUSPENDED, State.SUSPENDING, None),
        (State.PAUSED, Life.STOPPED, State.STOPPING, Verb.STOP),
        (State.PAUSED, Life.FAILED, State.FAILED, None),
        (State.SUSPENDING, Life.RUNNING, State.RUNNING, None),
        (State.SUSPENDING, Life.PAUSED, State.PAUSED, None),
        (State.SUSPENDING, Life.SUSPENDED, State.SUSPENDED, None),
        (State.SUSPENDING, Life.FAILED, State.FAILED, None),
        (State.SUSPENDED, Life.SUSPENDED, None, None),
        (State.SUSPENDED, Life.RUNNING, State.STARTING, None),
        (State.SUSPENDED, Life.STOPPED, State.STOPPED, None),
        (State.SUSPENDED, Life.FAILED, State.FAILED, None),
        (State.SUSPENDED, None, State.FAILED, None),
        (State.STOPPING, Life.PAUSED, None, Verb.STOP),
        (State.STOPPING, Life.SUSPENDED, State.SUSPENDED, None),  # put back to a snapshot
        (State.FAILED, Life.SUSPENDED, State.SUSPENDED, None),
        (State.FAILED, Life.PAUSED, None, Verb.STOP),
        (State.LOST, Life.PAUSED, State.PAUSED, None),
        (State.FAILED, Life.FAILED, None, None),
        (State.FAILED, None, None, None),
        (State.LOST, Life.RUNNING, State.RUNNING, None),
        (State.LOST, None, None, None),
    ],
)
def test_record_and_host_are_made_to_agree(
    recorded: State, life: Life | None, state: State | None, then: Verb | None
) -> None:
    found = find(recorded, life)
    assert (found.state, found.then) == (state, then)


def test_the_hosts_reason_is_kept() -> None:
    assert find(State.RUNNING, Life.FAILED).reason == "killed"
