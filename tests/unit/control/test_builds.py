"""Builds on a simulated host: what is made, what is found made, who waits for whom, and every way to end.

Nothing here makes users or installs packages: a simulated guest's processes are the box's own.
"""

import asyncio
import contextlib
from typing import Any

import pytest

from hutch.control.building.workbench import LABEL
from hutch.control.builds import BuildRequest
from hutch.control.dockerfile import Dockerfiles, Plan
from hutch.host.simulated.host import SimulatedHost
from hutch.model import errors
from hutch.model.builds import Build, BuildState, Phase
from hutch.model.ids import BuildId
from hutch.model.keys import Limits
from hutch.model.machine import Defaults, Persistence, Snapshot
from hutch.model.recipes import Base, File, Layer, Recipe, Unit, UnitMode
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn


def files(**contents: str) -> Layer:
    return Layer(files=tuple(File(f"/{name}", text.encode()) for name, text in contents.items()))


def request(*layers: Layer, base: Base | None = None, **fields: Any) -> BuildRequest:
    return BuildRequest(Recipe(base or Base(image="alpine"), layers), **fields)


async def ensure(rig: Rig, *layers: Layer, base: Base | None = None, **fields: Any) -> Snapshot:
    async with asyncio.timeout(LIMIT):
        return await rig.plane.builds.ensure(rig.me, request(*layers, base=base, **fields))


async def last(rig: Rig) -> Build:
    return (await rig.plane.builds.list(rig.me))[0]


async def phases(rig: Rig, build: Build) -> list[str]:
    return [phase.name for phase in await rig.plane.builds.phases(rig.me, build.id)]


async def read(rig: Rig, snapshot: Snapshot, line: str) -> str:
    machine = await rig.launch(image="", snapshot=snapshot.id)
    return (await rig.run(machine, line)).stdout.decode()


def living(rig: Rig) -> int:
    return len(rig.world.machines)


async def until(rig: Rig, build: Build, state: BuildState) -> None:
    async with asyncio.timeout(LIMIT):
        while (await rig.plane.builds.get(rig.me, build.id)).state is not state:
            await asyncio.sleep(0)


async def test_a_recipe_becomes_a_snapshot_layer_by_layer(rig: Rig) -> None:
    layers = files(a="1"), Layer(files=(File("/b", b"2", 0o755),), workdir="/srv/app")
    defaults = Defaults(idle=300)
    made = await ensure(rig, *layers, name="web", persistence=Persistence.STICKY, priority=7, defaults=defaults)
    build = await last(rig)
    assert (made.id, made.name, made.build, made.recipe) == (build.snapshot, "web", build.id, build.recipe)
    assert (made.persistence, made.priority, made.defaults) == (Persistence.STICKY, 7, defaults)
    assert made.spec.workdir == "/srv/app"
    assert (build.state, build.reason) == (BuildState.SUCCEEDED, None)
    assert await phases(rig, build) == list(build.planned)
    assert build.planned == (
        "start machine from alpine",
        *("layer 1/2: write files", "layer 1/2: wait until ready", "layer 1/2: snapshot"),
        *("layer 2/2: write files", "layer 2/2: make working directory", "layer 2/2: wait until ready"),
        *("layer 2/2: snapshot", "optimize"),
    )
    assert await read(rig, made, "cat ../../a ../../b; test -x ../../b && echo x") == "12x\n"
    inner = [it for it in rig.plane.snapshots.list(rig.me) if it.id != made.id]
    assert [it.persistence for it in inner] == [Persistence.STICKY]


async def test_no_machine_is_left_and_those_there_were_say_what_they_are_for(rig: Rig) -> None:
    rig.world.faults.gates["snapshot"] = asyncio.Event()
    building = soon(ensure(rig, files(a="1")))
    async with asyncio.timeout(LIMIT):
        while not (machines := rig.plane.machines.list(rig.me)) or machines[0].state is not State.RUNNING:
            await asyncio.sleep(0)
    [machine] = machines
    build = await last(rig)
    assert (machine.build, machine.labels[LABEL]) == (build.id, build.id)
    assert (machine.persistence, machine.timers.idle) == (Persistence.EPHEMERAL, None)
    assert machine.timers.lifetime == 1800 + 120
    assert machine.name.startswith("build-")
    rig.world.faults.gates["snapshot"].set()
    await building
    assert living(rig) == 0


