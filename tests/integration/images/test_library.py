"""What is kept: one work for many callers, names, removal, crashes and full disks."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hutch.host.interface import Progress
from hutch.host.paths import Paths
from hutch.model import errors
from hutch.model.machine import ImageRef
from registry import Member, OciImage, Registry, busybox_image, layer

from .conftest import MakeRig, Rig


async def _stopped_at(rig: Rig, reference: ImageRef, phase: str) -> asyncio.Task[object]:
    """Somebody who wants this image, as soon as the work on it has come to `phase`."""
    reached = asyncio.Event()

    def tell(progress: Progress) -> None:
        if progress.phase == phase:
            reached.set()

    task: asyncio.Task[object] = asyncio.create_task(rig.images.ensure(reference, tell))
    async with asyncio.timeout(30):
        await reached.wait()
    return task


async def test_concurrent_calls_do_the_work_once_and_all_are_told_of_it(rig: Rig, registry: Registry) -> None:
    ref = await rig.images.resolve(registry.name("busybox:1"))
    told: list[list[str]] = [[], [], []]
    calls = [rig.images.ensure(ref, lambda progress, heard=heard: heard.append(progress.phase)) for heard in told]  # type: ignore[misc]
    first, *others = await asyncio.gather(*calls)
    assert all(other == first for other in others)
    assert all(heard.count("unpacking") == 1 and heard[-1] == "building root image" for heard in told)


async def test_a_cancelled_caller_leaves_the_work_to_the_others(rig: Rig, registry: Registry) -> None:
    ref = await rig.images.resolve(registry.name("busybox:1"))
    impatient = await _stopped_at(rig, ref, "pulling")
    patient = asyncio.create_task(rig.images.ensure(ref))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).ref == ref
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_registry_that_never_answers_holds_up_nobody_who_pulls_from_another(
    registry: Registry, make_rig: MakeRig
) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        while await reader.read(4096):
            pass
        writer.close()
        await writer.wait_closed()
        over.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        silent = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        rig = make_rig(insecure_registries=f"{registry.host},{silent}")
        await rig.images.open()
        ref = await rig.images.resolve(registry.name("busybox:1"))
        waiting = asyncio.create_task(rig.images.ensure(ImageRef(f"{silent}/busybox:1", ref.digest)))
        async with asyncio.timeout(60):
            await asked.wait()
            assert (await rig.images.ensure(ref)).ref == ref
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(60):
            await over.wait()


@pytest.mark.parametrize("phase", ["pulling", "unpacking", "building root image"])
async def test_the_last_caller_to_be_cancelled_ends_the_work(rig: Rig, registry: Registry, phase: str) -> None:
    ref = await rig.images.resolve(registry.name("busybox:1"))
    only = await _stopped_at(rig, ref, phase)
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    assert rig.images.get(ref.digest) is None
    assert rig.leftovers() == []
    assert (await rig.images.ensure(ref)).ref == ref


async def test_without_root_images_cannot_be_made_and_the_reason_is_told(
    rig: Rig, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await rig.images.resolve(registry.name("busybox:1"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(errors.Unsupported, match="needs root"):
        await rig.images.ensure(ref)


async def test_closing_tells_those_who_wait(rig: Rig, registry: Registry) -> None:
    ref = await rig.images.resolve(registry.name("busybox:1"))
    waiting = await _stopped_at(rig, ref, "pulling")
    await rig.images.close()
    with pytest.raises(errors.ImageUnavailable, match="given up"):
        await waiting


async def test_a_failure_is_told_to_all_and_the_next_call_tries_again(rig: Rig, registry: Registry) -> None:
    digest = registry.push("late:1", busybox_image())
    ref = ImageRef(registry.name("elsewhere:1"), digest)
    results = await asyncio.gather(*(rig.images.ensure(ref) for _ in range(2)), return_exceptions=True)
    assert [type(result) for result in results] == [errors.ImageUnavailable] * 2
    registry.push("elsewhere:1", busybox_image())
    assert (await rig.images.ensure(ref)).ref == ref


async def test_images_and_names_are_there_again_after_a_restart(
    rig: Rig, registry: Registry, make_rig: MakeRig
) -> None:
    image = await rig.pull(registry.name("busybox:1"))
    again = make_rig(rig.home)
    await again.images.open()
    assert await again.images.list() == await rig.images.list()
    assert again.images.get(image.ref.digest) == rig.images.get(image.ref.digest)


async def test_what_a_crash_left_behind_is_removed(rig: Rig, registry: Registry, make_rig: MakeRig) -> None:
    image = await rig.pull(registry.name("busybox:1"))
    directory = Paths(rig.home).images
    (directory / ".tmp-abc/layout").mkdir(parents=True)
    (directory / ".tmp-abc/scratch.ext4").touch()
    (directory / ".tmp-names.json").write_text("{")
    (directory / "names.json").write_text(json.dumps({"gone:1": "sha256:" + "0" * 64}))
    again = make_rig(rig.home)
    await again.images.open()
    assert again.leftovers() == []
    [survivor] = await again.images.list()
    assert survivor.ref.reference == f"{registry.name('busybox')}@{image.ref.digest}"  # it has lost its name


async def test_a_tag_that_moved_leaves_the_old_image_without_a_name(rig: Rig, registry: Registry) -> None:
    registry.push("moving:1", busybox_image())
    old = await rig.pull(registry.name("moving:1"))
    registry.push("moving:1", OciImage([layer(Member("new"))]))
    new = await rig.pull(registry.name("moving:1"))
    assert [image.ref.reference for image in await rig.images.list()] == [
        registry.name("moving:1"),
        f"{registry.name('moving')}@{old.ref.digest}",
    ]
    assert new.ref.digest != old.ref.digest


async def test_removing_takes_the_image_and_tells_of_it(rig: Rig, registry: Registry) -> None:
    image = await rig.pull(registry.name("busybox:1"))
    await rig.images.remove(registry.name("busybox:1"))
    assert rig.dropped == [image.ref.digest]
    assert rig.images.get(image.ref.digest) is None
    assert [path.name for path in Paths(rig.home).images.iterdir()] == ["names.json"]
    with pytest.raises(errors.NotFound, match="there is no image"):
        await rig.images.remove(registry.name("busybox:1"))


async def test_an_image_that_machines_are_made_of_stays(rig: Rig, registry: Registry) -> None:
    image = await rig.pull(registry.name("busybox:1"))
    rig.machines[image.ref.digest] = ["abc"]
    with pytest.raises(errors.Conflict, match=r"in use by 1 machine\(s\): abc"):
        await rig.images.remove(image.ref.digest)
    assert rig.dropped == []
    assert rig.images.root_image(image.ref.digest).exists()


async def test_a_name_that_is_not_the_last_goes_alone(rig: Rig, registry: Registry) -> None:
    registry.push_busybox("busybox:other")
    image = await rig.pull(registry.name("busybox:1"))
    await rig.pull(registry.name("busybox:other"))
    await rig.images.remove(registry.name("busybox:1"))
    assert [it.ref.reference for it in await rig.images.list()] == [registry.name("busybox:other")]
    await rig.images.remove(f"{registry.name('busybox')}@{image.ref.digest}")
    assert await rig.images.list() == []


@pytest.mark.parametrize("reference", ["sha256:" + "0" * 64, "nothing@sha256:" + "0" * 64, "nothing"])
async def test_what_is_not_here_cannot_be_removed(rig: Rig, reference: str) -> None:
    with pytest.raises(errors.NotFound):
        await rig.images.remove(reference)


async def test_a_digest_alone_cannot_be_pulled(rig: Rig) -> None:
    with pytest.raises(errors.ImageUnavailable, match="name the repository"):
        await rig.images.resolve("sha256:" + "0" * 64)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB. Ask for it before `make_rig`, which looks at the mounts at its end."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_nothing_is_begun_on_a_disk_that_has_only_its_reserve_left(
    small_disk: Path, make_rig: MakeRig, registry: Registry
) -> None:
    rig = make_rig(small_disk / "home", reserve=64)
    await rig.images.open()
    with pytest.raises(errors.DiskFull, match="64 MiB are kept in reserve"):
        await rig.pull(registry.name("busybox:1"))
    assert rig.leftovers() == []


@pytest.mark.parametrize(
    ("random", "repeated", "phase"),
    [(40, 0, "pulling"), (0, 40, "unpacking"), (0, 14, "building root image")],
)
async def test_a_disk_that_fills_up_in_the_middle_is_told_and_cleaned_up(
    small_disk: Path, make_rig: MakeRig, registry: Registry, random: int, repeated: int, phase: str
) -> None:
    rig = make_rig(small_disk / "home", reserve=0)
    await rig.images.open()
    content = os.urandom(random << 20) + b"much of the same" * (repeated << 16)
    registry.push("big:1", OciImage([layer(Member("big", content))]))
    with pytest.raises(errors.DiskFull):
        await rig.pull(registry.name("big:1"))
    assert rig.progress[-1].phase == phase
    assert rig.leftovers() == []
    assert sum(path.stat().st_size for path in small_disk.rglob("*") if path.is_file()) < 4096


async def test_a_disk_that_runs_into_its_reserve_meanwhile_stops_the_work(
    small_disk: Path, make_rig: MakeRig, registry: Registry
) -> None:
    rig = make_rig(small_disk / "home", reserve=16)
    await rig.images.open()
    registry.push("big:1", OciImage([layer(Member("big", b"much of the same" * (1 << 20)))]))
    with pytest.raises(errors.DiskFull):
        await rig.pull(registry.name("big:1"))
    assert rig.leftovers() == []
