"""Other vCPUs and another memory: by a boot that keeps the disk, whole or not at all; killing; and optimizing."""

import asyncio
from typing import Any

import pytest

from hutch.host.interface import Life
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.keys import Limits
from hutch.model.machine import EndsOn, Persistence, Resources
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn


def size(rig: Rig, machine: MachineId) -> Resources:
    """As record and host agree."""
    its = rig.get(machine).spec.resources
    assert rig.world.machines[machine].spec.resources == its
    return its


def promised(rig: Rig) -> int:
    return rig.plane.core.fleet.admission.promised_mib


async def resize(rig: Rig, machine: MachineId, **wanted: Any) -> State:
    return (await rig.plane.machines.resize(rig.me, machine, **wanted)).state


async def test_a_running_machine_is_restarted_with_its_new_size_and_its_disk_and_says_so(rig: Rig) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    process = await rig.plane.processes.start(rig.me, machine, rig.line("sleep 1000"))
    await rig.run(machine, "echo kept > kept")
    assert await resize(rig, machine, cpus=2, memory_mib=1024) is State.RUNNING
    assert (size(rig, machine), promised(rig)) == (Resources(2, 1024, 20), 1024)
    assert (await rig.run(machine, "cat kept")).stdout == b"kept\n"
    assert process.id not in [it.id for it in await rig.plane.processes.list(rig.me, machine)]
    assert (await rig.messages(machine))[-5:-1] == [
        "stopping: resized, which takes a boot",
        "stopped",
        "it has 2 vCPUs and 1024 MiB of memory now: its disk is kept",
        "starting: resized, which takes a boot",
    ]
    kinds = [event.kind for event in await rig.plane.machines.events(rig.me, machine)]
    assert kinds.count("machine.resized") == 1
    await rig.restart()
    assert size(rig, machine) == Resources(2, 1024, 20)


@pytest.mark.parametrize("verb", ["stop", "pause", "suspend", ""])
async def test_one_that_does_not_run_is_stopped_after_it(rig: Rig, verb: str) -> None:
    machine = await (rig.launch if verb else rig.create)(cpus=1, memory_mib=512)
    if verb:
        await getattr(rig.plane.machines, verb)(rig.me, machine)
    assert await resize(rig, machine, memory_mib=256, disk_gib=30) is State.STOPPED
    assert (size(rig, machine), promised(rig), rig.get(machine).suspended_at) == (Resources(1, 256, 30), 0, None)
    assert (await rig.plane.machines.start(rig.me, machine)).state is State.RUNNING
    assert promised(rig) == 256


async def test_a_suspended_one_writes_what_it_holds_before_its_memory_goes(rig: Rig) -> None:
    source = await rig.launch(cpus=1, memory_mib=512)
    snapshot = await rig.plane.snapshots.create(rig.me, source)
    machine = await rig.create(image="", snapshot=snapshot.id)
    assert await resize(rig, machine, cpus=2) is State.STOPPED
    kinds = [event.kind for event in await rig.plane.machines.events(rig.me, machine)]
    assert kinds[-5:] == [f"machine.{it}" for it in ("starting", "woken", "stopping", "stopped", "resized")]


async def test_one_that_cannot_be_woken_is_suspended_as_it_was(rig: Rig) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    await rig.plane.machines.suspend(rig.me, machine)
    rig.world.faults.starts.append(errors.Damaged("not what was saved"))
    with pytest.raises(errors.Damaged):
        await resize(rig, machine, cpus=2)
    assert (rig.state(machine), size(rig, machine).cpus, promised(rig)) == (State.SUSPENDED, 1, 0)


async def test_a_disk_alone_grows_while_everything_goes_on(rig: Rig) -> None:
    machine = await rig.launch()
    process = await rig.plane.processes.start(rig.me, machine, rig.line("sleep 1000"))
    assert await resize(rig, machine, disk_gib=30) is State.RUNNING
    assert process.id in [it.id for it in await rig.plane.processes.list(rig.me, machine)]


async def test_what_it_has_already_changes_nothing(rig: Rig) -> None:
    machine = await rig.launch(cpus=2, memory_mib=512)
    before = await rig.messages(machine)
    assert await resize(rig, machine, cpus=2, memory_mib=512, disk_gib=20) is State.RUNNING
    assert await rig.messages(machine) == before


async def test_resizes_at_once_all_happen(rig: Rig) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    wanted: list[dict[str, int]] = [{"cpus": 2}, {"memory_mib": 1024}, {"disk_gib": 40}, {"cpus": 2}]
    await asyncio.gather(*(resize(rig, machine, **it) for it in wanted))
    assert (size(rig, machine), rig.state(machine)) == (Resources(2, 1024, 40), State.RUNNING)


