"""Dockerfiles on a simulated host: what comes out, what is told, whose password is shown, and what is left.

Nothing here copies or makes directories: a simulated guest's processes are the box's own.
"""

import asyncio
from typing import Any

import pytest

from hutch.control.builds import BuildRequest
from hutch.control.dockerfile import running
from hutch.control.dockerfile.copying import Copying
from hutch.control.inside import Inside
from hutch.host.interface import Image, ImageConfig
from hutch.host.simulated.images import SimulatedImages
from hutch.model import errors
from hutch.model.builds import BuildState, Phase
from hutch.model.keys import Limits
from hutch.model.machine import ImageRef, Snapshot
from hutch.model.recipes import Base, Credentials, Recipe
from unit.control.rig import LIMIT, Rig, soon

SECRET = "not to be told"


async def build(rig: Rig, text: str, **more: Any) -> Snapshot:
    async with asyncio.timeout(LIMIT):
        return await rig.plane.builds.ensure(rig.me, BuildRequest(Recipe(Base(dockerfile=text)), **more))


async def test_what_comes_out_begins_as_the_dockerfile_says(rig: Rig) -> None:
    text = 'FROM alpine\nENV A=1\nRUN echo $A > made\nENV A=2\nUSER root:root\nCMD ["sleep", "1000"]\n'
    snapshot = await build(rig, text)
    spec = snapshot.spec
    assert (spec.env, spec.user, spec.command) == ({"A": "2"}, "root:root", ("sleep", "1000"))
    machine = await rig.launch(image="", snapshot=snapshot.id)
    assert (await rig.run(machine, "cat made; echo $A")).stdout == b"1\n2\n"
    assert ("sleep", "1000") in [it.argv for it in await rig.plane.processes.list(rig.me, machine)]


async def test_the_snapshot_of_a_step_has_nothing_of_what_is_laid_over_it_at_the_end(rig: Rig) -> None:
    await build(rig, "FROM alpine\nRUN true\nENV A=1\n")
    other = await build(rig, "FROM alpine\nRUN true\nENV B=1\n")
    assert other.spec.env == {"B": "1"}


async def test_a_dockerfile_of_nothing_but_an_image_is_a_snapshot_of_it(rig: Rig) -> None:
    snapshot = await build(rig, "FROM alpine\n")
    assert snapshot.spec.image.reference == "alpine"
    assert snapshot.spec.command is None


async def test_what_changes_nothing_here_is_said(rig: Rig) -> None:
    waits = "RUN echo it waits; while [ ! -e gate ]; do sleep 0.01; done"
    text = f"FROM alpine\nEXPOSE 80\nHEALTHCHECK CMD true\nONBUILD RUN x\n{waits}\n"
    begun = await rig.plane.builds.begin(rig.me, BuildRequest(Recipe(Base(dockerfile=text))))
    said = ""
    async with asyncio.timeout(LIMIT):
        async for event in rig.plane.builds.follow(rig.me, begun.id):
            said += f"{event.name}\n" if isinstance(event, Phase) else event.decode()
            if said.endswith("it waits\n"):
                for machine in rig.world.machines.values():
                    (machine.root / "gate").touch()
    for line in ("line 2: EXPOSE 80", "line 3: HEALTHCHECK CMD true", "line 4: ONBUILD RUN x"):
        assert f"{line}: this changes nothing here\n" in said
    assert (await rig.plane.builds.get(rig.me, begun.id)).state is BuildState.SUCCEEDED


async def test_an_image_whose_triggers_would_run_is_refused(rig: Rig) -> None:
    rig.world.registry["eager"] = ImageConfig(triggers=("RUN make",))
    with pytest.raises(
        errors.BuildFailed, match="eager: it has ONBUILD instructions, which are not run here: RUN make"
    ):
        await build(rig, "FROM eager\nRUN true\n")


