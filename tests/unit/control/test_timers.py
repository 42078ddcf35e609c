"""When a machine's time is up."""

from datetime import UTC, datetime, timedelta

import pytest

from hutch.control import timers
from hutch.control.policy import Verb
from hutch.model import ids
from hutch.model.ids import TenantId
from hutch.model.machine import ImageRef, Machine, MachineSpec, Resources, TimerAction, Timers
from hutch.model.states import State

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def machine(
    its: Timers,
    state: State = State.RUNNING,
    ready: float | None = None,
    used: float | None = None,
    suspended: float | None = None,
) -> Machine:
    spec = MachineSpec(ImageRef("alpine", "sha256:1"), Resources(1, 512, 20), "web")
    return Machine(
        ids.new_machine_id(),
        TenantId("t"),
        "web",
        spec,
        state,
        created_at=START,
        updated_at=START,
        ready_at=None if ready is None else at(ready),
        last_activity_at=None if used is None else at(used),
        timers=its,
        suspended_at=None if suspended is None else at(suspended),
    )


def test_a_machine_without_timers_lives_for_ever() -> None:
    assert timers.find_due(machine(Timers()), at(1e9), is_used=False) is None


@pytest.mark.parametrize(("ready", "used", "due"), [(None, None, 10), (5, None, 15), (5, 7, 17), (9, 7, 19)])
def test_idle_time_counts_from_the_last_use(ready: float | None, used: float | None, due: float) -> None:
    it = machine(Timers(idle=10), ready=ready, used=used)
    assert timers.find_due(it, at(due - 0.1), is_used=False) is None
    assert timers.find_due(it, at(due), is_used=False) == timers.Due(Verb.STOP, "not used for 10 s")


def test_a_machine_in_use_is_not_idle() -> None:
    assert timers.find_due(machine(Timers(idle=10)), at(1000), is_used=True) is None


@pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING}))
def test_only_a_running_machine_can_be_idle(state: State) -> None:
    assert timers.find_due(machine(Timers(idle=10), state), at(1000), is_used=False) is None


@pytest.mark.parametrize("is_used", [True, False])
@pytest.mark.parametrize("state", [State.RUNNING, State.STOPPED, State.FAILED])
def test_a_lifetime_counts_from_the_beginning_whatever_happens(state: State, is_used: bool) -> None:
    it = machine(Timers(lifetime=10), state, used=9)
    assert timers.find_due(it, at(9.9), is_used) is None
    assert timers.find_due(it, at(10), is_used) == timers.Due(Verb.DELETE, "its lifetime of 10 s is over")


def test_of_two_timers_the_end_comes_first() -> None:
    due = timers.find_due(machine(Timers(idle=5, lifetime=10)), at(20), is_used=False)
    assert due is not None
    assert due.verb is Verb.DELETE


@pytest.mark.parametrize(
    ("action", "verb"),
    [(TimerAction.STOP, Verb.STOP), (TimerAction.SUSPEND, Verb.SUSPEND), (TimerAction.DESTROY, Verb.DELETE)],
)
def test_each_timer_does_what_it_was_told_to(action: TimerAction, verb: Verb) -> None:
    idle = timers.find_due(machine(Timers(idle=5, idle_action=action)), at(5), is_used=False)
    old = timers.find_due(machine(Timers(lifetime=5, lifetime_action=action)), at(5), is_used=False)
    assert idle == timers.Due(verb, "not used for 5 s")
    assert old == timers.Due(verb, "its lifetime of 5 s is over")


@pytest.mark.parametrize("action", [TimerAction.STOP, TimerAction.SUSPEND])
@pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING, State.PAUSED}))
def test_the_end_of_a_lifetime_stops_only_what_is_up(action: TimerAction, state: State) -> None:
    its = Timers(lifetime=10, lifetime_action=action)
    assert timers.find_due(machine(its, state), at(99), is_used=False) is None
    assert timers.find_due(machine(its, State.PAUSED), at(99), is_used=False) is not None


def test_what_was_started_again_after_the_end_of_its_lifetime_is_left_alone() -> None:
    its = Timers(lifetime=10, lifetime_action=TimerAction.SUSPEND)
    assert timers.find_due(machine(its, ready=9), at(99), is_used=False) is not None
    assert timers.find_due(machine(its, ready=11), at(99), is_used=False) is None
    assert timers.find_remaining(machine(its, ready=11), at(99), is_used=False).lifetime is None


def test_what_has_been_suspended_too_long_is_deleted() -> None:
    its = Timers(suspended=10)
    suspended = machine(its, State.SUSPENDED, suspended=5)
    assert timers.find_due(suspended, at(14.9), is_used=False) is None
    assert timers.find_due(suspended, at(15), is_used=False) == timers.Due(Verb.DELETE, "suspended for 10 s")
    assert timers.find_due(machine(its), at(99), is_used=False) is None


def test_what_destroys_goes_before_what_only_stops() -> None:
    its = Timers(idle=5, idle_action=TimerAction.DESTROY, lifetime=5, lifetime_action=TimerAction.STOP)
    assert timers.find_due(machine(its), at(9), is_used=False) == timers.Due(Verb.DELETE, "not used for 5 s")


def test_the_time_that_is_left_is_told() -> None:
    its = Timers(idle=10, lifetime=100, suspended=50)
    running, suspended = machine(its, used=3), machine(its, State.SUSPENDED, suspended=3)
    assert timers.find_remaining(running, at(5), is_used=False) == timers.Remaining(idle=8, lifetime=95)
    assert timers.find_remaining(running, at(5), is_used=True) == timers.Remaining(idle=10, lifetime=95)
    assert timers.find_remaining(suspended, at(5), is_used=False) == timers.Remaining(lifetime=95, suspended=48)
    assert timers.find_remaining(running, at(500), is_used=False) == timers.Remaining(idle=0, lifetime=0)
    assert timers.find_remaining(machine(Timers()), at(5), is_used=False) == timers.Remaining()


def test_a_lifetime_counts_from_when_it_last_began() -> None:
    it = machine(Timers(lifetime=10, since=at(100)))
    assert timers.find_deadline(it) == at(110)
    assert timers.find_due(it, at(109.9), is_used=False) is None
    assert timers.find_due(it, at(110), is_used=False) == timers.Due(Verb.DELETE, "its lifetime of 10 s is over")


def test_without_a_lifetime_there_is_no_deadline() -> None:
    assert timers.find_deadline(machine(Timers(idle=10))) is None


@pytest.mark.parametrize(
    ("looked", "now", "is_needed"),
    [(None, 0, True), (10, 34, False), (10, 35, True), (99, 100, True), (100, 101, False), (10, 9, True)],
)
def test_traffic_is_looked_at_four_times_in_the_idle_time_and_when_it_is_over(
    looked: float | None, now: float, is_needed: bool
) -> None:
    it, looked_at = machine(Timers(idle=100, idle_bytes=0)), None if looked is None else at(looked)
    assert timers.needs_look(it, looked_at, at(now)) is is_needed


@pytest.mark.parametrize("its", [Timers(idle=100), Timers(idle_bytes=5), Timers(lifetime=5, idle_bytes=5)])
def test_traffic_that_means_nothing_is_not_looked_at(its: Timers) -> None:
    assert not timers.needs_look(machine(its), None, at(1000))


@pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING}))
def test_traffic_of_a_machine_that_does_not_run_is_not_looked_at(state: State) -> None:
    assert not timers.needs_look(machine(Timers(idle=1, idle_bytes=0), state), None, at(1000))
