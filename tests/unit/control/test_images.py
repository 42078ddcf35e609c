"""The images of the box."""

import asyncio
import contextlib

import pytest

from hutch.control.images import Image, OnProgress, Progress, ignore_progress
from hutch.host.simulated.images import SimulatedImages
from hutch.model import errors
from hutch.model.machine import ImageRef
from unit.control.rig import Rig, soon


async def test_an_image_is_pulled_listed_and_removed(rig: Rig) -> None:
    images = rig.plane.images
    assert (await images.ensure(rig.me, "alpine")).ref.reference == "alpine"
    assert [image.ref.reference for image in await images.list(rig.me)] == ["alpine"]
    await images.remove(rig.me, "alpine")
    assert await images.list(rig.me) == []


async def test_a_pull_tells_its_progress_and_then_the_image(rig: Rig) -> None:
    told = [item async for item in rig.plane.images.pull(rig.me, "alpine")]
    assert told[0] == Progress("pulling", 0.5)
    assert isinstance(told[-1], Image)


async def test_a_pull_that_is_refused_raises_at_once(rig: Rig) -> None:
    with pytest.raises(errors.ImageUnavailable):
        await anext(rig.plane.images.pull(rig.me, "no-such-image"))
    with pytest.raises(errors.InvalidRequest):
        await anext(rig.plane.images.pull(rig.me, "no such image"))


async def test_a_pull_that_is_closed_early_gives_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = asyncio.Event()

    async def slow(self: object, ref: ImageRef, on_progress: OnProgress = ignore_progress) -> Image:
        try:
            on_progress(Progress("pulling"))
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        finally:
            given_up.set()

    monkeypatch.setattr(SimulatedImages, "ensure", slow)
    async with contextlib.aclosing(rig.plane.images.pull(rig.me, "alpine")) as told:
        assert await anext(told) == Progress("pulling")
        waiting = soon(anext(told))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert given_up.is_set()


async def test_every_call_needs_its_scope(rig: Rig) -> None:
    poor, images = await rig.someone("usage:read"), rig.plane.images
    for scope, call in (
        ("machine:read", images.list(poor)),
        ("machine:create", images.ensure(poor, "alpine")),
        ("machine:create", anext(images.pull(poor, "alpine"))),
        ("admin", images.remove(poor, "alpine")),
    ):
        with pytest.raises(errors.Forbidden, match=f"missing scope: {scope}"):
            await call


async def test_an_image_in_use_is_kept(rig: Rig) -> None:
    await rig.launch()
    with pytest.raises(errors.Conflict, match="1 machines are made of it"):
        await rig.plane.images.remove(rig.me, "alpine")
