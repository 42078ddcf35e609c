"""A machine that was destroyed is told of, and made anew under its id where it is so wished."""

import asyncio

import pytest

from hutch.control.machines import MachineRequest, MountRequest
from hutch.control.volumes import Volumes
from hutch.host.interface import Life
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.keys import Limits
from hutch.model.machine import EndsOn, Persistence, Resources, Timers
from hutch.model.states import State
from unit.control.rig import Rig, turn


async def lose(rig: Rig, **fields: object) -> MachineId:
    """One that may come back, and is gone."""
    machine = await rig.launch(is_recreated=True, **fields)
    await rig.plane.machines.delete(rig.me, machine)
    return machine


async def test_a_deleted_machine_is_told_of_to_its_tenant_alone(rig: Rig) -> None:
    machine = await rig.launch()
    assert await rig.plane.machines.deleted(rig.me, machine) is None
    await rig.plane.machines.delete(rig.me, machine)
    gone = await rig.plane.machines.deleted(rig.me, machine)
    assert gone is not None
    assert (gone.id, gone.state) == (machine, State.DESTROYED)
    assert await rig.plane.machines.deleted(await rig.someone(tenant="other"), machine) is None
    assert await rig.plane.machines.deleted(rig.me, MachineId("never-was")) is None
    with pytest.raises(errors.Forbidden):
        await rig.plane.machines.deleted(await rig.someone("machine:exec"), machine)


async def test_a_start_makes_it_anew_with_all_that_it_was_asked_to_be(rig: Rig) -> None:
    fields = {"name": "web", "cpus": 2, "memory_mib": 256, "env": {"A": "b"}, "labels": {"l": "v"}}
    machine = await rig.launch(is_recreated=True, timers=Timers(lifetime=100), **fields)
    before = rig.get(machine)
    await rig.run(machine, "echo lost > lost")
    rig.clock.advance(50)
    await rig.plane.machines.delete(rig.me, machine)
    with pytest.raises(errors.NotFound):
        rig.get(machine)
    rig.clock.advance(70)
    again = await rig.plane.machines.start(rig.me, machine)
    assert (again.id, again.state, again.spec, again.labels) == (machine, State.RUNNING, before.spec, before.labels)
    assert (again.name, again.is_recreated, again.created_at) == ("web", True, rig.clock.now())
    assert (await rig.run(machine, "ls")).stdout.find(b"lost") == -1
    assert rig.plane.machines.remaining(rig.me, machine).lifetime == 100
    assert await rig.plane.machines.deleted(rig.me, machine) is None
    assert rig.plane.machines.list(rig.me) == [again]


async def test_it_can_go_and_come_many_times_and_its_events_tell(rig: Rig) -> None:
    machine = await rig.launch(is_recreated=True, persistence=Persistence.EPHEMERAL, ends_on=EndsOn.STOP)
    for _ in range(3):
        assert (await rig.plane.machines.stop(rig.me, machine)).state is State.DESTROYED
        assert (await rig.plane.machines.start(rig.me, machine)).state is State.RUNNING
    assert (await rig.messages(machine)).count("making it anew from alpine") == 3
    assert rig.plane.core.quotas.used(rig.me.tenant).machines == 1


async def test_one_that_is_not_to_come_back_and_another_tenants_are_not_found(rig: Rig) -> None:
    plain, theirs = await rig.launch(), await lose(rig)
    await rig.plane.machines.delete(rig.me, plain)
    for who, machine in ((rig.me, plain), (await rig.someone(tenant="other"), theirs), (rig.me, MachineId("x"))):
        for call in (rig.plane.machines.start, rig.plane.machines.recreate):
            with pytest.raises(errors.NotFound):
                await call(who, machine)
    assert rig.world.machines == {}


async def test_one_that_is_gone_and_is_deleted_once_more_is_gone_for_good(rig: Rig) -> None:
    machine = await lose(rig)
    for who in (await rig.someone("machine:exec"), await rig.someone(tenant="other")):
        with pytest.raises((errors.Forbidden, errors.NotFound)):
            await rig.plane.machines.delete(who, machine)
    assert (await rig.plane.machines.start(rig.me, machine)).state is State.RUNNING
    for _ in range(2):
        await rig.plane.machines.delete(await rig.someone("machine:delete"), machine)
    for call in (rig.plane.machines.start, rig.plane.machines.delete):
        with pytest.raises(errors.NotFound):
            await call(rig.me, machine)
    await rig.restart()
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.start(rig.me, machine)
    assert await rig.plane.machines.deleted(rig.me, machine) is not None


