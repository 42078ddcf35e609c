"""The host's disk runs full: whoever asks is told, and nothing else is harmed."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hutch import settings
from hutch.host.interface import Life
from hutch.host.local import LocalHost
from hutch.host.paths import Paths
from hutch.model import errors, guest, ids
from machines import Launcher, launching
from registry import Registry
from vm.test_deaths import death_of

MIB = 2**20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A home on a file system of 1 GiB. Not a tmpfs: there even reading a hole of a memory file takes space."""
    home, image = tmp_path / "home", tmp_path / "image"
    home.mkdir()
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", str(image), "1G"], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(home)], check=True)
    yield home
    subprocess.run(["umount", str(home)], check=True)


@pytest.fixture
async def full(small: Path, registry: Registry, tools: str) -> AsyncIterator[Launcher]:
    environment = {
        "HUTCH_HOME": str(small),
        "HUTCH_IMAGES_INSECURE_REGISTRIES": registry.host,
        "HUTCH_HOST_DISK_RESERVE_MIB": "16",
        "HUTCH_HOST_ACCELERATOR": "tcg",
        "HUTCH_HOST_SPARE_PROCESSES": "0",
        "HUTCH_NETWORK_READY": "0",
    }
    host = LocalHost(settings.load(environment), Paths(small))
    await host.open()
    async with launching(host, tools, small) as launcher:
        yield launcher
    await host.close()


def fill(home: Path, leave: int) -> None:
    free = os.statvfs(home)
    with (home / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - leave)


async def test_a_machine_is_refused_naming_what_there_is(full: Launcher, small: Path) -> None:
    fill(small, 4 * MIB)
    with pytest.raises(errors.DiskFull, match=r"the host has [34] MiB free"):
        await full.create()
    (small / "filler").unlink()
    assert (await (await full.launch()).run("echo up")).text == "up"


async def test_a_first_boot_is_refused_before_it_begins(full: Launcher, small: Path) -> None:
    machine = await full.create(memory=144)
    await full.host.images.ensure(await full.host.images.resolve(full.image))
    fill(small, 32 * MIB)
    with pytest.raises(errors.DiskFull, match="a first boot needs"):
        await full.host.start(machine.id)
    (small / "filler").unlink()
    await full.host.start(machine.id)


async def test_a_machine_that_writes_to_a_full_host_fails_with_that_reason_and_others_go_on(
    full: Launcher, small: Path
) -> None:
    writer, other = await full.launch(), await full.launch()
    fill(small, 8 * MIB)
    spec = guest.ProcessSpec(("sh", "-c", "dd if=/dev/urandom of=/big bs=1M count=64; sync"))
    await full.host.processes.start(writer.id, "it", spec)
    died = await death_of(writer, within=60)
    assert "the host's disk is full" in died.reason
    assert full.host.get(writer.id).life is Life.FAILED  # type: ignore[union-attr]
    assert (await other.run("echo up")).text == "up"
    (small / "filler").unlink()
    await full.host.start(writer.id)
    assert (await asyncio.wait_for(writer.run("echo up"), 20)).text == "up"


@pytest.mark.parametrize("is_checked", [True, False], ids=["before", "in-the-middle"])
async def test_a_machine_that_cannot_be_saved_runs_on_and_says_why(
    full: Launcher, small: Path, is_checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await full.launch(memory=144)
    await machine.run("mkdir /m && mount -t tmpfs none /m && head -c 40000000 /dev/urandom > /m/x")
    before = (await machine.run("md5sum /m/x")).text
    if not is_checked:  # somebody else takes the space after it was looked at
        monkeypatch.setattr("hutch.host.machines.freeze.SLACK", -1024 * MIB)
    fill(small, 32 * MIB)
    for save in (full.host.suspend(machine.id), full.host.snapshot(machine.id, ids.new_snapshot_id())):
        with pytest.raises(errors.DiskFull, match=r"MiB free" if is_checked else "was not saved"):
            await save
    assert (await machine.run("md5sum /m/x")).text == before
    assert full.host.get(machine.id).life is Life.RUNNING  # type: ignore[union-attr]
    assert not [*(small / "states").iterdir()]
    (small / "filler").unlink()
    await full.host.suspend(machine.id)
    await full.host.start(machine.id)
    assert (await machine.run("md5sum /m/x")).text == before


async def test_a_snapshot_can_be_removed_on_a_full_disk(full: Launcher, small: Path) -> None:
    machine, snapshot = await full.launch(), ids.new_snapshot_id()
    await full.host.snapshot(machine.id, snapshot)
    fill(small, MIB)
    with contextlib.suppress(OSError), (small / "rest").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    await full.host.remove_snapshot(snapshot)
    assert not [*(small / "states").iterdir()]
    (small / "filler").unlink()
    (small / "rest").unlink()