@pytest.mark.parametrize(
    ("wanted", "kind", "words"),
    [
        ({}, errors.InvalidRequest, "nothing to resize"),
        ({"cpus": 0}, errors.InvalidRequest, "cpus is 0"),
        ({"memory_mib": 1}, errors.InvalidRequest, "memory is 1 MiB"),
        ({"disk_gib": 19}, errors.InvalidRequest, "at least the 20 GiB it has"),
        ({"cpus": 99}, errors.NoCapacity, "vCPUs: 99 asked for, this box has 8"),
        ({"memory_mib": 10**6}, errors.NoCapacity, "memory: 1000000 MiB asked for"),
        ({"memory_mib": 16 * 1024}, errors.NoCapacity, "not enough memory is free now: 15872 MiB asked for"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_stopped(
    rig: Rig, wanted: dict[str, int], kind: type[Exception], words: str
) -> None:
    machine, _ = await rig.launch(cpus=1, memory_mib=512), await rig.launch(memory_mib=512)
    process = await rig.plane.processes.start(rig.me, machine, rig.line("sleep 1000"))
    with pytest.raises(kind, match=words):
        await resize(rig, machine, **wanted)
    assert (size(rig, machine), promised(rig)) == (Resources(1, 512, 20), 1024)
    assert process.id in [it.id for it in await rig.plane.processes.list(rig.me, machine)]


async def test_more_than_the_quota_is_refused_before_anything_is_stopped(rig: Rig) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    await rig.plane.tenants.update(rig.me, rig.me.tenant, Limits(cpus=2, memory_mib=600))
    for wanted in ({"cpus": 3}, {"memory_mib": 601}):
        with pytest.raises(errors.QuotaExceeded):
            await resize(rig, machine, **wanted)
    assert (size(rig, machine), rig.state(machine)) == (Resources(1, 512, 20), State.RUNNING)
    assert await resize(rig, machine, cpus=2, memory_mib=600) is State.RUNNING


async def test_nobody_takes_the_memory_while_it_is_restarted(rig: Rig) -> None:
    rig.world.memory_mib = 1536
    machine = await rig.launch(memory_mib=512)
    other = await rig.create(memory_mib=768)
    rig.world.faults.gate = asyncio.Event()
    resizing = soon(resize(rig, machine, memory_mib=1024))
    await rig.come(machine, State.STARTING)
    with pytest.raises(errors.NoCapacity):
        await rig.plane.machines.start(rig.me, other)
    rig.world.faults.gate.set()
    assert await resizing is State.RUNNING


async def test_usage_follows_the_new_size(rig: Rig) -> None:
    machine = await rig.launch(cpus=1, memory_mib=1024)
    rig.clock.advance(3600)
    await resize(rig, machine, cpus=4, memory_mib=2048)
    rig.clock.advance(3600)
    usage = (await rig.plane.usage.of_machine(rig.me, machine)).usage
    assert (usage.cpu_hours, usage.memory_gib_hours) == (5, 3)


async def test_one_that_cannot_be_started_so_is_started_as_it_was(rig: Rig) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    rig.world.faults.starts.append(errors.MachineFailed("no such memory"))
    with pytest.raises(errors.MachineFailed, match="no such memory"):
        await resize(rig, machine, memory_mib=1024)
    assert (rig.state(machine), size(rig, machine), promised(rig)) == (State.RUNNING, Resources(1, 512, 20), 512)
    assert any("because it failed with another size (no such memory)" in it for it in await rig.messages(machine))


async def test_one_that_cannot_be_reshaped_runs_as_it_was(rig: Rig) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    rig.world.faults.fails["reshape"] = [errors.DiskFull("no")]
    with pytest.raises(errors.DiskFull):
        await resize(rig, machine, memory_mib=1024)
    assert (rig.state(machine), size(rig, machine), promised(rig)) == (State.RUNNING, Resources(1, 512, 20), 512)


@pytest.mark.parametrize("verb", ["delete", "kill"])
async def test_a_deletion_and_a_kill_end_a_resize(rig: Rig, verb: str) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    rig.world.faults.gate = asyncio.Event()
    resizing = soon(resize(rig, machine, cpus=2))
    await rig.come(machine, State.STARTING)
    await getattr(rig.plane.machines, verb)(rig.me, machine)
    with pytest.raises(errors.Conflict, match=f"ended by a {verb}"):
        await resizing
    assert promised(rig) == 0
    if verb == "kill":
        assert (rig.state(machine), size(rig, machine).cpus) == (State.STOPPED, 2)


@pytest.mark.parametrize("step", ["resize", "reshape"])
async def test_a_resize_that_is_ended_is_recorded_as_far_as_its_host_went(rig: Rig, step: str) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    rig.world.faults.gates[step] = asyncio.Event()
    resizing = soon(resize(rig, machine, cpus=2, disk_gib=30))
    await turn(30)
    killing = soon(rig.plane.machines.kill(rig.me, machine))
    await turn()
    rig.world.faults.gates[step].set()
    assert (await killing).state is State.STOPPED
    with pytest.raises(errors.Conflict, match="ended by a kill"):
        await resizing
    assert size(rig, machine) == (Resources(1, 512, 20) if step == "resize" else Resources(2, 512, 30))
    assert promised(rig) == 0


async def test_a_service_that_dies_in_between_finds_the_size_that_the_host_has(rig: Rig) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    await rig.plane.machines.suspend(rig.me, machine)
    await rig.plane.core.host.reshape(machine, 2, 1024)
    await rig.crash_and_restart()
    assert (rig.state(machine), size(rig, machine)) == (State.STOPPED, Resources(2, 1024, 20))
    assert "it was resized: it has 2 vCPUs, 1024 MiB and 20 GiB now" in await rig.messages(machine)


async def test_a_resize_needs_the_right_to_make_machines(rig: Rig) -> None:
    machine = await rig.create()
    with pytest.raises(errors.Forbidden):
        await rig.plane.machines.resize(await rig.someone("machine:exec"), machine, cpus=4)
    with pytest.raises(errors.NotFound):
        await rig.plane.machines.resize(await rig.someone(tenant="other"), machine, cpus=4)


@pytest.mark.parametrize("wanted", [{"disk_gib": 30}, {"disk_gib": 30, "cpus": 2}])
async def test_a_disk_that_grows_after_its_resize_was_ended_by_a_kill_is_recorded(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, int]
) -> None:
    machine = await rig.launch(cpus=1, memory_mib=512)
    host, begun = rig.plane.core.fleet.host, asyncio.Event()
    grow, stop = host.resize, host.stop

    async def wait(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def grow_and_stop(*given: Any) -> None:
        """What has its place in the host's queue is done though nobody waits for it."""
        await grow(machine, 30)
        await stop(*given)

    monkeypatch.setattr(host, "resize", wait)
    monkeypatch.setattr(host, "stop", grow_and_stop)
    resizing = soon(rig.plane.machines.resize(rig.me, machine, **wanted))
    await begun.wait()
    assert (await rig.plane.machines.kill(rig.me, machine)).state is State.STOPPED
    with pytest.raises(errors.Conflict, match="ended by a kill"):
        await resizing
    assert size(rig, machine) == Resources(1, 512, 30)
    assert rig.plane.core.quotas.used(rig.me.tenant).disk_gib == 30


async def test_a_killed_machine_keeps_its_disk(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.run(machine, "echo kept > kept")
    assert (await rig.plane.machines.kill(rig.me, machine)).state is State.STOPPED
    assert (rig.life(machine), promised(rig)) == (Life.STOPPED, 0)
    assert (await rig.plane.machines.kill(rig.me, machine)).state is State.STOPPED
    assert (await rig.run(machine, "cat kept")).stdout == b"kept\n"


async def test_a_kill_ends_a_stop_that_waits(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.gates["stop"] = asyncio.Event()
    stopping = soon(rig.plane.machines.stop(rig.me, machine))
    await rig.come(machine, State.STOPPING)
    await turn()
    first, second = await asyncio.gather(*(rig.plane.machines.kill(rig.me, machine) for _ in range(2)))
    assert first.state is second.state is State.STOPPED
    with pytest.raises(errors.Conflict, match="the stop was ended by a kill"):
        await stopping


async def test_a_kill_ends_a_start_and_what_waits_behind_it_goes_on(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.gate = asyncio.Event()
    starting = soon(rig.plane.machines.start(rig.me, machine))
    await rig.come(machine, State.STARTING)
    killing = soon(rig.plane.machines.kill(rig.me, machine))
    await turn(1)
    rig.world.faults.gate.set()
    again = soon(rig.plane.machines.start(rig.me, machine))
    assert (await killing).state is State.STOPPED
    assert isinstance((await asyncio.gather(starting, return_exceptions=True))[0], errors.Conflict)
    assert (await again).state is State.RUNNING


@pytest.mark.parametrize("verb", ["pause", "suspend", "restart"])
async def test_a_kill_does_not_wait_for_what_hangs(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    gate = {"restart": "stop"}.get(verb, verb)
    rig.world.faults.gates[gate] = asyncio.Event()
    hanging = soon(getattr(rig.plane.machines, verb)(rig.me, machine))
    await turn()
    if verb == "pause":  # it is too short to be worth ending
        rig.world.faults.gates[gate].set()
    assert (await rig.plane.machines.kill(rig.me, machine)).state is State.STOPPED
    await asyncio.gather(hanging, return_exceptions=True)
    assert rig.life(machine) is Life.STOPPED


async def test_a_killed_ephemeral_machine_is_gone_even_when_its_stop_had_begun(rig: Rig) -> None:
    machine = await rig.launch(persistence=Persistence.EPHEMERAL)
    rig.world.faults.gates["stop"] = asyncio.Event()
    stopping = soon(rig.plane.machines.stop(rig.me, machine))
    await rig.come(machine, State.STOPPING)
    await turn()
    assert (await rig.plane.machines.kill(rig.me, machine)).state is State.DESTROYED
    await asyncio.gather(stopping, return_exceptions=True)
    assert machine not in rig.world.machines


async def test_a_service_that_dies_in_a_kill_finishes_it(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.gates["stop"] = asyncio.Event()
    soon(rig.plane.machines.stop(rig.me, machine))
    await rig.come(machine, State.STOPPING)
    await rig.crash()
    rig.world.faults.gates.clear()
    await rig.crash_and_restart()
    assert (await rig.plane.machines.kill(rig.me, machine)).state is State.STOPPED


async def test_killing_needs_the_right_to_use_the_machine(rig: Rig) -> None:
    machine = await rig.launch()
    reader, stranger = await rig.someone("machine:read"), await rig.someone(tenant="other")
    for call in (rig.plane.machines.kill, rig.plane.machines.optimize):
        with pytest.raises(errors.Forbidden):
            await call(reader, machine)
        with pytest.raises(errors.NotFound):
            await call(stranger, machine)


@pytest.mark.parametrize("verb", ["", "pause", "suspend"])
async def test_an_optimized_machine_is_suspended_and_goes_on(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    process = await rig.plane.processes.start(rig.me, machine, rig.line("read line; echo $line"))
    if verb:
        await getattr(rig.plane.machines, verb)(rig.me, machine)
    assert (await rig.plane.machines.optimize(rig.me, machine)).state is State.SUSPENDED
    assert (rig.world.machines[machine].is_optimized, rig.life(machine)) == (True, Life.SUSPENDED)
    assert (await rig.plane.machines.events(rig.me, machine))[-1].kind == "machine.optimized"
    await rig.plane.processes.write(rig.me, machine, process.id, b"on\n", end=True)
    assert await rig.output(machine, process.id) == b"on\n"


async def test_what_cannot_be_optimized_is_suspended_and_says_why(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.fails["optimize"] = [errors.DiskFull("no")]
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.optimize(rig.me, machine)
    assert (rig.state(machine), (await rig.messages(machine))[-1]) == (State.SUSPENDED, "not optimized: no")


async def test_a_machine_without_memory_cannot_be_optimized_nor_one_that_would_be_deleted(rig: Rig) -> None:
    with pytest.raises(errors.NotRunning):
        await rig.plane.machines.optimize(rig.me, await rig.create())
    machine = await rig.launch(persistence=Persistence.EPHEMERAL)
    with pytest.raises(errors.Conflict, match="is ephemeral"):
        await rig.plane.machines.optimize(rig.me, machine)
    assert rig.state(machine) is State.RUNNING


async def test_an_ephemeral_machine_that_ends_with_a_stop_may_be_suspended(rig: Rig) -> None:
    machine = await rig.launch(persistence=Persistence.EPHEMERAL, ends_on=EndsOn.STOP)
    assert (await rig.plane.machines.suspend(rig.me, machine)).state is State.SUSPENDED
    assert (await rig.plane.machines.optimize(rig.me, machine)).state is State.SUSPENDED
    assert (await rig.plane.machines.start(rig.me, machine)).state is State.RUNNING
    assert (await rig.plane.machines.stop(rig.me, machine)).state is State.DESTROYED


async def test_an_ephemeral_machine_that_ends_at_rest_is_gone_with_either(rig: Rig) -> None:
    for verb in (rig.plane.machines.suspend, rig.plane.machines.stop):
        machine = await rig.launch(persistence=Persistence.EPHEMERAL, ends_on=EndsOn.REST)
        assert (await verb(rig.me, machine)).state is State.DESTROYED