async def test_one_that_is_deleted_while_it_is_made_anew_is_gone(rig: Rig) -> None:
    machine = await lose(rig)
    starting = asyncio.ensure_future(rig.plane.machines.start(rig.me, machine))
    deleting = asyncio.ensure_future(rig.plane.machines.delete(rig.me, machine))
    await asyncio.gather(starting, deleting, return_exceptions=True)
    assert deleting.exception() is None
    assert (rig.world.machines, rig.plane.machines.list(rig.me)) == ({}, [])


async def test_who_may_not_make_machines_may_not_bring_one_back(rig: Rig) -> None:
    machine = await lose(rig)
    for scopes in (["machine:exec"], ["machine:create"]):
        with pytest.raises(errors.Forbidden):
            await rig.plane.machines.start(await rig.someone(*scopes), machine)
    assert (await rig.plane.machines.start(await rig.someone("machine:exec", "machine:create"), machine)).id == machine


async def test_starts_at_once_make_it_once(rig: Rig) -> None:
    machine = await lose(rig)
    states = await asyncio.gather(*(rig.plane.machines.start(rig.me, machine) for _ in range(10)))
    assert {it.state for it in states} == {State.RUNNING}
    assert (await rig.messages(machine)).count("created") == 2


async def test_a_living_one_is_left_as_it_is(rig: Rig) -> None:
    machine = await rig.launch(is_recreated=True)
    assert (await rig.plane.machines.recreate(rig.me, machine)).state is State.RUNNING


async def test_it_survives_the_service(rig: Rig) -> None:
    machine = await lose(rig)
    await rig.restart()
    assert (await rig.plane.machines.start(rig.me, machine)).state is State.RUNNING
    await rig.crash_and_restart()
    assert rig.state(machine) is State.RUNNING


async def test_a_service_that_dies_meanwhile_leaves_one_that_can_still_come_back(rig: Rig) -> None:
    machine = await lose(rig)
    rig.world.faults.gates["create"] = asyncio.Event()
    starting = asyncio.ensure_future(rig.plane.machines.start(rig.me, machine))
    while rig.plane.core.fleet.records.get(machine) is None:
        await asyncio.sleep(0)
    await rig.crash()
    assert starting.done()
    rig.world.faults.gates.clear()
    await rig.crash_and_restart()
    await rig.settle()
    assert (await rig.plane.machines.start(rig.me, machine)).state is State.RUNNING


async def test_its_name_is_another_if_somebody_has_it_now(rig: Rig) -> None:
    machine = await lose(rig, name="web")
    await rig.create(name="web")
    again = await rig.plane.machines.start(rig.me, machine)
    assert (again.name, again.spec.hostname) == ("web-1", "web-1")


async def test_one_of_a_snapshot_goes_on_from_there_with_the_size_it_had(rig: Rig) -> None:
    source = await rig.launch(cpus=1, memory_mib=256)
    process = await rig.plane.processes.start(rig.me, source, rig.line("sleep 1000"))
    snapshot = await rig.plane.snapshots.create(rig.me, source)
    request = MachineRequest("", snapshot=snapshot.id, is_recreated=True)
    machine = (await rig.plane.machines.launch(rig.me, request)).id
    await rig.plane.machines.delete(rig.me, machine)
    await rig.plane.machines.start(rig.me, machine)
    assert process.id in [it.id for it in await rig.plane.processes.list(rig.me, machine)]
    await rig.plane.machines.resize(rig.me, machine, cpus=2, disk_gib=30)
    await rig.plane.machines.delete(rig.me, machine)
    again = await rig.plane.machines.start(rig.me, machine)
    assert again.spec.resources == rig.world.machines[machine].spec.resources == Resources(2, 256, 30)


async def lose_resized(rig: Rig) -> MachineId:
    """One of a snapshot, with another size than that, is gone."""
    snapshot = await rig.plane.snapshots.create(rig.me, await rig.launch(cpus=1, memory_mib=256))
    request = MachineRequest("", snapshot=snapshot.id, is_recreated=True)
    machine = (await rig.plane.machines.launch(rig.me, request)).id
    await rig.plane.machines.resize(rig.me, machine, cpus=2, memory_mib=512)
    await rig.plane.machines.delete(rig.me, machine)
    return machine


