"""Forks: all copies or none, whatever happens in the middle."""

import asyncio
from typing import Any

import pytest

from hutch.control.machines import ForkRequest
from hutch.host.interface import Life
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Machine, Persistence, Timers
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn


async def fork(rig: Rig, source: MachineId, **fields: Any) -> list[Machine]:
    return await rig.plane.machines.fork(rig.me, source, ForkRequest(**fields))


def check_nothing_is_left(rig: Rig, source: MachineId) -> None:
    assert [machine.id for machine in rig.plane.machines.list(rig.me)] == [source]
    assert set(rig.world.machines) == {source}
    assert rig.world.snapshots == {}
    assert rig.plane.core.fleet.admission.promised_mib == 512


async def test_copies_run_with_their_sources_processes_and_the_source_goes_on(rig: Rig) -> None:
    source = await rig.launch(name="web")
    await rig.run(source, "echo here >workspace/file")
    process = await rig.plane.processes.start(rig.me, source, rig.line("sleep 1000"))
    children = await fork(rig, source, count=8)
    assert [child.name for child in children] == [f"web-{number}" for number in range(1, 9)]
    for child in children:
        assert (child.state, child.parent, rig.life(child.id)) == (State.RUNNING, source, Life.RUNNING)
        assert (await rig.run(child.id, "cat workspace/file")).stdout == b"here\n"
        assert process.id in [it.id for it in await rig.plane.processes.list(rig.me, child.id)]
    assert rig.state(source) is State.RUNNING
    assert "forked: web-1, web-2, web-3, web-4, web-5, web-6, web-7, web-8" in await rig.messages(source)
    assert await rig.messages(children[0].id) == ["creating as a copy of web", "running"]
    await rig.settle()
    assert rig.world.snapshots == {}
    assert rig.plane.core.fleet.admission.promised_mib == 9 * 512


async def test_a_copy_is_what_its_source_is_but_for_its_names(rig: Rig) -> None:
    fields: dict[str, Any] = {
        "env": {"A": "b"},
        "labels": {"k": "v"},
        "timers": Timers(idle=60, lifetime=600),
        "persistence": Persistence.STICKY,
        "priority": 9,
        "command": ("sleep", "1000"),
        "disk_gib": 9,
    }
    source = rig.get(await rig.launch(**fields))
    rig.clock.advance(7)
    (child,) = await fork(rig, source.id, names=("Twin",))
    assert (child.name, child.spec.hostname) == ("Twin", "twin")
    for name in ("labels", "timers", "persistence", "priority", "tenant"):
        assert getattr(child, name) == getattr(source, name)
    for name in ("image", "resources", "network", "env", "workdir", "command"):
        assert getattr(child.spec, name) == getattr(source.spec, name)
    now = rig.clock.now()
    assert (child.created_at, child.ready_at, child.last_activity_at, child.snapshot) == (now, now, now, None)


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_a_frozen_source_stays_frozen_and_its_copies_run(rig: Rig, verb: str) -> None:
    source = await rig.launch()
    frozen = await getattr(rig.plane.machines, verb)(rig.me, source)
    (child,) = await fork(rig, source)
    assert (rig.state(source), child.state) == (frozen.state, State.RUNNING)


async def test_a_source_can_be_frozen_behind_it(rig: Rig) -> None:
    source = await rig.launch()
    (child,) = await fork(rig, source, freeze_source=True)
    assert (rig.state(source), rig.state(child.id)) == (State.SUSPENDED, State.RUNNING)


async def test_a_source_that_cannot_be_frozen_says_so_and_the_copies_stay(rig: Rig) -> None:
    source = await rig.launch()
    rig.world.faults.fails["suspend"] = [errors.DiskFull("full")]
    (child,) = await fork(rig, source, freeze_source=True)
    assert (rig.state(source), rig.state(child.id)) == (State.RUNNING, State.RUNNING)
    assert (await rig.messages(source))[-1] == "not suspended: full"


async def test_a_machine_without_memory_cannot_be_forked(rig: Rig) -> None:
    source = await rig.create()
    with pytest.raises(errors.NotRunning, match="is stopped and cannot be copied"):
        await fork(rig, source)
    assert rig.plane.core.fleet.admission.promised_mib == 0


