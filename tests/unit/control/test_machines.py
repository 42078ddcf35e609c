"""Machines, as a caller sees them."""

import asyncio

import pytest

from hutch.control.machines import MachineRequest
from hutch.model import errors, ids
from hutch.model.machine import Persistence, Timers
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn


async def test_a_new_machine_is_stopped_and_has_all_that_was_asked_for(rig: Rig) -> None:
    request = MachineRequest(
        "python:3.12",
        "web",
        2,
        1024,
        5,
        env={"A": "b"},
        labels={"k": "v"},
        persistence=Persistence.STICKY,
        priority=7,
        timers=Timers(idle=9, lifetime=99),
    )
    made = await rig.plane.machines.create(rig.me, request)
    assert (made.name, made.state, made.labels, made.timers) == ("web", State.STOPPED, {"k": "v"}, request.timers)
    assert (made.persistence, made.priority) == (Persistence.STICKY, 7)
    assert (made.spec.image.reference, made.spec.resources.cpus, made.spec.env) == ("python:3.12", 2, {"A": "b"})
    assert made.spec.image.digest.startswith("sha256:")
    assert rig.get(made.id) == made


async def test_a_machine_without_a_name_is_given_one(rig: Rig) -> None:
    names = {rig.get(await rig.create()).name for _ in range(20)}
    assert len(names) == 20


async def test_a_name_is_taken_while_its_machine_lives(rig: Rig) -> None:
    first = await rig.create(name="web")
    with pytest.raises(errors.Conflict, match="already a machine named web"):
        await rig.create(name="web")
    await rig.plane.machines.delete(rig.me, first)
    await rig.create(name="web")


async def test_of_many_at_once_one_gets_the_name(rig: Rig) -> None:
    results = await asyncio.gather(*(rig.create(name="web") for _ in range(10)), return_exceptions=True)
    assert [type(result) for result in results].count(errors.Conflict) == 9
    assert len(rig.plane.machines.list(rig.me)) == 1


async def test_an_unknown_image_is_refused_now_and_nothing_is_left(rig: Rig) -> None:
    with pytest.raises(errors.ImageUnavailable, match="manifest unknown"):
        await rig.create(image="no-such-image", name="web")
    assert rig.plane.machines.list(rig.me) == []
    await rig.create(name="web")


async def test_more_than_the_box_has_is_refused_now(rig: Rig) -> None:
    with pytest.raises(errors.NoCapacity, match="16384 MiB"):
        await rig.create(memory_mib=1_000_000)


async def test_a_full_disk_fails_the_creation_and_leaves_nothing(rig: Rig) -> None:
    rig.world.faults.disk_full = True
    with pytest.raises(errors.DiskFull):
        await rig.create(name="web")
    assert rig.plane.machines.list(rig.me) == []
    rig.world.faults.disk_full = False
    await rig.create(name="web")


async def test_a_caller_that_goes_away_leaves_a_whole_machine(rig: Rig) -> None:
    creating = soon(rig.create(name="web"))
    while not rig.world.machines:
        await asyncio.sleep(0)
    creating.cancel()
    await turn()
    await rig.settle()
    assert [machine.state for machine in rig.plane.machines.list(rig.me)] == [State.STOPPED]


async def test_machines_are_listed_newest_first_and_by_labels(rig: Rig) -> None:
    made = [await rig.create(labels={"n": str(number), "all": ""}) for number in range(3)]
    listed = rig.plane.machines.list
    assert [machine.id for machine in listed(rig.me)] == made[::-1]
    assert [machine.id for machine in listed(rig.me, {"n": "1", "all": ""})] == [made[1]]
    assert listed(rig.me, {"n": "1", "other": ""}) == []


async def test_a_machine_is_found_by_id_and_by_name(rig: Rig) -> None:
    machine = await rig.create(name="web")
    assert rig.plane.machines.find(rig.me, machine).id == machine
    assert rig.plane.machines.find(rig.me, "web").id == machine
    with pytest.raises(errors.NotFound):
        rig.plane.machines.find(rig.me, "other")