async def test_one_that_cannot_have_the_size_it_had_is_not_left_with_another(rig: Rig) -> None:
    machine = await lose_resized(rig)
    rig.world.faults.starts.append(errors.MachineFailed("no"))
    with pytest.raises(errors.MachineFailed):
        await rig.plane.machines.start(rig.me, machine)
    assert machine not in rig.world.machines
    assert rig.plane.core.fleet.admission.promised_mib == 256
    assert await rig.plane.machines.deleted(rig.me, machine) is not None
    assert (await rig.plane.machines.start(rig.me, machine)).spec.resources == Resources(2, 512, 20)


async def test_a_service_that_dies_while_one_gets_the_size_it_had_makes_it_with_that_the_next_time(rig: Rig) -> None:
    machine = await lose_resized(rig)
    rig.world.faults.gate = asyncio.Event()
    starting = asyncio.ensure_future(rig.plane.machines.start(rig.me, machine))
    while machine not in rig.world.machines:
        await asyncio.sleep(0)
    await turn()
    await rig.crash()
    assert starting.done()
    rig.world.faults.gate = None
    await rig.crash_and_restart()
    await rig.settle()
    assert machine not in rig.world.machines
    assert (await rig.plane.machines.start(rig.me, machine)).spec.resources == Resources(2, 512, 20)


async def test_a_start_that_comes_while_it_is_made_finds_it_with_the_size_it_had(rig: Rig) -> None:
    machine = await lose_resized(rig)
    rig.world.faults.gates["create"] = asyncio.Event()
    making = asyncio.ensure_future(rig.plane.machines.recreate(rig.me, machine))
    while rig.plane.core.fleet.records.get(machine) is None:
        await asyncio.sleep(0)
    starting = asyncio.ensure_future(rig.plane.machines.start(rig.me, machine))
    await turn()
    rig.world.faults.gates["create"].set()
    started = await starting
    assert (started.state, started.spec.resources) == (State.RUNNING, Resources(2, 512, 20))
    assert (await making).id == machine


async def test_a_start_that_is_allowed_in_some_states_alone_brings_none_back(rig: Rig) -> None:
    machine = await lose(rig)
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.start(rig.me, machine, only_in={State.PAUSED})
    assert rig.world.machines == {}


async def test_without_its_snapshot_it_cannot_be_made(rig: Rig) -> None:
    snapshot = await rig.plane.snapshots.create(rig.me, await rig.launch())
    request = MachineRequest("", name="web", snapshot=snapshot.id, is_recreated=True)
    machine = (await rig.plane.machines.launch(rig.me, request)).id
    await rig.plane.machines.delete(rig.me, machine)
    await rig.plane.snapshots.delete(rig.me, snapshot.id)
    with pytest.raises(errors.NotFound, match="machine web cannot be made anew: the snapshot it was made of is gone"):
        await rig.plane.machines.start(rig.me, machine)
    assert await rig.plane.machines.deleted(rig.me, machine) is not None


async def test_without_its_volume_or_beyond_the_quota_it_cannot_be_made_and_nothing_is_left(rig: Rig) -> None:
    volumes: Volumes = rig.plane.volumes
    volume = await volumes.create(rig.me, "data", 1)
    mounted = await lose(rig, mounts=(MountRequest(volume.id, "/data"),))
    plain = await lose(rig)
    await volumes.delete(rig.me, volume.id)
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.start(rig.me, mounted)
    await rig.plane.tenants.update(rig.me, rig.me.tenant, Limits(machines=0))
    with pytest.raises(errors.QuotaExceeded):
        await rig.plane.machines.start(rig.me, plain)
    assert (rig.plane.machines.list(rig.me), rig.world.machines) == ([], {})


async def test_one_that_could_not_be_made_is_gone_as_before(rig: Rig) -> None:
    machine = await lose(rig)
    rig.world.faults.fails["create"] = [errors.DiskFull("no")]
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.start(rig.me, machine)
    assert await rig.plane.machines.deleted(rig.me, machine) is not None
    assert (await rig.plane.machines.start(rig.me, machine)).state is State.RUNNING
    assert rig.life(machine) is Life.RUNNING
