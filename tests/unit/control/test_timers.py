"""When a machine's time is up."""

from datetime import UTC, datetime, timedelta

import pytest

from hutch.control import timers
from hutch.control.policy import Verb
from hutch.model import ids
from hutch.model.ids import TenantId
from hutch.model.machine import ImageRef, Machine, MachineSpec, Resources, Timers
from hutch.model.states import State

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def machine(
    its: Timers, state: State = State.RUNNING, ready: float | None = None, used: float | None = None
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