async def test_what_is_known_is_not_built_again(rig: Rig) -> None:
    made = await ensure(rig, files(a="1"))
    assert (await ensure(rig, files(a="1"))).id == made.id
    build = await rig.plane.builds.begin(rig.me, request(files(a="1")))
    assert (build.state, build.snapshot) == (BuildState.SUCCEEDED, made.id)
    assert build.finished_at is not None
    assert await phases(rig, build) == list(build.planned) == ["layer 1/1: cached"]
    assert len(await rig.plane.builds.list(rig.me)) == 2
    assert len(rig.world.snapshots) == 1


async def test_of_five_layers_whose_top_changed_only_the_top_is_built(rig: Rig) -> None:
    layers = [files(**{f"f{n}": str(n)}) for n in range(5)]
    await ensure(rig, *layers)
    before = set(rig.world.snapshots)
    made = await ensure(rig, *layers[:4], files(f4="new"))
    assert set(rig.world.snapshots) - before == {made.id}
    assert await phases(rig, await last(rig)) == [
        *("layer 4/5: cached", "start machine from layer 4/5", "layer 5/5: write files"),
        *("layer 5/5: wait until ready", "layer 5/5: snapshot", "optimize"),
    ]
    assert await read(rig, made, "cat f0 f1 f2 f3 f4") == "0123new"


async def test_a_label_that_is_taken_is_given_a_number_once(rig: Rig) -> None:
    first = await ensure(rig, files(a="1"), name="web", is_label=True)
    changed = await ensure(rig, files(a="2"), name="web", is_label=True)
    assert (first.name, changed.name) == ("web", "web-1")
    assert (await ensure(rig, files(a="1"), name="web", is_label=True)).id == first.id
    again, at_once = [ensure(rig, files(a=content), name="web", is_label=True) for content in ("2", "3")]
    assert [it.name for it in await asyncio.gather(again, at_once)] == ["web-1", "web-2"]
    with pytest.raises(errors.Conflict):
        await ensure(rig, files(a="4"), name="web")


async def test_an_inner_layer_is_a_recipe_s_result_once_it_is_copied(rig: Rig) -> None:
    await ensure(rig, files(a="1"), files(b="2"))
    inner = await ensure(rig, files(a="1"))
    assert inner.persistence is Persistence.PERSISTENT  # and no sticky layer that may go
    assert await phases(rig, await last(rig)) == [
        *("layer 1/1: cached", "start machine from layer 1/1", "snapshot", "optimize")
    ]
    assert await read(rig, inner, "cat a; ls b || true") == "1"


async def test_another_name_or_other_defaults_are_a_copy(rig: Rig) -> None:
    one = await ensure(rig, files(a="1"), name="one")
    two = await ensure(rig, files(a="1"), name="two")
    idle = await ensure(rig, files(a="1"), defaults=Defaults(idle=5))
    assert len({one.id, two.id, idle.id}) == 3
    assert {one.recipe} == {two.recipe} == {idle.recipe}
    assert (await ensure(rig, files(a="1"), name="one")).id == one.id
    assert (await ensure(rig, files(a="1"))).id in (one.id, two.id)
    with pytest.raises(errors.Conflict, match="already a snapshot named one"):
        await ensure(rig, files(a="2"), name="one")


async def test_many_who_ask_at_once_get_what_is_built_once(rig: Rig) -> None:
    made = await asyncio.gather(*(ensure(rig, files(a="1"), files(b="2")) for _ in range(20)))
    assert len({it.id for it in made}) == 1
    assert len(await rig.plane.builds.list(rig.me)) == 1
    assert len(rig.world.snapshots) == 2


async def test_who_needs_a_layer_that_another_build_makes_is_pending(rig: Rig) -> None:
    gate = rig.world.faults.gates["snapshot"] = asyncio.Event()
    first = await rig.plane.builds.begin(rig.me, request(files(a="1"), files(b="2")))
    await until(rig, first, BuildState.RUNNING)
    async with asyncio.timeout(LIMIT):
        while "layer 1/2: snapshot" not in await phases(rig, first):
            await asyncio.sleep(0)
    second = await rig.plane.builds.begin(rig.me, request(files(a="1"), files(c="3")))
    await until(rig, second, BuildState.PENDING)
    await turn()
    assert living(rig) == 1
    gate.set()
    ended = [await rig.plane.builds.wait(rig.me, it.id, LIMIT) for it in (first, second)]
    assert [it.state for it in ended] == [BuildState.SUCCEEDED] * 2
    assert len(rig.world.snapshots) == 3
    assert "layer 1/2: cached" in await phases(rig, second)


