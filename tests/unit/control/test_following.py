"""A command that is followed while its machine is paused, suspended, copied, put back or ended."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from hutch.control import follower
from hutch.control.processes import Command, Exit, Started
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.states import State
from unit.control.rig import Rig, soon, turn

COUNT = "i=0; while [ $i -lt 120 ]; do echo line $i; i=$((i+1)); sleep 0.005; done"
COUNTED = b"".join(b"line %d\n" % number for number in range(120))


async def freeze(rig: Rig, machine: MachineId, verb: str) -> None:
    await getattr(rig.plane.machines, verb)(rig.me, machine)


@contextlib.asynccontextmanager
async def following(rig: Rig, machine: MachineId, line: str, **options: Any) -> AsyncGenerator[Any, None]:
    """A stream whose command has begun."""
    command = Command(argv=("sh", "-c", line), **options)
    async with contextlib.aclosing(rig.plane.processes.stream(rig.me, machine, command)) as stream:
        assert isinstance(await anext(stream), Started)
        yield stream


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_no_byte_is_lost_or_doubled(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    running = soon(rig.run(machine, COUNT))
    for _ in range(5):
        await asyncio.sleep(0.02)
        await freeze(rig, machine, verb)
        await asyncio.sleep(0.02)
        await rig.plane.machines.resume(rig.me, machine)
    completed = await running
    assert (completed.stdout, completed.exit) == (COUNTED, Exit(code=0))


async def test_copying_disturbs_nothing(rig: Rig) -> None:
    machine = await rig.launch()
    running = soon(rig.run(machine, COUNT))
    for _ in range(5):
        await asyncio.sleep(0.02)
        await rig.plane.snapshots.create(rig.me, machine)
    assert (await running).stdout == COUNTED


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_who_follows_does_not_wake_it(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    running = soon(rig.run(machine, COUNT))
    await asyncio.sleep(0.05)
    await freeze(rig, machine, verb)
    await asyncio.sleep(0.1)
    assert rig.state(machine) is (State.PAUSED if verb == "pause" else State.SUSPENDED)
    assert not running.done()
    await rig.run(machine, "true")  # somebody else does
    assert (await running).stdout == COUNTED


@pytest.mark.parametrize("verb", ["pause", "suspend"])
async def test_a_page_that_is_waited_for_comes_empty_when_its_time_is_over(rig: Rig, verb: str) -> None:
    machine = await rig.launch()
    process = await rig.plane.processes.start(rig.me, machine, rig.line("read line; echo $line"))
    reading = soon(rig.plane.processes.output(rig.me, machine, process.id, wait=0.3))
    await turn(50)
    await freeze(rig, machine, verb)
    page = await reading
    assert (page.stdout, page.stdout_at, page.exit) == (b"", 0, None)
    assert rig.state(machine) is not State.RUNNING


async def test_a_command_that_was_cut_off_from_its_input_ends_with_an_error(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await rig.launch()

    async def cut(*_: object) -> None:
        await rig.come(machine, State.SUSPENDED)
        raise errors.NotRunning("it is suspended")

    monkeypatch.setattr(rig.plane.core.host.processes, "write", cut)
    running = soon(rig.run(machine, "while :; do echo; sleep 0.01; done", stdin=b"x"))
    while not rig.world.machines[machine].processes:
        await asyncio.sleep(0)
    await freeze(rig, machine, "suspend")
    await rig.plane.machines.resume(rig.me, machine)
    with pytest.raises(errors.NotRunning, match="was suspended before the command had all its input"):
        await asyncio.wait_for(running, 5)


async def test_the_time_it_stands_still_does_not_count(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "TIMEOUT_SLACK", 0.1)
    machine = await rig.launch()
    async with following(rig, machine, "read line; echo $line", timeout=0.2, interactive=True) as stream:
        reading = soon(anext(stream))
        await freeze(rig, machine, "suspend")
        await asyncio.sleep(0.5)
        await rig.plane.machines.resume(rig.me, machine)
        item = await asyncio.wait_for(reading, 5)
        assert item == Exit(signal=9, timed_out=True)


@pytest.mark.parametrize("verb", ["pause", "suspend"])
@pytest.mark.parametrize(("end", "words"), [("stop", "is stopp"), ("delete", "is destroy"), ("rollback", "put back")])
async def test_it_ends_when_its_process_is_lost(rig: Rig, verb: str, end: str, words: str) -> None:
    machine = await rig.launch()
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    running = soon(rig.run(machine, "sleep 1000"))
    while not rig.world.machines[machine].processes:
        await asyncio.sleep(0)
    await freeze(rig, machine, verb)
    await turn(20)
    assert not running.done()
    call = getattr(rig.plane.machines, end)
    await (call(rig.me, machine, snapshot.id) if end == "rollback" else call(rig.me, machine))
    with pytest.raises(errors.NotRunning, match=words):
        await asyncio.wait_for(running, 5)


async def test_it_ends_when_its_running_machine_is_put_back(rig: Rig) -> None:
    machine = await rig.launch()
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    running = soon(rig.run(machine, "sleep 1000"))
    while not rig.world.machines[machine].processes:
        await asyncio.sleep(0)
    await rig.plane.machines.rollback(rig.me, machine, snapshot.id)
    with pytest.raises(errors.NotRunning, match="it was put back to a snapshot"):
        await asyncio.wait_for(running, 5)


async def test_it_ends_with_the_reason_when_the_machine_dies(rig: Rig) -> None:
    machine = await rig.launch()
    running = soon(rig.run(machine, "sleep 1000"))
    while not rig.world.machines[machine].processes:
        await asyncio.sleep(0)
    await freeze(rig, machine, "pause")
    await turn(20)
    await rig.world.die(machine, "out of memory")
    with pytest.raises(errors.NotRunning, match=r"it is failed \(out of memory\)"):
        await asyncio.wait_for(running, 5)


async def test_an_agent_that_is_silent_in_a_running_machine_is_an_error_at_once(rig: Rig) -> None:
    machine = await rig.launch()
    await freeze(rig, machine, "pause")
    await rig.plane.machines.resume(rig.me, machine)
    rig.world.faults.silent.add(machine)
    with pytest.raises(errors.AgentUnavailable):
        await asyncio.wait_for(rig.run(machine, "true"), 5)


async def test_a_caller_that_leaves_a_suspended_machine_leaves_nothing_once_it_is_back(rig: Rig) -> None:
    machine = await rig.launch()
    async with following(rig, machine, "sleep 1000"):
        await freeze(rig, machine, "suspend")
    assert rig.state(machine) is State.SUSPENDED
    await rig.plane.machines.resume(rig.me, machine)
    await rig.settle()
    assert await rig.plane.processes.list(rig.me, machine) == []


async def test_nothing_watches_a_machine_after_a_command(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.run(machine, "true")
    async with following(rig, machine, "sleep 1000"):
        await freeze(rig, machine, "suspend")
    await rig.plane.machines.stop(rig.me, machine)
    entry = rig.plane.core.fleet.records.get(machine)
    assert entry is not None
    assert entry.watchers == []
