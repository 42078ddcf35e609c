"""The table of states."""

import pytest

from hutch.model import errors, states
from hutch.model.states import TRANSIENT, TRANSITIONS, State


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_state_can_be_reached_from_the_first() -> None:
    reached, waiting = {State.CREATING}, [State.CREATING]
    while waiting:
        new = TRANSITIONS[waiting.pop()] - reached
        reached |= new
        waiting += new
    assert reached == set(State)


def test_every_state_leads_to_the_end() -> None:
    for state in set(State) - {State.DESTROYED, State.DESTROYING}:
        assert State.DESTROYING in TRANSITIONS[state], state
    assert TRANSITIONS[State.DESTROYED] == {State.CREATING}, "it may be made anew, and is nothing else before"


def test_whatever_is_under_way_can_fail() -> None:
    assert all(State.FAILED in TRANSITIONS[state] for state in TRANSIENT)


def test_an_illegal_transition_names_the_machine_and_both_states() -> None:
    with pytest.raises(errors.IllegalTransition, match="web is stopped and cannot become running"):
        states.check_transition("web", State.STOPPED, State.RUNNING)


def test_a_legal_transition_is_silent() -> None:
    states.check_transition("web", State.STOPPED, State.STARTING)
