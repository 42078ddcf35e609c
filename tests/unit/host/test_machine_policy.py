"""What an owner does with a request, and what may interrupt what."""

import itertools

import pytest

from hutch.host.machines.journal import Phase
from hutch.host.machines.policy import Decision, Verb, decide, interrupts

NOTHING = {
    (Phase.RUNNING, Verb.START),
    (Phase.STOPPED, Verb.STOP),
    (Phase.FAILED, Verb.STOP),
    (Phase.STOPPED, Verb.DIED),
    (Phase.FAILED, Verb.DIED),
    (Phase.DESTROYING, Verb.DIED),
}


@pytest.mark.parametrize(("phase", "verb"), [*itertools.product(Phase, Verb)])
def test_a_request_that_is_fulfilled_already_does_nothing(phase: Phase, verb: Verb) -> None:
    wanted = Decision.NOTHING if (phase, verb) in NOTHING else Decision.ACT
    assert decide(phase, verb) is wanted


@pytest.mark.parametrize(("current", "arriving"), [*itertools.product(Verb, Verb)])
def test_only_what_ends_a_machine_interrupts(current: Verb, arriving: Verb) -> None:
    wanted = (current, arriving) in {
        (Verb.START, Verb.STOP),
        (Verb.START, Verb.DESTROY),
        (Verb.STOP, Verb.DESTROY),
    }
    assert interrupts(current, arriving) is wanted