async def test_another_tenants_machine_is_not_found(rig: Rig) -> None:
    machine = await rig.create(name="web")
    them, machines = await rig.someone(tenant="them"), rig.plane.machines
    assert machines.list(them) == []
    for call in (machines.get, machines.find, machines.progress):
        with pytest.raises(errors.NotFound):
            call(them, machine)
    for change in (machines.start, machines.stop, machines.delete, machines.events, machines.console, machines.stats):
        with pytest.raises(errors.NotFound):
            await change(them, machine)
    with pytest.raises(errors.NotFound):
        machines.find(them, "web")
    assert rig.state(machine) is State.STOPPED


async def test_every_call_needs_its_scope(rig: Rig) -> None:
    machine, poor, machines = await rig.create(), await rig.someone("usage:read"), rig.plane.machines
    reads = (machines.get, machines.progress, machines.find)
    for read in reads:
        with pytest.raises(errors.Forbidden, match="missing scope: machine:read"):
            read(poor, machine)
    for scope, call in (
        ("machine:exec", machines.start(poor, machine)),
        ("machine:exec", machines.stop(poor, machine)),
        ("machine:delete", machines.delete(poor, machine)),
        ("machine:read", machines.events(poor, machine)),
        ("machine:read", machines.console(poor, machine)),
        ("machine:read", machines.stats(poor, machine)),
        ("machine:read", machines.wait(poor, machine, {State.STOPPED}, 1)),
        ("machine:create", machines.create(poor, MachineRequest("alpine"))),
    ):
        with pytest.raises(errors.Forbidden, match=f"missing scope: {scope}"):
            await call
    with pytest.raises(errors.Forbidden, match="missing scope: machine:read"):
        machines.list(poor)


async def test_an_unknown_machine_is_not_found(rig: Rig) -> None:
    nobody = ids.new_machine_id()
    with pytest.raises(errors.NotFound, match="machine not found"):
        rig.get(nobody)
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.delete(rig.me, nobody)


async def test_its_events_tell_its_life(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.machines.stop(rig.me, machine)
    assert await rig.messages(machine) == [
        "creating from alpine",
        "created",
        "starting: asked for",
        "running after 0.00 s",
        "stopping: asked for",
        "stopped",
    ]
    assert len(await rig.plane.machines.events(rig.me, machine, limit=2)) == 2


async def test_waiting_ends_when_the_state_has_come(rig: Rig) -> None:
    machine = await rig.create()
    waiting = soon(rig.come(machine, State.RUNNING))
    await turn()
    assert not waiting.done()
    await rig.plane.machines.start(rig.me, machine)
    assert (await waiting).state is State.RUNNING


async def test_waiting_ends_when_its_time_is_up(rig: Rig) -> None:
    machine = await rig.create()
    with pytest.raises(errors.TimedOut, match="was not running within 0 s: it is stopped"):
        await rig.plane.machines.wait(rig.me, machine, {State.RUNNING}, 0)


async def test_waiting_ends_when_it_can_no_more_come(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.starts = [errors.MachineFailed("no kernel")]
    waiting = soon(rig.come(machine, State.RUNNING))
    with pytest.raises(errors.MachineFailed):
        await rig.plane.machines.start(rig.me, machine)
    with pytest.raises(errors.MachineFailed, match="no kernel"):
        await waiting
    waiting = soon(rig.come(machine, State.RUNNING, State.FAILED, State.STOPPED))
    assert (await waiting).state is State.FAILED


async def test_waiting_sees_a_state_that_is_gone_at_once(rig: Rig) -> None:
    machine = await rig.create()
    waiting = [soon(rig.come(machine, state)) for state in (State.STARTING, State.DESTROYING, State.RUNNING)]
    await turn()
    await rig.plane.machines.delete(rig.me, machine)
    destroying, running = await asyncio.gather(*waiting[1:], return_exceptions=True)
    assert destroying.state is State.DESTROYING
    assert isinstance(running, errors.NotFound)
    assert isinstance((await asyncio.gather(waiting[0], return_exceptions=True))[0], errors.NotFound)


async def test_a_running_machine_tells_of_itself(rig: Rig) -> None:
    machine = await rig.launch()
    assert (await rig.plane.machines.stats(rig.me, machine)).memory_total == 512 * 2**20
    assert b"simulated" in (await rig.plane.machines.console(rig.me, machine)).text
    await rig.plane.machines.stop(rig.me, machine)
    with pytest.raises(errors.NotRunning):
        await rig.plane.machines.stats(rig.me, machine)