async def test_credentials_are_shown_when_images_are_asked_for_and_told_nobody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Credentials | None] = []
    resolve, ensure = SimulatedImages.resolve, SimulatedImages.ensure

    async def resolving(self: SimulatedImages, reference: str, credentials: Credentials | None = None) -> ImageRef:
        given.append(credentials)
        return await resolve(self, reference, credentials)

    async def ensuring(self: SimulatedImages, ref: ImageRef, *its: Any, **more: Any) -> Image:
        given.append(more.get("credentials"))
        return await ensure(self, ref, *its, **more)

    monkeypatch.setattr(SimulatedImages, "resolve", resolving)
    monkeypatch.setattr(SimulatedImages, "ensure", ensuring)
    credentials = Credentials("registry.example", "me", SECRET)
    with pytest.raises(errors.BuildFailed) as caught:
        await build(rig, "FROM alpine\nRUN false\n", credentials=credentials)
    assert given[:2] == [credentials, credentials]
    last = (await rig.plane.builds.list(rig.me))[0]
    assert SECRET not in f"{caught.value} {last} {await rig.plane.builds.phases(rig.me, last.id)}"


async def test_what_fails_leaves_no_machine_and_what_was_done_before_it_is_kept(rig: Rig) -> None:
    with pytest.raises(errors.BuildFailed, match=r"line 3: RUN exit 7: the command ended with code 7") as caught:
        await build(rig, "FROM alpine\nRUN true\nRUN exit 7\n")
    assert caught.value.code == 7
    assert rig.world.machines == {}
    await build(rig, "FROM alpine\nRUN true\nRUN true\n")
    last = (await rig.plane.builds.list(rig.me))[0]
    names = [it.name for it in await rig.plane.builds.phases(rig.me, last.id)]
    assert "line 2: RUN true: cached" in names
    assert "line 3: RUN true" in names


async def test_what_a_known_step_was_made_of_need_not_be_there(rig: Rig) -> None:
    text = "FROM alpine AS one\nENV A=1\nRUN echo $A > made\nFROM one\nRUN cat made > copied\nRUN echo {} $A > last\n"
    await build(rig, text.format("one"))
    first = [id for id, saved in rig.world.snapshots.items() if not list(saved.root.rglob("copied"))]
    assert len(first) == 1
    await rig.plane.snapshots.delete(rig.me, first[0])
    snapshot = await build(rig, text.format("two"))
    last = (await rig.plane.builds.list(rig.me))[0]
    names = [it.name for it in await rig.plane.builds.phases(rig.me, last.id)]
    assert not any("line 3" in name for name in names)
    machine = await rig.launch(image="", snapshot=snapshot.id)
    assert (await rig.run(machine, "cat copied last; echo $A")).stdout == b"1\ntwo 1\n1\n"


async def test_a_stage_that_is_needed_later_does_not_make_room_for_another(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(*_: object) -> None:
        rig.clock.advance(100)

    async def copy(self: Copying, origin: Inside | None) -> None:
        rig.clock.advance(100)

    monkeypatch.setattr(running, "run", run)
    monkeypatch.setattr(Copying, "run", copy)
    await rig.plane.tenants.update(rig.me, rig.me.tenant, Limits(snapshots=3))
    text = "FROM alpine AS one\nRUN 1\nFROM alpine\nRUN 2\nRUN 3\nRUN 4\nCOPY --from=one /a /b\n"
    await build(rig, text)
    assert len(rig.world.snapshots) == 3
    assert rig.plane.core.shelf._held == {}


async def test_a_build_that_is_cancelled_leaves_nothing_of_its_step(rig: Rig) -> None:
    building = soon(build(rig, "FROM alpine\nRUN sleep 1000\n"))
    async with asyncio.timeout(LIMIT):
        while not any("RUN" in it for machine in rig.world.machines.values() for it in _commands(machine)):
            await asyncio.sleep(0.01)
    last = (await rig.plane.builds.list(rig.me))[0]
    await rig.plane.builds.cancel(rig.me, last.id)
    with pytest.raises(errors.Conflict):
        await building
    await rig.settle()
    assert rig.world.machines == {}


def _commands(machine: Any) -> list[str]:
    return ["RUN" for process in machine.processes.values() if "sleep 1000" in process.spec.argv]