async def test_names_are_numbered_past_those_that_are_taken(rig: Rig) -> None:
    source = await rig.launch(name="web")
    await rig.create(name="web-2")
    assert [it.name for it in await fork(rig, source, count=2)] == ["web-1", "web-3"]
    assert [it.name for it in await fork(rig, source, count=2, name_prefix="x")] == ["x-1", "x-2"]
    long = await rig.launch(name="n" * 63)
    assert [it.name for it in await fork(rig, long)] == ["n" * 61 + "-1"]


async def test_a_name_that_is_taken_is_a_conflict_and_makes_none(rig: Rig) -> None:
    source = await rig.launch(name="web")
    with pytest.raises(errors.Conflict, match="already a machine named web"):
        await fork(rig, source, names=("a", "web"))
    check_nothing_is_left(rig, source)
    assert len(await fork(rig, source, names=("a", "b"))) == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"count": 0}, "count is 0: a fork makes 1 to 64 copies"),
        ({"count": 65}, "count is 65"),
        ({"count": 1, "names": ("a", "b")}, "names: 2 given for 1 copies"),
        ({"names": ()}, "names: 0 given for 1 copies"),
        ({"names": ("a", "a")}, "names: two of them are the same"),
        ({"names": ("a b",)}, "name 'a b'"),
        ({"name_prefix": "-"}, "name '-'"),
        ({"names": ("a",), "name_prefix": "b"}, "names and name prefix: give one"),
    ],
)
async def test_a_fork_that_makes_no_sense_is_refused(rig: Rig, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        await fork(rig, await rig.launch(), **fields)


async def test_none_is_made_unless_all_fit(rig: Rig) -> None:
    source = await rig.launch()
    rig.world.memory_mib = 512 * 4 + 100
    with pytest.raises(errors.NoCapacity, match=r"4 machines of 512 MiB each asked for, 1636 MiB free .* enough for 3"):
        await fork(rig, source, count=4)
    check_nothing_is_left(rig, source)
    assert len(await fork(rig, source, count=3)) == 3


async def test_when_one_cannot_be_made_none_is(rig: Rig) -> None:
    source = await rig.launch()
    rig.world.faults.fails["create"] = [errors.MachineFailed("no disk")]
    with pytest.raises(errors.MachineFailed, match="no disk"):
        await fork(rig, source, count=4)
    await rig.settle()
    check_nothing_is_left(rig, source)


async def test_when_one_cannot_be_started_none_is(rig: Rig) -> None:
    source = await rig.launch()
    rig.world.faults.starts = [errors.Damaged("not what was saved")]
    with pytest.raises(errors.Damaged):
        await fork(rig, source, count=4)
    await rig.settle()
    check_nothing_is_left(rig, source)


async def test_a_copy_that_cannot_be_taken_makes_none(rig: Rig) -> None:
    source = await rig.launch()
    rig.world.faults.fails["snapshot"] = [errors.DiskFull("full")]
    with pytest.raises(errors.DiskFull):
        await fork(rig, source, count=4)
    check_nothing_is_left(rig, source)


async def begin(rig: Rig, source: MachineId, count: int) -> tuple["asyncio.Future[Any]", list[MachineId]]:
    """A fork whose children are being started."""
    rig.world.faults.gate = asyncio.Event()
    forking = soon(fork(rig, source, count=count))
    async with asyncio.timeout(30):
        while len(rig.world.machines) < count + 1:
            await asyncio.sleep(0)
    return forking, [machine.id for machine in rig.plane.machines.list(rig.me) if machine.id != source]


async def test_children_are_in_the_making_until_all_run(rig: Rig) -> None:
    source = await rig.launch()
    forking, children = await begin(rig, source, 3)
    rig.plane.core.keeper.sweep()
    await turn()
    assert {rig.state(child) for child in children} == {State.CREATING}
    assert rig.world.faults.gate is not None
    rig.world.faults.gate.set()
    await forking
    assert {rig.state(child) for child in children} == {State.RUNNING}


async def test_the_deletion_of_one_child_ends_the_fork(rig: Rig) -> None:
    source = await rig.launch(name="web")
    forking, children = await begin(rig, source, 3)
    name = rig.get(children[1]).name
    await rig.plane.machines.delete(rig.me, children[1])
    assert rig.world.faults.gate is not None
    rig.world.faults.gate.set()
    with pytest.raises(errors.Conflict, match=rf"the fork was ended by a delete \(copy {name}\)"):
        await forking
    await rig.settle()
    check_nothing_is_left(rig, source)


async def test_the_deletion_of_the_source_does_not_end_a_fork_that_has_its_copy(rig: Rig) -> None:
    source = await rig.launch()
    forking, children = await begin(rig, source, 2)
    await rig.plane.machines.delete(rig.me, source)
    assert rig.world.faults.gate is not None
    rig.world.faults.gate.set()
    await forking
    assert {rig.state(child) for child in children} == {State.RUNNING}


async def test_a_service_that_dies_in_a_fork_leaves_no_child(rig: Rig) -> None:
    source = await rig.launch()
    forking, _ = await begin(rig, source, 3)
    await rig.crash_and_restart()
    await rig.settle()
    assert forking.done()
    check_nothing_is_left(rig, source)


async def test_a_service_that_ends_in_a_fork_leaves_no_child(rig: Rig) -> None:
    source = await rig.launch()
    forking, _ = await begin(rig, source, 3)
    await asyncio.wait_for(rig.plane.close(), 5)
    with pytest.raises(errors.Conflict):
        await forking
    rig.world.faults.gate = None
    await rig.restart()
    await rig.settle()
    check_nothing_is_left(rig, source)


async def test_a_database_that_fails_at_the_end_leaves_no_child(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    source = await rig.launch()

    async def refuse(*_: object) -> None:
        raise errors.HutchError("the database failed")

    with monkeypatch.context() as broken:
        broken.setattr(rig.store, "save_machines", refuse)
        forking = soon(fork(rig, source, count=3))
        async with asyncio.timeout(30):
            while len(rig.world.machines) < 4:
                await asyncio.sleep(0)
        await turn(50)
    with pytest.raises(errors.HutchError, match="the database failed"):
        await forking
    rig.plane.core.keeper.sweep()
    await rig.settle()
    check_nothing_is_left(rig, source)


async def test_a_caller_that_goes_away_leaves_all_copies(rig: Rig) -> None:
    source = await rig.launch()
    forking, children = await begin(rig, source, 2)
    forking.cancel()
    await turn()
    assert rig.world.faults.gate is not None
    rig.world.faults.gate.set()
    await rig.settle()
    assert {rig.state(child) for child in children} == {State.RUNNING}


async def test_forks_of_one_source_at_once_queue_up(rig: Rig) -> None:
    source = await rig.launch(name="web")
    made = await asyncio.gather(*(fork(rig, source, count=2) for _ in range(5)))
    names = {child.name for children in made for child in children}
    assert names == {f"web-{number}" for number in range(1, 11)}
    await rig.settle()
    assert rig.world.snapshots == {}


async def test_a_child_that_dies_before_all_run_has_failed_afterwards(rig: Rig) -> None:
    source = await rig.launch()
    children = await fork(rig, source, count=2)
    await rig.world.die(children[0].id, "killed")
    await rig.come(children[0].id, State.FAILED)
    assert rig.state(children[1].id) is State.RUNNING


async def test_two_wakes_a_deletion_and_a_fork_at_once_each_end(rig: Rig) -> None:
    for _ in range(10):
        source = await rig.launch()
        await rig.plane.machines.suspend(rig.me, source)
        async with asyncio.timeout(10):
            results = await asyncio.gather(
                rig.plane.machines.start(rig.me, source),
                fork(rig, source, count=2),
                rig.run(source, "true"),
                rig.plane.machines.delete(rig.me, source),
                return_exceptions=True,
            )
        wrong = [result for result in results if isinstance(result, BaseException)]
        assert all(isinstance(error, errors.Conflict | errors.NotFound) for error in wrong)
        await rig.settle()
        for machine in rig.plane.machines.list(rig.me):
            assert machine.state is State.RUNNING
            await rig.plane.machines.delete(rig.me, machine.id)
        assert rig.world.machines == {}
        assert rig.plane.core.fleet.admission.promised_mib == 0


async def test_forking_needs_the_right_to_make_machines(rig: Rig) -> None:
    source = await rig.launch()
    user, stranger = await rig.someone("machine:exec"), await rig.someone(tenant="other")
    with pytest.raises(errors.Forbidden):
        await rig.plane.machines.fork(user, source, ForkRequest())
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.fork(stranger, source, ForkRequest())