async def test_what_a_build_that_waits_will_stand_on_is_not_removed_to_make_room(rig: Rig) -> None:
    await ensure(rig, files(a="1"), files(b="1"))
    gate = rig.world.faults.gates["snapshot"] = asyncio.Event()
    waiting = [soon(ensure(rig, files(a="1"), files(c="3"), files(d=each))) for each in "12"]
    async with asyncio.timeout(LIMIT):
        while {it.state for it in await rig.plane.builds.list(rig.me, 2)} != {BuildState.RUNNING, BuildState.PENDING}:
            await asyncio.sleep(0)
    await turn()
    rig.clock.advance(600)
    assert rig.plane.core.shelf.sticky() == []
    gate.set()
    await asyncio.gather(*waiting)
    rig.clock.advance(600)
    assert len(rig.plane.core.shelf.sticky()) == 2


async def test_a_layer_that_is_just_being_removed_is_built_anew(rig: Rig) -> None:
    first = await ensure(rig, files(a="1"))
    gate = rig.world.faults.gates["remove_snapshot"] = asyncio.Event()
    removing = soon(rig.plane.snapshots.delete(rig.me, first.id))
    await turn()
    again = soon(ensure(rig, files(a="1")))
    await turn()
    gate.set()
    await removing
    assert (await again).id != first.id


async def test_skipping_the_cache_makes_a_layer_and_all_above_anew(rig: Rig) -> None:
    old = await ensure(rig, files(a="1"), files(b="2"), files(c="3"))
    made = await ensure(rig, files(a="1"), Layer(files=(File("/b", b"2"),), skip_cache=True), files(c="3"))
    assert (made.recipe, made.id == old.id) == (old.recipe, False)
    assert len(rig.world.snapshots) == 5
    assert (await ensure(rig, files(a="1"), files(b="2"), files(c="3"))).id == made.id


async def test_what_is_built_with_the_cache_is_no_answer_to_who_skips_it(rig: Rig) -> None:
    gate = rig.world.faults.gate = asyncio.Event()
    builds = [await rig.plane.builds.begin(rig.me, request(files(a="1"))) for _ in range(2)]
    fresh = Layer(files=(File("/a", b"1"),), skip_cache=True)
    builds += [await rig.plane.builds.begin(rig.me, request(fresh)) for _ in range(2)]
    assert [builds[0].id == build.id for build in builds] == [True, True, False, False]
    assert builds[2].id == builds[3].id
    gate.set()
    ended = [await rig.plane.builds.wait(rig.me, build.id, LIMIT) for build in builds]
    assert [build.state for build in ended] == [BuildState.SUCCEEDED] * 4
    assert len(rig.world.snapshots) == 2


