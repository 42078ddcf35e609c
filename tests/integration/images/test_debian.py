"""The built-in image, built for real once per session (HUTCH_TEST_CACHE names a directory to keep it in)."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from hutch.host.images.debian import recipe
from hutch.host.interface import Image, Progress
from hutch.model import errors
from hutch.model.machine import ImageRef

from .conftest import MakeRig, Rig


@pytest.fixture(scope="session")
def debian_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("HUTCH_TEST_CACHE")
    return Path(given) / "debian" if given else tmp_path_factory.mktemp("debian")


@pytest.fixture
async def debian(make_rig: MakeRig, debian_home: Path) -> tuple[Rig, Image]:
    rig = make_rig(debian_home)
    await rig.images.open()
    return rig, await rig.pull("debian")


async def test_it_is_there_with_systemd_as_init(debian: tuple[Rig, Image]) -> None:
    rig, image = debian
    assert image.systemd
    assert image.size < 450 << 20
    assert image.ref == ImageRef("debian", recipe.digest(""))
    assert 'Fast link dest: "/lib/systemd/system/multi-user.target"' in rig.ask(
        image, "stat /etc/systemd/system/default.target"
    )


async def test_it_has_what_a_sandbox_needs(debian: tuple[Rig, Image]) -> None:
    rig, image = debian
    for program in ("python3", "pip", "node", "git", "curl", "jq", "make", "sudo", "ps", "less"):
        assert rig.has(image, f"/usr/bin/{program}"), program


async def test_it_can_install_more_from_debians_archives(debian: tuple[Rig, Image]) -> None:
    rig, image = debian
    sources = rig.cat(image, "/etc/apt/sources.list")
    assert re.search(r"^deb \S+ bookworm main$", sources, re.MULTILINE)
    assert re.search(r"^deb \S+ bookworm-security main$", sources, re.MULTILINE)


async def test_it_waits_for_no_device_and_logs_nobody_in(debian: tuple[Rig, Image]) -> None:
    rig, image = debian
    assert rig.cat(image, "/etc/fstab") == ""
    assert rig.cat(image, "/etc/machine-id") == ""
    assert re.search(r"^root:[*!]", rig.cat(image, "/etc/shadow"), re.MULTILINE)
    for unit in recipe.MASKED_UNITS:
        assert 'Fast link dest: "/dev/null"' in rig.ask(image, f"stat /etc/systemd/system/{unit}"), unit


async def test_nothing_of_the_host_is_in_it(debian: tuple[Rig, Image]) -> None:
    rig, image = debian
    assert rig.cat(image, "/etc/hostname") == "hutch\n"
    assert rig.cat(image, "/etc/resolv.conf") == ""
    assert not rig.has(image, "/etc/apt/apt.conf.d/99mmdebstrap")
    assert "hutch" not in rig.ask(image, "ls /var/log")


async def test_a_build_that_is_given_up_leaves_nothing(rig: Rig) -> None:
    extracting = asyncio.Event()

    def tell(progress: Progress) -> None:
        if "extracting archives" in progress.phase:
            extracting.set()

    building = asyncio.create_task(rig.images.ensure(await rig.images.resolve("debian"), tell))
    async with asyncio.timeout(60):
        await extracting.wait()
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert rig.leftovers() == []
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(rig.home).encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def test_another_mirror_is_another_image(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(debian_mirror="http://127.0.0.1:1/debian")
    await rig.images.open()
    ref = await rig.images.resolve("debian")
    assert ref.digest != recipe.digest("")
    with pytest.raises(errors.ImageUnavailable, match=r"debian: .*127\.0\.0\.1"):
        await rig.images.ensure(ref)
    assert rig.leftovers() == []


async def test_a_digest_of_another_recipe_cannot_be_made(rig: Rig) -> None:
    with pytest.raises(errors.ImageUnavailable, match="of another version"):
        await rig.images.ensure(ImageRef("debian", "sha256:" + "0" * 64))
