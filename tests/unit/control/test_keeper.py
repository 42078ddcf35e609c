"""Timers, by a clock that the test moves; and what is written now and then."""

import asyncio

import pytest

from hutch.control import traffic
from hutch.host.interface import Life
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Persistence, TimerAction, Timers
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn


async def sweep(rig: Rig, seconds: float) -> None:
    """So much time passes, and the keeper makes its round."""
    rig.clock.advance(seconds)
    rig.plane.core.keeper.sweep()
    await turn()
    await rig.settle()


async def test_an_idle_machine_is_stopped_and_says_why(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(idle=60))
    await sweep(rig, 59)
    assert rig.state(machine) is State.RUNNING
    await sweep(rig, 1)
    assert rig.state(machine) is State.STOPPED
    assert "stopping: not used for 60 s" in await rig.messages(machine)


async def test_the_keeper_makes_its_rounds_by_itself(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(idle=60))
    await turn()
    rig.clock.advance(61)
    await rig.come(machine, State.STOPPED)


async def test_use_begins_the_idle_time_anew(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(idle=60))
    for _ in range(3):
        await sweep(rig, 50)
        await rig.run(machine, "true")
    await sweep(rig, 59)
    assert rig.state(machine) is State.RUNNING


async def test_looking_is_no_use(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(idle=60))
    await sweep(rig, 59)
    rig.get(machine)
    rig.plane.machines.list(rig.me)
    await rig.messages(machine)
    await rig.plane.machines.stats(rig.me, machine)
    await rig.plane.processes.list(rig.me, machine)
    await sweep(rig, 1)
    assert rig.state(machine) is State.STOPPED


async def test_a_machine_is_not_idle_while_a_command_runs_in_it(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(idle=60))
    running = soon(rig.run(machine, "sleep 1000"))
    while not rig.world.machines[machine].processes:
        await asyncio.sleep(0)
    rig.clock.advance(1000)
    rig.plane.core.keeper.sweep()
    await turn()
    assert rig.state(machine) is State.RUNNING
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await sweep(rig, 60)
    assert rig.state(machine) is State.STOPPED


async def test_a_stopped_machine_that_is_used_again_is_stopped_again(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(idle=5))
    await sweep(rig, 5)
    await rig.run(machine, "true")
    assert rig.state(machine) is State.RUNNING
    await sweep(rig, 5)
    assert rig.state(machine) is State.STOPPED


async def test_an_idle_ephemeral_machine_is_deleted(rig: Rig) -> None:
    await rig.launch(persistence=Persistence.EPHEMERAL, timers=Timers(idle=5))
    await sweep(rig, 5)
    assert rig.plane.machines.list(rig.me) == []


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_machine_whose_lifetime_is_over_is_deleted(rig: Rig, is_running: bool) -> None:
    machine = await (rig.launch if is_running else rig.create)(timers=Timers(lifetime=100))
    await sweep(rig, 99)
    assert rig.get(machine)
    await sweep(rig, 1)
    assert rig.world.machines == {}


async def test_a_lifetime_ends_even_a_start(rig: Rig) -> None:
    machine = await rig.create(timers=Timers(lifetime=100))
    rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    await sweep(rig, 100)
    assert isinstance((await asyncio.gather(starting, return_exceptions=True))[0], errors.Conflict)
    assert rig.world.machines == {}


async def test_timers_that_ran_out_while_the_service_was_away_fire_late(rig: Rig) -> None:
    idle, old = await rig.launch(timers=Timers(idle=60)), await rig.launch(timers=Timers(lifetime=60))
    await rig.crash()
    rig.clock.advance(1000)
    await rig.crash_and_restart()
    await sweep(rig, 0)
    assert rig.life(idle) is Life.STOPPED
    assert rig.life(old) is None


async def test_what_a_timer_could_not_do_is_tried_again_after_a_while(rig: Rig) -> None:
    machine = await rig.create(timers=Timers(lifetime=10))
    rig.world.faults.destroys = [errors.DiskFull("no"), errors.DiskFull("no")]
    for _ in range(30):
        await sweep(rig, 1)
    assert (await rig.messages(machine)).count("could not be deleted: no") == 1
    await sweep(rig, 60)
    assert (await rig.messages(machine)).count("could not be deleted: no") == 2
    await sweep(rig, 60)
    assert rig.world.machines == {}


async def test_last_uses_are_written_in_batches_and_at_the_end(rig: Rig) -> None:
    machine = await rig.launch()
    rig.clock.advance(1)
    await turn()
    await rig.run(machine, "true")
    used = rig.clock.now()
    assert rig.get(machine).last_activity_at == used
    assert (await rig.store.load()).machines[0].last_activity_at != used
    rig.clock.advance(5)
    await turn()
    assert (await rig.store.load()).machines[0].last_activity_at == used
    await rig.run(machine, "true")
    await rig.plane.close()
    assert (await rig.store.load()).machines[0].last_activity_at == rig.clock.now()


