"""A machine that is launched of a recipe runs and is ready, or there is none."""

import asyncio
import dataclasses
from typing import Any

import pytest

from hutch.control.builds import BuildRequest
from hutch.control.launching import LaunchRequest
from hutch.control.machines import MachineRequest
from hutch.model import errors
from hutch.model.builds import BuildState
from hutch.model.machine import Defaults, Machine, Timers
from hutch.model.network import PublishedPort
from hutch.model.recipes import Base, File, Layer, Recipe
from hutch.model.states import State
from unit.control.rig import Rig

LIMIT = 60.0
PORTS = (PublishedPort(80, is_public=True),)
PLAIN = MachineRequest("debian")
BUILT = MachineRequest("", timers=Timers(idle=300), ports=PORTS)


def recipe(defaults: Defaults = Defaults()) -> BuildRequest:  # noqa: B008 - frozen
    return BuildRequest(Recipe(Base(image="alpine"), (Layer(files=(File("/a", b"a"),)),)), defaults=defaults)


async def launch(rig: Rig, machine: MachineRequest, **fields: Any) -> Machine:
    async with asyncio.timeout(LIMIT):
        return await rig.plane.launches.launch(rig.me, LaunchRequest(machine, **fields))


async def test_without_a_build_it_is_made_as_any_other(rig: Rig) -> None:
    it = await launch(rig, PLAIN)
    assert (it.state, it.snapshot, it.build) == (State.RUNNING, None, None)


async def test_of_a_recipe_it_is_made_of_what_was_built_and_the_next_one_too(rig: Rig) -> None:
    first, second = [await launch(rig, BUILT, build=recipe()) for _ in range(2)]
    (build,) = await rig.plane.builds.list(rig.me)
    assert build.state is BuildState.SUCCEEDED
    assert (first.snapshot, first.build) == (second.snapshot, second.build) == (build.snapshot, build.id)
    assert (await rig.run(first.id, "cat a", cwd="/")).stdout == b"a"


@pytest.mark.parametrize("is_built", [True, False])
async def test_what_nobody_said_is_the_snapshots_own(rig: Rig, is_built: bool) -> None:
    its = Defaults(idle=7, ports=(PublishedPort(90),))
    wanted: dict[str, Any] = {"machine": BUILT, "build": recipe(its)}
    if not is_built:
        snapshot = await rig.plane.builds.ensure(rig.me, recipe(its))
        wanted = {"machine": dataclasses.replace(BUILT, snapshot=snapshot.id)}
    said = await launch(rig, **wanted)
    assert (said.timers.idle, said.ports) == (300, PORTS)
    unsaid = await launch(rig, **wanted, says_idle=False, says_ports=False)
    assert (unsaid.timers.idle, unsaid.ports) == (7, its.ports)
    assert unsaid.build is not None


async def test_of_several_at_once_one_has_the_name_and_the_others_keep_it_in_a_label(rig: Rig) -> None:
    wanted = dataclasses.replace(BUILT, name="web", labels={"a": "b"})
    its = {"machine": wanted, "build": recipe(), "name_label": "shown"}
    made = await asyncio.gather(*(launch(rig, **its) for _ in range(3)))
    assert sorted(it.labels.get("shown", it.name) for it in made) == ["web", "web", "web"]
    assert len({it.name for it in made}) == 3
    assert {it.labels["a"] for it in made} == {"b"}
    with pytest.raises(errors.Conflict, match="web"):
        await launch(rig, wanted, build=recipe())


async def test_its_domains_lead_to_it(rig: Rig) -> None:
    it = await launch(rig, PLAIN, domains=(("shop.example", 80),))
    (domain,) = rig.plane.domains.list(rig.me)
    assert (domain.name, domain.machine, domain.port) == ("shop.example", it.id, 80)


@pytest.mark.parametrize("late", [True, False])
async def test_what_does_not_come_to_be_ready_is_gone(rig: Rig, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    async def wait(*_: object) -> None:
        raise errors.TimedOut("not ready")

    monkeypatch.setattr(rig.plane.services, "wait_ready", wait)
    fields: dict[str, Any] = {"ready_within": 1.0} if late else {"domains": (("no name", 80),)}
    with pytest.raises(errors.TimedOut if late else errors.InvalidRequest):
        await launch(rig, PLAIN, **fields)
    assert rig.plane.machines.list(rig.me) == []


async def test_the_right_to_make_is_enough(rig: Rig) -> None:
    maker = await rig.someone("machine:create")
    request = LaunchRequest(PLAIN, domains=(("shop.example", 80),), ready_within=LIMIT)
    assert (await rig.plane.launches.launch(maker, request)).state is State.RUNNING
    with pytest.raises(errors.Forbidden, match="machine:create"):
        await rig.plane.launches.launch(await rig.someone("machine:exec"), request)


async def test_a_snapshot_that_is_not_there_makes_nothing(rig: Rig) -> None:
    with pytest.raises(errors.NotFound):
        await launch(rig, dataclasses.replace(BUILT, snapshot="nothere"))
    assert rig.plane.machines.list(rig.me) == []


async def test_whoever_goes_away_while_it_is_built_leaves_what_was_built_and_no_machine(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ensure = asyncio.Event(), rig.plane.core.host.images.ensure

    async def slow(*rest: Any, **more: Any) -> Any:
        await gate.wait()
        return await ensure(*rest, **more)

    monkeypatch.setattr(rig.plane.core.host.images, "ensure", slow)
    task = asyncio.create_task(launch(rig, BUILT, build=recipe()))
    async with asyncio.timeout(LIMIT):
        while not await rig.plane.builds.list(rig.me):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.set()
    (build,) = await rig.plane.builds.list(rig.me)
    assert (await rig.plane.builds.wait(rig.me, build.id, LIMIT)).state is BuildState.SUCCEEDED
    assert rig.plane.machines.list(rig.me) == []
    assert (await launch(rig, BUILT, build=recipe())).snapshot == build.snapshot
