"""Machines that run as soon as they are made, and machines whose timers are set while they live."""

from datetime import timedelta

import pytest

from hutch.control.machines import ForkRequest, MachineRequest
from hutch.control.timers import find_deadline
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import TimerAction, Timers
from hutch.model.states import State
from unit.control.rig import Rig, turn


async def test_a_launched_machine_runs(rig: Rig) -> None:
    made = await rig.plane.machines.launch(rig.me, MachineRequest("debian", metadata={"team": ["a", 1]}))
    assert (made.state, made.metadata) == (State.RUNNING, {"team": ["a", 1]})
    assert rig.get(made.id) == made


async def test_of_a_launch_that_fails_nothing_is_left(rig: Rig) -> None:
    rig.world.faults.starts = [errors.MachineFailed("it would not boot")]
    with pytest.raises(errors.MachineFailed, match="it would not boot"):
        await rig.plane.machines.launch(rig.me, MachineRequest("debian"))
    assert rig.plane.machines.list(rig.me) == []


async def test_whoever_may_create_may_launch(rig: Rig) -> None:
    someone = await rig.someone("machine:create")
    assert (await rig.plane.machines.launch(someone, MachineRequest("debian"))).state is State.RUNNING
    with pytest.raises(errors.Forbidden, match="machine:create"):
        await rig.plane.machines.launch(await rig.someone("machine:exec"), MachineRequest("debian"))


@pytest.mark.parametrize("metadata", [{"a": "x" * 70_000}, {"a": object()}])
async def test_metadata_is_json_of_some_size(rig: Rig, metadata: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidRequest, match="metadata"):
        await rig.create(metadata=metadata)


async def test_a_copy_has_the_metadata_of_its_source(rig: Rig) -> None:
    source = await rig.launch(metadata={"team": "a"})
    (copy,) = await rig.plane.machines.fork(rig.me, source, ForkRequest(count=1))
    assert copy.metadata == {"team": "a"}


async def sweep(rig: Rig, seconds: float) -> None:
    """So much time passes, and the keeper makes its round."""
    rig.clock.advance(seconds)
    rig.plane.core.keeper.sweep()
    await turn()
    await rig.settle()


def remaining(rig: Rig, machine: MachineId) -> float | None:
    return rig.plane.machines.remaining(rig.me, machine).lifetime


async def test_a_lifetime_that_is_set_counts_from_now(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(lifetime=100))
    rig.clock.advance(60)
    assert remaining(rig, machine) == 40
    now = rig.clock.now()
    it = await rig.plane.machines.set_timers(rig.me, machine, Timers(lifetime=70, lifetime_action=TimerAction.SUSPEND))
    assert find_deadline(it) == now + timedelta(seconds=70)
    assert (it.timers.lifetime, it.timers.lifetime_action, it.state) == (70, TimerAction.SUSPEND, State.RUNNING)
    assert remaining(rig, machine) == 70


@pytest.mark.parametrize("state", ["stopped", "running", "paused", "suspended"])
async def test_timers_can_be_set_in_any_state(rig: Rig, state: str) -> None:
    machine = await (rig.create() if state == "stopped" else rig.launch())
    verbs = {"paused": rig.plane.machines.pause, "suspended": rig.plane.machines.suspend}
    if state in verbs:
        await verbs[state](rig.me, machine)
    it = await rig.plane.machines.set_timers(rig.me, machine, Timers(idle=5))
    assert (it.state, it.timers) == (State(state), Timers(idle=5))


async def test_set_timers_survive_a_restart_and_fire(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.machines.set_timers(rig.me, machine, Timers(lifetime=70))
    await rig.restart()
    assert remaining(rig, machine) == 70
    await sweep(rig, 69)
    assert rig.state(machine) is State.RUNNING
    await sweep(rig, 1)
    assert rig.plane.machines.list(rig.me) == []


async def test_timers_that_are_taken_away_do_not_fire(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(lifetime=70))
    it = await rig.plane.machines.set_timers(rig.me, machine, Timers())
    assert it.timers == Timers()
    await sweep(rig, 1000)
    assert rig.state(machine) is State.RUNNING


async def test_timers_that_cannot_be_are_refused(rig: Rig) -> None:
    machine = await rig.create()
    with pytest.raises(errors.InvalidRequest, match="lifetime is 0 s"):
        await rig.plane.machines.set_timers(rig.me, machine, Timers(lifetime=0))
    with pytest.raises(errors.Forbidden, match="machine:exec"):
        await rig.plane.machines.set_timers(await rig.someone("machine:read"), machine, Timers())
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.set_timers(await rig.someone(tenant="other"), machine, Timers())


async def test_a_copy_begins_its_own_lifetime(rig: Rig) -> None:
    source = await rig.launch(timers=Timers(lifetime=100))
    rig.clock.advance(10)
    await rig.plane.machines.set_timers(rig.me, source, Timers(lifetime=100))
    rig.clock.advance(50)
    (copy,) = await rig.plane.machines.fork(rig.me, source, ForkRequest(count=1))
    assert remaining(rig, copy.id) == 100
