"""A service that dies, or whose database or host fails, at any moment: nothing acknowledged is lost.

A life of two machines is lived again and again; the n-th time everything ends at the n-th call to store or host.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hutch import settings
from hutch.control import metering, quotas
from hutch.control.clock import ManualClock
from hutch.control.machines import ForkRequest
from hutch.control.quotas import Use
from hutch.host.interface import Life
from hutch.host.simulated.host import SimulatedHost
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Persistence, Resources
from hutch.model.states import State
from unit.control.rig import Rig

CALLS = 100  # more than a life takes: the last times, nothing goes wrong


class Died(BaseException):
    """The service is no more: no handler of ordinary errors runs."""


class Trigger:
    """Goes off at the n-th call; `is_before` says whether that call is still done."""

    def __init__(self, at: int, is_before: bool, error: Callable[[], BaseException], is_for_ever: bool) -> None:
        self.calls = 0
        self.clock: ManualClock | None = None  # every call takes a second of it
        self._at = at
        self._is_before = is_before
        self._error = error
        self._is_for_ever = is_for_ever

    def disarm(self) -> None:
        """It has gone off, or never will."""
        self._at = 0

    async def around(self, work: Any) -> Any:
        self.calls += 1
        is_now = self.calls == self._at
        if (is_now and self._is_before) or (self._is_for_ever and self.calls > self._at):
            work.close()
            raise self._error()
        result = await work
        if self.clock is not None:
            self.clock.advance(1)
        if is_now:
            raise self._error()
        return result


class Fragile:
    """A store or a host whose calls that matter go through the trigger."""

    def __init__(self, inner: Any, trigger: Trigger, names: tuple[str, ...]) -> None:
        self._inner = inner
        self._trigger = trigger
        self._names = names

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name not in self._names:
            return attribute
        return lambda *args, **kwargs: self._trigger.around(attribute(*args, **kwargs))


STORE = ("add_machines", "save_machine", "save_machines", "add_event", "add_snapshot", "remove_snapshot")
HOST = (
    "create",
    "start",
    "stop",
    "destroy",
    "pause",
    "resume",
    "suspend",
    "snapshot",
    "rollback",
    "resize",
    "reshape",
    "optimize_machine",
)


class Promises:
    """What a caller has been told, or has asked for since."""

    def __init__(self) -> None:
        self.states: dict[MachineId, set[State | None]] = {}
        self.snapshots: set[str] = set()
        self.sizes: dict[MachineId, Resources] = {}

    async def live(self, rig: Rig) -> None:
        """A life, until something goes wrong."""
        machines = rig.plane.machines
        kept = await rig.create(name="kept")
        self.states[kept] = {State.STOPPED}
        gone = await rig.create(name="gone", persistence=Persistence.EPHEMERAL)
        self.states[gone] = {State.STOPPED}
        for machine in (kept, gone):
            await self.ask(machine, {State.STOPPED, State.RUNNING}, machines.start(rig.me, machine), State.RUNNING)
        await self.ask(gone, {State.RUNNING, None}, machines.stop(rig.me, gone), None)
        await self.ask(kept, {State.RUNNING, State.STOPPED}, machines.stop(rig.me, kept), State.STOPPED)
        await self.ask(kept, {State.STOPPED, State.RUNNING}, machines.start(rig.me, kept), State.RUNNING)
        await self.ask(kept, {State.RUNNING, State.STOPPED}, machines.restart(rig.me, kept), State.RUNNING)
        await self.ask(kept, {State.RUNNING, None}, machines.delete(rig.me, kept), None)

    async def freeze(self, rig: Rig) -> None:
        """Another, of what keeps memory."""
        machines, running = rig.plane.machines, {State.RUNNING}
        it = await rig.create(name="kept")
        self.states[it] = {State.STOPPED}
        await self.ask(it, {State.STOPPED, State.RUNNING}, machines.start(rig.me, it), State.RUNNING)
        await self.ask(it, running | {State.PAUSED}, machines.pause(rig.me, it), State.PAUSED)
        await self.ask(it, running | {State.PAUSED}, machines.resume(rig.me, it), State.RUNNING)
        await self.ask(it, running | {State.SUSPENDED}, machines.suspend(rig.me, it), State.SUSPENDED)
        await self.ask(it, running | {State.SUSPENDED}, machines.start(rig.me, it), State.RUNNING)
        snapshot = await rig.plane.snapshots.create(rig.me, it, "gone")
        self.snapshots = {"gone"}
        children = await machines.fork(rig.me, it, ForkRequest(count=2, name_prefix="gone"))
        self.states |= {child.id: {State.RUNNING} for child in children}
        await self.ask(it, running, machines.resize(rig.me, it, 30), State.RUNNING)
        await self.ask(it, running | {State.SUSPENDED}, machines.rollback(rig.me, it, snapshot.id), State.RUNNING)
        copy = await rig.create(name="gone", image="", snapshot="gone")
        self.states[copy] = {State.SUSPENDED}
        await self.ask(copy, {State.SUSPENDED, None}, machines.delete(rig.me, copy), None)
        self.snapshots = set()
        await rig.plane.snapshots.delete(rig.me, snapshot.id)

    async def change(self, rig: Rig) -> None:
        """A third, of what a machine is: its size, its end, and its return."""
        machines, running, rest = rig.plane.machines, {State.RUNNING}, {State.STOPPED}
        it = await rig.create(name="kept", cpus=1, memory_mib=512, is_recreated=True)
        self.states[it] = {State.STOPPED}
        await self.ask(it, running | rest, machines.start(rig.me, it), State.RUNNING)
        resizing = machines.resize(rig.me, it, disk_gib=30, cpus=2, memory_mib=1024)
        await self.ask(it, running | rest, resizing, State.RUNNING)
        self.sizes[it] = Resources(2, 1024, 30)
        await self.ask(it, running | rest, machines.kill(rig.me, it), State.STOPPED)
        await self.ask(it, running | rest, machines.start(rig.me, it), State.RUNNING)
        await self.ask(it, running | {State.SUSPENDED}, machines.optimize(rig.me, it), State.SUSPENDED)
        del self.sizes[it]
        meanwhile = running | rest | {State.SUSPENDED}
        await self.ask(it, meanwhile, machines.resize(rig.me, it, cpus=1), State.STOPPED)
        self.sizes[it] = Resources(1, 1024, 30)
        await self.ask(it, rest | {None}, machines.delete(rig.me, it), None)
        await self.ask(it, running | rest | {None}, machines.start(rig.me, it), State.RUNNING)
        await self.ask(it, running | {None}, machines.delete(rig.me, it), None)

    async def ask(self, machine: MachineId, meanwhile: set[State | None], call: Any, then: State | None) -> None:
        self.states[machine] = meanwhile | {State.FAILED}
        await call
        self.states[machine] = {then}


@pytest.fixture
async def fragile(tmp_path: Path) -> AsyncIterator[Callable[[Trigger], Rig]]:
    rigs = []

    def make(trigger: Trigger) -> Rig:
        rig = Rig(tmp_path / "world", settings.Machines(stop_grace=1.0))
        trigger.clock = rig.clock
        host: Any = Fragile(SimulatedHost(rig.world), trigger, HOST)
        store: Any = Fragile(rig.store, trigger, STORE)
        rig.plane = rig.assemble(store, host)
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        await rig.plane.close()
        await rig.world.close()


def check(rig: Rig, promises: Promises) -> None:
    """Record and host agree, nothing is in the middle of anything, and every promise is kept."""
    living = {it.id: it.state for it in rig.plane.machines.list(rig.me)}
    assert set(rig.world.machines) <= set(living)
    for id, state in living.items():
        assert state in (State.STOPPED, State.RUNNING, State.PAUSED, State.SUSPENDED, State.FAILED)
        if state is not State.FAILED:
            assert rig.life(id) == Life(state.value)
    for id, states in promises.states.items():
        assert living.get(id) in states
    for it in rig.plane.machines.list(rig.me):
        its = it.spec.resources
        assert promises.sizes.get(it.id, its) == its
        assert it.id not in rig.world.machines or rig.world.machines[it.id].spec.resources == its
    in_memory = [it.spec for it in rig.world.machines.values() if it.life in (Life.RUNNING, Life.PAUSED)]
    assert rig.plane.core.fleet.admission.promised_mib == sum(spec.resources.memory_mib for spec in in_memory)
    snapshots = rig.plane.snapshots.list(rig.me)
    assert promises.snapshots <= {it.name for it in snapshots}
    assert set(rig.world.snapshots) <= {it.id for it in snapshots}
    forks = [it for it in rig.plane.machines.list(rig.me) if it.parent is not None and it.snapshot is None]
    assert len(forks) in (0, 2)


async def check_usage(rig: Rig) -> None:
    """What is charged is what the records say, and no second is charged twice."""
    now = rig.clock.now()
    intervals = await rig.store.list_intervals(now - timedelta(days=1), now + timedelta(days=1))
    charged = {(it.subject, it.charge, it.rate) for it in intervals if it.is_open}
    living = rig.plane.machines.list(rig.me)
    assert charged == {(it.id, *pair) for it in living for pair in metering.find_charges(it).items()}
    for machine in living:
        spent = sorted((it.start, it.until) for it in intervals if it.subject == machine.id and it.rate.memory_mib)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spent))


def check_quotas(rig: Rig) -> None:
    """What counts against the quotas is what is recorded."""
    its = [quotas.of_machine(machine) for machine in rig.plane.machines.list(rig.me)]
    its += [quotas.SNAPSHOT for _ in rig.plane.snapshots.list(rig.me)]
    assert rig.plane.core.quotas.used(rig.me.tenant) == Use(*map(sum, zip(Use(), *its, strict=True)))


async def check_it_still_works(rig: Rig) -> None:
    """Every machine can be started, used and deleted, and its name is free again."""
    for machine in rig.plane.machines.list(rig.me):
        if rig.life(machine.id) is not None:
            await rig.plane.machines.start(rig.me, machine.id)
            assert (await rig.run(machine.id, "echo up")).stdout == b"up\n"
        await rig.plane.machines.delete(rig.me, machine.id)
    await rig.create(name="kept")
    await rig.create(name="gone")


@pytest.mark.parametrize("life", ["live", "freeze", "change"])
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, CALLS))
async def test_a_service_killed_at_any_call_finds_everything_in_order(
    fragile: Callable[[Trigger], Rig], at: int, is_before: bool, life: str
) -> None:
    trigger, promises = Trigger(at, is_before, Died, is_for_ever=True), Promises()
    rig = fragile(trigger)
    await rig.open()
    try:
        await getattr(promises, life)(rig)
    except (Died, errors.HutchError):
        assert trigger.calls >= at
    await rig.crash_and_restart()
    await rig.settle()
    check(rig, promises)
    await check_usage(rig)
    check_quotas(rig)
    await check_it_still_works(rig)


@pytest.mark.parametrize("life", ["live", "freeze", "change"])
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, CALLS))
async def test_a_database_or_host_that_fails_at_any_call_harms_only_that_call(
    fragile: Callable[[Trigger], Rig], at: int, is_before: bool, life: str
) -> None:
    trigger = Trigger(at, is_before, lambda: errors.HutchError("the database failed"), is_for_ever=False)
    rig, promises = fragile(trigger), Promises()
    await rig.open()
    try:
        await getattr(promises, life)(rig)
    except errors.HutchError:
        assert trigger.calls >= at
    await rig.settle()
    trigger.disarm()
    rig.plane.core.keeper.sweep()
    await rig.settle()
    check(rig, promises)
    await check_usage(rig)
    check_quotas(rig)
    await check_it_still_works(rig)


@pytest.mark.parametrize("life", ["live", "freeze", "change"])
async def test_a_life_ends_before_the_last_call(fragile: Callable[[Trigger], Rig], life: str) -> None:
    trigger = Trigger(CALLS, True, Died, is_for_ever=True)
    rig = fragile(trigger)
    await rig.open()
    await getattr(Promises(), life)(rig)
    assert trigger.calls < CALLS - 1
    await asyncio.sleep(0)