async def test_a_snapshot_is_a_base_and_with_nothing_on_it_the_result(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.run(machine, "echo -n base >a")
    base = await rig.plane.snapshots.create(rig.me, machine, "base")
    assert (await ensure(rig, Layer(), base=Base(snapshot="base"))).id == base.id
    named = await ensure(rig, base=Base(snapshot="base"), name="copy")
    assert (named.name, named.id == base.id) == ("copy", False)
    made = await ensure(rig, files(b="2"), base=Base(snapshot=base.id))
    assert await read(rig, made, "cat a b") == "base2"
    with pytest.raises(errors.NotFound):
        await ensure(rig, base=Base(snapshot="nothing"))


async def test_an_image_with_nothing_on_it_is_a_layer_of_its_own(rig: Rig) -> None:
    plain = await ensure(rig)
    assert (await ensure(rig, Layer())).id == plain.id
    assert plain.spec.resources.memory_mib == rig.limits.default_memory_mib
    with pytest.raises(errors.ImageUnavailable):
        await ensure(rig, base=Base(image="nowhere"))


async def test_sizes_are_those_asked_for(rig: Rig) -> None:
    made = await ensure(rig, Layer(cpus=2, memory_mib=1024, disk_gib=30), files(a="1"))
    its = made.spec.resources
    assert (its.cpus, its.memory_mib, its.disk_gib) == (2, 1024, 30)
    small = (await ensure(rig, files(a="1"), Layer(disk_gib=3))).spec.resources
    assert small.disk_gib == 3  # less than machines have where nobody says how much
    bigger = await ensure(rig, Layer(cpus=2, memory_mib=1024, disk_gib=30), files(a="1"), Layer(memory_mib=2048))
    assert bigger.spec.resources.memory_mib == 2048
    assert "layer 3/3: resize machine" in (await last(rig)).planned
    assert await read(rig, bigger, "cat a") == "1"
    with pytest.raises(errors.NoCapacity):
        await ensure(rig, Layer(memory_mib=10**9))


@pytest.mark.parametrize("verb", ["start", "snapshot"])
async def test_what_goes_wrong_ends_it_and_is_its_reason(rig: Rig, verb: str) -> None:
    fault = errors.MachineFailed("it went up in smoke")
    (rig.world.faults.starts if verb == "start" else rig.world.faults.fails[verb]).append(fault)
    with pytest.raises(errors.BuildFailed, match="it went up in smoke") as caught:
        await ensure(rig, files(a="1"))
    build = await last(rig)
    assert (caught.value.build, build.state) == (build.id, BuildState.FAILED)
    assert build.reason == caught.value.message
    assert build.finished_at is not None
    where = "start machine from alpine" if verb == "start" else "layer 1/1: snapshot"
    assert build.reason.startswith(f"{where}: ")
    assert living(rig) == 0
    assert await ensure(rig, files(a="1"))


async def test_too_little_room_is_told_as_such(rig: Rig) -> None:
    rig.world.faults.starts.append(errors.NoCapacity("no memory is free"))
    with pytest.raises(errors.NoCapacity, match="no memory is free"):
        await ensure(rig, files(a="1"))
    assert (await last(rig)).state is BuildState.FAILED


async def test_at_the_quota_of_snapshots_old_layers_make_room(rig: Rig) -> None:
    await rig.plane.tenants.update(rig.me, rig.me.tenant, Limits(snapshots=3))
    first = await ensure(rig, files(a="1"), files(b="1"), persistence=Persistence.STICKY)
    rig.clock.advance(3600)
    kept = await ensure(rig, files(a="2"))
    rig.clock.advance(3600)
    made = await ensure(rig, files(a="3"), files(b="3"))
    left = {it.id for it in rig.plane.snapshots.list(rig.me)}
    assert {kept.id, made.id} <= left
    assert (len(left), first.id in left) == (3, False)
    with pytest.raises(errors.QuotaExceeded, match="snapshots"):
        await ensure(rig, files(a="4"))


async def test_an_unexpected_error_is_logged_and_not_told(rig: Rig) -> None:
    rig.world.faults.fails["snapshot"].append(RuntimeError("secret"))
    with pytest.raises(errors.BuildFailed) as caught:
        await ensure(rig, files(a="1"))
    assert "secret" not in caught.value.message
    assert living(rig) == 0


async def test_a_guest_without_systemd_has_no_services(rig: Rig) -> None:
    with pytest.raises(errors.BuildFailed, match=r"layer 1/1: set up services: .*no services"):
        await ensure(rig, Layer(units=(Unit("web", UnitMode.SERVICE, ("sleep 1",)),)))


async def test_a_result_that_cannot_be_optimized_is_one(rig: Rig) -> None:
    rig.world.faults.fails["optimize"].append(errors.DiskFull())
    made = await ensure(rig, files(a="1"))
    assert (await last(rig)).state is BuildState.SUCCEEDED
    assert await read(rig, made, "cat a") == "1"


async def test_it_takes_no_longer_than_it_may(rig: Rig) -> None:
    rig.world.faults.gate = asyncio.Event()
    with pytest.raises(errors.BuildTooLong, match=r"more than the 0.05 s it may take, at start machine from alpine"):
        await ensure(rig, files(a="1"), budget=0.05)
    assert (await last(rig)).state is BuildState.FAILED
    await rig.settle()
    assert living(rig) == 0


async def test_who_has_more_time_does_not_end_with_who_has_less(rig: Rig) -> None:
    rig.world.faults.gate = asyncio.Event()
    short, long = soon(ensure(rig, files(a="1"), budget=0.05)), soon(ensure(rig, files(a="1")))
    with pytest.raises(errors.BuildTooLong):
        await short
    rig.world.faults.gate.set()
    assert await read(rig, await long, "cat a") == "1"


async def test_it_can_be_cancelled(rig: Rig) -> None:
    rig.world.faults.gate = asyncio.Event()
    waiting = soon(ensure(rig, files(a="1")))
    build = await rig.plane.builds.begin(rig.me, request(files(a="1")))
    await until(rig, build, BuildState.RUNNING)
    ended = await rig.plane.builds.cancel(rig.me, build.id)
    assert (ended.state, ended.reason) == (BuildState.CANCELLED, "the build was cancelled: it was asked for")
    with pytest.raises(errors.Conflict, match="cancelled: it was asked for"):
        await waiting
    await rig.settle()
    assert living(rig) == 0
    rig.world.faults.gate = None
    assert await ensure(rig, files(a="1"))
    assert (await rig.plane.builds.cancel(rig.me, build.id)).state is BuildState.CANCELLED


async def test_what_is_whole_is_not_cancelled_but_not_optimized_either(rig: Rig) -> None:
    rig.world.faults.gates["optimize"] = asyncio.Event()
    build = await rig.plane.builds.begin(rig.me, request(files(a="1"), name="web"))
    async with asyncio.timeout(LIMIT):
        while "optimize" not in await phases(rig, build):
            await asyncio.sleep(0)
    with pytest.raises(errors.Conflict, match="already a snapshot named web, or one is being built"):
        await ensure(rig, files(a="2"), name="web")
    async with asyncio.timeout(LIMIT):
        ended = await rig.plane.builds.cancel(rig.me, build.id)
    assert (ended.state, ended.reason) == (BuildState.SUCCEEDED, None)
    assert rig.plane.snapshots.find(rig.me, "web").id == build.snapshot


async def test_a_caller_that_goes_away_does_not_end_it(rig: Rig) -> None:
    gate = rig.world.faults.gate = asyncio.Event()
    waiting = soon(ensure(rig, files(a="1")))
    await turn(50)
    waiting.cancel()
    gate.set()
    build = await last(rig)
    assert (await rig.plane.builds.wait(rig.me, build.id, LIMIT)).state is BuildState.SUCCEEDED


async def test_the_service_s_end_is_the_end_of_builds(rig: Rig) -> None:
    rig.world.faults.gate = asyncio.Event()
    build = await rig.plane.builds.begin(rig.me, request(files(a="1")))
    await until(rig, build, BuildState.RUNNING)
    await rig.restart()
    build = await rig.plane.builds.get(rig.me, build.id)
    assert (build.state, build.reason) == (BuildState.CANCELLED, "the build was cancelled: the service was stopped")
    assert living(rig) == 0


async def test_after_a_crash_a_build_is_lost_and_its_machine_gone(rig: Rig) -> None:
    rig.world.faults.gates["snapshot"] = asyncio.Event()
    build = await rig.plane.builds.begin(rig.me, request(files(a="1")))
    theirs = await rig.launch(labels={LABEL: build.id})
    async with asyncio.timeout(LIMIT):
        while "layer 1/1: snapshot" not in await phases(rig, build):
            await asyncio.sleep(0)
    del rig.world.faults.gates["snapshot"]
    await rig.crash_and_restart()
    async with asyncio.timeout(LIMIT):
        while living(rig) > 1:
            await asyncio.sleep(0)
    build = await rig.plane.builds.get(rig.me, build.id)
    assert (build.state, build.reason) == (BuildState.LOST, "the service died meanwhile")
    assert [machine.id for machine in rig.plane.machines.list(rig.me)] == [theirs]
    assert await ensure(rig, files(a="1"))


@pytest.mark.parametrize("begun", range(1, 8))
async def test_a_service_that_dies_at_any_phase_leaves_no_machine(rig: Rig, begun: int) -> None:
    lower = Layer(files=(File("/a", b"1"),), waits_until_ready=False)
    upper = Layer(memory_mib=1024, workdir="/srv", waits_until_ready=False)
    build = await rig.plane.builds.begin(rig.me, request(lower, upper))
    assert len(build.planned) == 7
    async with asyncio.timeout(LIMIT):
        while len(await phases(rig, build)) < begun:
            await asyncio.sleep(0)
    await rig.crash_and_restart()
    async with asyncio.timeout(LIMIT):
        while living(rig):
            await asyncio.sleep(0)
    ended = await rig.plane.builds.get(rig.me, build.id)
    assert ended.state in (BuildState.LOST, BuildState.SUCCEEDED)
    made = await ensure(rig, lower, upper)
    assert (made.id == build.snapshot) is (ended.state is BuildState.SUCCEEDED)
    assert {it.id for it in rig.plane.snapshots.list(rig.me)} == set(rig.world.snapshots)


async def test_more_than_may_run_wait(rig: Rig) -> None:
    gate = rig.world.faults.gate = asyncio.Event()
    builds = [await rig.plane.builds.begin(rig.me, request(files(a=str(n)))) for n in range(6)]
    for build in builds[:4]:
        await until(rig, build, BuildState.RUNNING)
    await turn(50)
    states = [(await rig.plane.builds.get(rig.me, build.id)).state for build in builds]
    assert states == [BuildState.RUNNING] * 4 + [BuildState.PENDING] * 2
    with pytest.raises(errors.TimedOut, match="it is pending"):
        await rig.plane.builds.wait(rig.me, builds[5].id, 0.01)
    gate.set()
    for build in builds:
        assert (await rig.plane.builds.wait(rig.me, build.id, LIMIT)).state is BuildState.SUCCEEDED


async def test_so_many_dockerfiles_of_a_tenant_are_read_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, most = [], []
    plan = Dockerfiles.plan

    async def planning(self: Dockerfiles, *its: Any) -> Plan:
        reading.append(its)
        most.append(len(reading))
        await turn()
        reading.pop()
        return await plan(self, *its)

    monkeypatch.setattr(Dockerfiles, "plan", planning)
    base = Base(dockerfile="FROM alpine\n")
    made = await asyncio.gather(*(ensure(rig, base=base) for _ in range(9)))
    assert (max(most), len({it.id for it in made})) == (4, 1)


async def test_it_is_followed_as_it_goes(rig: Rig) -> None:
    gate = rig.world.faults.gates["snapshot"] = asyncio.Event()
    build, heard = await rig.plane.builds.begin(rig.me, request(files(a="1"))), list[str]()
    async with asyncio.timeout(LIMIT), contextlib.aclosing(rig.plane.builds.follow(rig.me, build.id)) as told:
        async for item in told:
            assert isinstance(item, Phase)
            heard.append(item.name)
            if item.name == "layer 1/1: snapshot":
                gate.set()
    assert heard == list(build.planned)
    again = [item async for item in rig.plane.builds.follow(rig.me, build.id)]
    assert [item.name for item in again if isinstance(item, Phase)] == heard


async def test_who_may_do_what(rig: Rig) -> None:
    build = await rig.plane.builds.begin(rig.me, request(files(a="1")))
    await rig.plane.builds.wait(rig.me, build.id, LIMIT)
    reader, other = await rig.someone("machine:read"), await rig.someone(tenant="other")
    builds = rig.plane.builds
    assert (await builds.get(reader, build.id)).id == build.id
    for work in (builds.ensure(reader, request()), builds.begin(reader, request()), builds.cancel(reader, build.id)):
        with pytest.raises(errors.Forbidden, match="machine:create"):
            await work
    for call in (builds.get, builds.phases, builds.cancel):
        with pytest.raises(errors.NotFound):
            await call(other, build.id)
    assert await builds.list(other) == []
    with pytest.raises(errors.NotFound):
        await builds.get(rig.me, BuildId("nothing"))
    creator = await rig.someone("machine:create")
    assert await builds.ensure(creator, request(files(a="2")))
    assert (await builds.ensure(other, request(files(a="1")))).id != build.snapshot


@pytest.mark.parametrize(
    "fields",
    [
        *({"priority": 11}, {"persistence": Persistence.EPHEMERAL}, {"name": "a b"}, {"budget": 0.0}),
        *({"defaults": Defaults(idle=0)}, {"defaults": Defaults(idle=2**40)}),
    ],
)
async def test_what_makes_no_sense_is_no_build(rig: Rig, fields: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest):
        await ensure(rig, files(a="1"), **fields)
    assert await rig.plane.builds.list(rig.me) == []


async def test_a_service_that_was_killed_between_snapshot_and_record_has_built_it(rig: Rig) -> None:
    gate = rig.world.faults.gates["optimize"] = asyncio.Event()
    build = await rig.plane.builds.begin(rig.me, request(files(a="1")))
    async with asyncio.timeout(LIMIT):
        while "optimize" not in await phases(rig, build):
            await asyncio.sleep(0)
    del rig.world.faults.gates["optimize"]
    await rig.crash()
    gate.set()
    rig.plane = rig.assemble(rig.store, SimulatedHost(rig.world))
    await rig.open()
    assert (await rig.plane.builds.get(rig.me, build.id)).state is BuildState.SUCCEEDED
    assert (await ensure(rig, files(a="1"))).id == build.snapshot