async def test_an_error_of_one_round_does_not_end_the_rounds(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await rig.launch(timers=Timers(idle=60))
    await turn()
    with monkeypatch.context() as broken:
        broken.setattr(rig.plane.core.fleet.records, "timed", lambda: 1 / 0)
        rig.clock.advance(61)
        await turn()
    assert rig.state(machine) is State.RUNNING
    rig.clock.advance(1)
    await rig.come(machine, State.STOPPED)


async def test_an_idle_machine_is_suspended_if_that_is_what_its_timer_does(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(idle=60, idle_action=TimerAction.SUSPEND))
    await sweep(rig, 60)
    assert rig.state(machine) is State.SUSPENDED
    assert "suspending: not used for 60 s" in await rig.messages(machine)
    assert (await rig.run(machine, "echo up")).stdout == b"up\n"
    await sweep(rig, 60)
    assert rig.state(machine) is State.SUSPENDED


async def test_what_has_been_suspended_too_long_is_deleted_also_after_a_restart(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(suspended=60))
    await rig.plane.machines.suspend(rig.me, machine)
    await sweep(rig, 30)
    await rig.crash_and_restart()
    assert rig.plane.machines.remaining(rig.me, machine).suspended == 30
    await sweep(rig, 30)
    assert rig.world.machines == {}


async def test_a_suspended_machine_is_not_idle(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(idle=5, idle_action=TimerAction.DESTROY))
    await rig.plane.machines.suspend(rig.me, machine)
    await sweep(rig, 100)
    assert rig.state(machine) is State.SUSPENDED
    await rig.plane.machines.start(rig.me, machine)
    assert rig.plane.machines.remaining(rig.me, machine).idle == 5


async def test_the_keeper_fills_pools_verifies_snapshots_and_looks_after_the_quota(rig: Rig) -> None:
    snapshot = await rig.plane.snapshots.create(rig.me, await rig.launch())
    await sweep(rig, 86_400)
    verified = rig.plane.snapshots.find(rig.me, snapshot.id).verified_at
    assert verified is not None
    assert rig.clock.now() == verified


async def watch(rig: Rig, machine: MachineId, seconds: int, received: int = 0, sent: int = 0) -> None:
    """So many seconds pass, with so many bytes in each and the keeper making its rounds."""
    for _ in range(seconds):
        rig.world.received[machine] = rig.world.received.get(machine, 0) + received
        rig.world.sent[machine] = rig.world.sent.get(machine, 0) + sent
        await sweep(rig, 1)


SUSPENDING = Timers(idle=20, idle_action=TimerAction.SUSPEND, idle_bytes=1000)


@pytest.mark.parametrize("way", ["received", "sent"])
async def test_traffic_is_use_where_the_timers_say_so(rig: Rig, way: str) -> None:
    machine = await rig.launch(timers=SUSPENDING)
    await watch(rig, machine, 100, **{way: 60})  # 1000 in 17 s
    assert rig.state(machine) is State.RUNNING
    await watch(rig, machine, 27)  # the last 1000 were seen at most 5 s late
    assert rig.state(machine) is State.SUSPENDED
    assert "not used for 20 s" in await rig.messages(machine)


async def test_as_much_traffic_as_is_allowed_is_no_use(rig: Rig) -> None:
    machine = await rig.launch(timers=SUSPENDING)
    rig.world.received[machine] = 1000
    await watch(rig, machine, 22)
    assert rig.state(machine) is State.SUSPENDED


async def test_traffic_of_the_last_moment_is_seen_before_the_idle_time_ends(rig: Rig) -> None:
    machine = await rig.launch(timers=SUSPENDING)
    await watch(rig, machine, 19)
    rig.world.sent[machine] = 1001
    await watch(rig, machine, 10)
    assert rig.state(machine) is State.RUNNING


async def test_a_counter_that_hangs_keeps_a_machine_only_for_so_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "LIMIT", 0.01)
    machine, old = await rig.launch(timers=SUSPENDING), await rig.launch(timers=Timers(lifetime=21))
    rig.world.faults.gates["traffic"] = asyncio.Event()
    await sweep(rig, 21)
    assert (rig.state(machine), rig.life(old)) == (State.RUNNING, None)
    while rig.plane.core.keeper._looking:
        await asyncio.sleep(0.01)
    await sweep(rig, 1)
    await rig.come(machine, State.SUSPENDED)


async def test_without_the_word_or_without_a_counter_traffic_is_no_use(rig: Rig) -> None:
    plain, mute = await rig.launch(timers=Timers(idle=20)), await rig.launch(timers=SUSPENDING)
    rig.world.faults.fails["traffic"] = [errors.Unsupported("no counters") for _ in range(100)]
    for machine in (plain, mute):
        rig.world.sent[machine] = 10**6
    await watch(rig, mute, 22)
    assert (rig.state(plain), rig.state(mute)) == (State.STOPPED, State.SUSPENDED)


async def test_what_came_while_no_service_looked_begins_the_idle_time_anew(rig: Rig) -> None:
    machine = await rig.launch(timers=SUSPENDING)
    rig.world.sent[machine] = 10
    await rig.crash()
    rig.clock.advance(1000)
    await rig.crash_and_restart()
    await watch(rig, machine, 19)
    assert rig.state(machine) is State.RUNNING
    await watch(rig, machine, 3)
    assert rig.state(machine) is State.SUSPENDED


async def test_a_new_process_begins_to_count_its_traffic_anew(rig: Rig) -> None:
    machine = await rig.launch(timers=SUSPENDING)
    await watch(rig, machine, 10, sent=1000)
    await rig.plane.machines.suspend(rig.me, machine)
    rig.world.sent[machine] = 0
    await rig.plane.machines.start(rig.me, machine)
    await watch(rig, machine, 10, sent=110)
    await watch(rig, machine, 15)
    assert rig.state(machine) is State.RUNNING


async def test_only_watched_machines_are_looked_at_and_none_is_kept_in_mind_for_ever(rig: Rig) -> None:
    watched, _ = await rig.launch(timers=SUSPENDING), await rig.launch(timers=Timers(idle=1000))
    await sweep(rig, 1)
    keeper = rig.plane.core.keeper
    assert list(keeper._looked) == [watched]
    await rig.plane.machines.delete(rig.me, watched)
    await sweep(rig, 1)
    assert not keeper._looked
    assert not keeper._looking
