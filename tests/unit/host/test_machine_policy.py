"""What an owner does with a request, and what may interrupt what."""

import itertools

import pytest

from hutch.host.machines.journal import Phase
from hutch.host.machines.policy import Decision, Verb, decide, interrupts

P, V = Phase, Verb
AT_REST = (P.STOPPED, P.FAILED)

NOTHING = {
    (P.RUNNING, V.START),
    (P.RUNNING, V.RESUME),
    (P.PAUSED, V.PAUSE),
    (P.SUSPENDED, V.SUSPEND),
    *((phase, verb) for phase in AT_REST for verb in (V.STOP, V.KILL)),
    *((phase, V.DIED) for phase in (*AT_REST, P.SUSPENDED, P.DESTROYING)),
    *((phase, V.FLATTEN) for phase in Phase if phase not in (P.RUNNING, P.PAUSED)),
}
REFUSED = {
    *((phase, verb) for phase in AT_REST for verb in (V.PAUSE, V.RESUME, V.SUSPEND, V.SNAPSHOT, V.YIELD)),
    *((P.SUSPENDED, verb) for verb in (V.PAUSE, V.RESUME, V.YIELD)),
}


@pytest.mark.parametrize(("phase", "verb"), [*itertools.product(Phase, Verb)])
def test_a_request_is_done_unless_it_is_so_already_or_there_is_no_memory_to_keep(phase: Phase, verb: Verb) -> None:
    wanted = Decision.ACT
    if (phase, verb) in NOTHING:
        wanted = Decision.NOTHING
    elif (phase, verb) in REFUSED:
        wanted = Decision.REFUSE
    assert decide(phase, verb) is wanted


@pytest.mark.parametrize(("current", "arriving"), [*itertools.product(Verb, Verb)])
def test_only_what_ends_a_machine_interrupts_and_background_work_gives_way(current: Verb, arriving: Verb) -> None:
    ends = {(V.START, V.STOP), (V.SUSPEND, V.STOP)} | set(
        itertools.product((V.START, V.STOP, V.RESUME, V.SUSPEND, V.RESIZE), (V.KILL, V.DESTROY))
    )
    gives_way = current is V.FLATTEN and arriving not in (V.START, V.DIED)
    assert interrupts(current, arriving) is ((current, arriving) in ends or gives_way)
