"""Events: each has its kind, and those who listen are told of it."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hutch.control import feed
from hutch.control.machines import ForkRequest
from hutch.host.interface import Life
from hutch.model import errors, ids
from hutch.model.ids import MachineId
from hutch.model.kinds import OF_STATE, Kind, matches
from hutch.model.machine import Event, Persistence, TimerAction, Timers
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn

DOCUMENT = Path(__file__).parents[3] / "docs" / "events.md"


async def kinds_of(rig: Rig, machine: MachineId) -> list[str]:
    """What happened to it, without `machine.`."""
    events = await rig.plane.machines.events(rig.me, machine)
    return [event.kind.removeprefix("machine.") for event in events]


async def collect(stream: AsyncGenerator[Event, None]) -> list[str]:
    """The kinds of all that is told until the stream ends."""
    async with asyncio.timeout(LIMIT), contextlib.aclosing(stream) as events:
        return [event.kind async for event in events]


async def test_the_life_of_a_machine_in_kinds(rig: Rig) -> None:
    machine = await rig.launch()
    for verb in ("pause", "resume", "suspend", "resume", "stop", "start", "delete"):
        await getattr(rig.plane.machines, verb)(rig.me, machine)
    assert [event.kind.removeprefix("machine.") for event in await rig.store.list_events(machine, 100)] == [
        *("creating", "created", "starting", "started"),
        *("pausing", "paused", "resumed"),
        *("suspending", "suspended", "starting", "woken"),
        *("stopping", "stopped", "starting", "started"),
        *("destroying", "destroyed"),
    ]


async def test_copies_snapshots_rollbacks_and_growth_in_kinds(rig: Rig) -> None:
    machine = await rig.launch()
    (child,) = await rig.plane.machines.fork(rig.me, machine, ForkRequest(count=1))
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    await rig.plane.machines.resize(rig.me, machine, 30)
    await rig.plane.machines.stop(rig.me, machine)
    await rig.plane.machines.rollback(rig.me, machine, snapshot.id)
    assert await kinds_of(rig, child.id) == ["created", "started"]
    told = await kinds_of(rig, machine)
    assert told[4:] == ["forked", "snapshotted", "resized", "stopping", "stopped", "rolled_back"]


async def test_starts_that_fail_in_kinds(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.starts = [errors.ImageUnavailable("no"), errors.NoCapacity("full")]
    for kind in (errors.ImageUnavailable, errors.NoCapacity):
        with pytest.raises(kind):
            await rig.plane.machines.start(rig.me, machine)
    assert (await kinds_of(rig, machine))[2:] == ["starting", "start_failed"] * 2


async def test_a_death_and_a_refusal_in_kinds(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.fails["suspend"] = [errors.DiskFull()]
    with pytest.raises(errors.DiskFull):
        await rig.plane.machines.suspend(rig.me, machine)
    await rig.world.die(machine)
    await rig.come(machine, State.FAILED)
    assert (await kinds_of(rig, machine))[4:] == ["suspending", "refused", "failed"]


async def test_a_timer_is_told_before_what_it_does(rig: Rig) -> None:
    machine = await rig.launch(timers=Timers(idle=60, idle_action=TimerAction.SUSPEND))
    rig.clock.advance(61)
    rig.plane.core.keeper.sweep()
    await rig.come(machine, State.SUSPENDED)
    assert (await kinds_of(rig, machine))[4:] == ["timer", "suspending", "suspended"]
    assert "not used for 60 s" in await rig.messages(machine)


async def test_an_eviction_is_told_before_the_end(rig: Rig) -> None:
    machine = await rig.create(persistence=Persistence.STICKY)
    assert await rig.plane.core.fleet.eviction.make_room()
    told = [event.kind for event in await rig.store.list_events(machine, 100)]
    assert told[2:] == [Kind.EVICTED, Kind.DESTROYING, Kind.DESTROYED]


async def test_what_a_restart_finds_in_kinds(rig: Rig) -> None:
    running, cut = await rig.launch(), await rig.launch()
    await rig.crash()
    rig.world.machines[cut].life = Life.STOPPED
    rig.world.running.pop(cut)
    rig.plane = rig.assemble(rig.store, rig.plane.core.host)
    await rig.open()
    await rig.settle()
    assert (await kinds_of(rig, running))[4:] == ["adopted"]
    assert (await kinds_of(rig, cut))[-1] in ("stopped", "reconciled")


def test_every_state_has_the_kind_of_its_coming() -> None:
    assert set(OF_STATE) == set(State)


def test_every_kind_is_in_the_document_with_its_words() -> None:
    text = DOCUMENT.read_text()
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith(("| `machine.", "| `feed."))]
    assert listed == [str(kind) for kind in Kind]


@pytest.mark.parametrize(
    ("wanted", "is_told"),
    [
        ((), True),
        (("machine.*",), True),
        (("machine.started",), True),
        (("machine.stopped",), False),
        (("feed.*",), False),
    ],
)
def test_what_is_wanted_is_told(wanted: tuple[str, ...], is_told: bool) -> None:
    assert matches(Kind.STARTED, wanted) is is_told


async def test_a_listener_is_told_of_its_machine_until_its_end(rig: Rig) -> None:
    machine, other = await rig.create(), await rig.create()
    stream = rig.plane.feed.listen(rig.me, machine)
    await rig.plane.machines.start(rig.me, other)
    await rig.plane.machines.start(rig.me, machine)
    await rig.plane.machines.delete(rig.me, machine)
    told = ["starting", "started", "destroying", "destroyed"]
    assert await collect(stream) == [f"machine.{kind}" for kind in told]


async def test_a_listener_is_told_of_all_its_tenants_machines_and_of_nobody_elses(rig: Rig) -> None:
    stranger = await rig.someone(tenant="other")
    theirs, ours = rig.plane.feed.listen(stranger), rig.plane.feed.listen(rig.me, kinds=["machine.started"])
    machines = [await rig.launch(), await rig.launch()]
    told = [(await anext(ours)).machine for _ in machines]
    assert told == machines
    waiting = soon(anext(theirs))
    await turn()
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_what_is_told_is_what_is_recorded(rig: Rig) -> None:
    stream = rig.plane.feed.listen(rig.me)
    machine = await rig.launch()
    recorded = await rig.plane.machines.events(rig.me, machine)
    assert [await anext(stream) for _ in recorded] == list(recorded)


async def test_who_does_not_keep_up_loses_the_oldest_and_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "QUEUE_LENGTH", 3)
    machine = await rig.create()
    stream = rig.plane.feed.listen(rig.me, machine)
    for verb in ("start", "stop", "delete"):
        await getattr(rig.plane.machines, verb)(rig.me, machine)
    first = await anext(stream)
    assert (first.kind, first.message.split()[0]) == ("feed.lagged", "3")
    assert await collect(stream) == ["machine.stopped", "machine.destroying", "machine.destroyed"]


async def test_a_listener_ends_when_the_service_does(rig: Rig) -> None:
    told = soon(collect(rig.plane.feed.listen(rig.me)))
    await rig.plane.close()
    assert await told == []
    assert await collect(rig.plane.feed.listen(rig.me)) == []


async def test_a_listener_that_nobody_hears_is_gone(rig: Rig) -> None:
    listeners = rig.plane.feed._listeners
    stream = rig.plane.feed.listen(rig.me)
    assert len(listeners) == 1
    del stream
    heard = rig.plane.feed.listen(rig.me)
    await rig.launch()
    await anext(heard)
    await heard.aclose()
    gc.collect()
    assert len(listeners) == 0


async def test_listening_needs_a_scope_a_machine_and_a_kind_there_is(rig: Rig) -> None:
    poor, stranger = await rig.someone("machine:exec"), await rig.someone(tenant="other")
    machine = await rig.create()
    with pytest.raises(errors.Forbidden):
        rig.plane.feed.listen(poor)
    with pytest.raises(errors.NotFound):
        rig.plane.feed.listen(stranger, machine)
    with pytest.raises(errors.NotFound):
        rig.plane.feed.listen(rig.me, ids.new_machine_id())
    for kind in ("machine", "*", "machine.nonsense"):
        with pytest.raises(errors.InvalidRequest, match="not a kind of event"):
            rig.plane.feed.listen(rig.me, kinds=[kind])
