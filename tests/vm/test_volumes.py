"""Volumes of real machines: what a sudden end, a hostile guest or a damaged file system leaves."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from hutch.host import volumes
from hutch.host.interface import Life
from hutch.host.local import LocalHost
from hutch.host.paths import Paths
from hutch.model import errors, guest, ids
from hutch.model.ids import VolumeId
from hutch.model.volumes import Mount
from machines import Launcher, Machine

MIB = 2**20


async def make(host: LocalHost, size_gib: int = 1) -> VolumeId:
    volume = ids.new_volume_id()
    await host.volumes.create(volume, size_gib)
    return volume


def at(volume: VolumeId, path: str = "/data", readonly: bool = False) -> tuple[Mount, ...]:
    return (Mount(volume, path, readonly),)


async def die(host: LocalHost, machine: Machine) -> None:
    os.kill(machine.pid, signal.SIGKILL)
    await asyncio.wait_for(anext(host.deaths()), 10)


def is_dirty(home: Path, volume: VolumeId) -> bool:
    return volumes._needs_replay(Paths(home).volume(volume))


async def test_a_reader_finds_all_that_a_writer_had_synced_before_it_died(
    host: LocalHost, vms: Launcher, home: Path
) -> None:
    volume = await make(host)
    writer = await vms.launch(mounts=at(volume))
    await writer.run("mkdir -p /data/a/b; for i in $(seq 200); do echo $i > /data/a/b/$i; done; sync")
    await die(host, writer)
    assert is_dirty(home, volume)
    readers = [await vms.create(mounts=at(volume, readonly=True)) for _ in range(2)]
    await asyncio.gather(*(host.start(reader.id) for reader in readers))
    assert not is_dirty(home, volume)
    assert Paths(home).volume(volume).stat().st_uid == os.geteuid()
    for reader in readers:
        assert (await reader.run("cat /data/a/b/200; ls /data/a/b | wc -l")).text == "200\n200"


@pytest.mark.parametrize("how", ["destroy", "destroy paused", "stop", "stop paused"])
async def test_what_was_written_is_on_the_volume_however_its_machine_is_ended(
    host: LocalHost, vms: Launcher, how: str
) -> None:
    volume = await make(host)
    writer = await vms.launch(mounts=at(volume))
    await writer.run("head -c 20000000 /dev/zero > /data/file")
    if "paused" in how:
        await host.pause(writer.id)
    await (host.destroy(writer.id) if "destroy" in how else host.stop(writer.id, grace=0))
    reader = await vms.launch(mounts=at(volume, readonly=True))
    assert (await reader.run("wc -c < /data/file")).text == "20000000"


async def test_a_machine_that_powers_itself_off_leaves_its_volume_in_order(
    host: LocalHost, vms: Launcher, home: Path
) -> None:
    volume = await make(host)
    writer = await vms.launch(mounts=at(volume, "/mnt/a b"))
    await writer.run("echo kept > '/mnt/a b/file'")
    await host.stop(writer.id, grace=20)
    assert not is_dirty(home, volume)


@pytest.mark.parametrize("readonly", [True, False])
async def test_a_volume_without_a_file_system_ends_the_start_and_nothing_else(
    host: LocalHost, vms: Launcher, home: Path, readonly: bool
) -> None:
    volume = await make(host)
    with Paths(home).volume(volume).open("r+b") as file:
        file.write(os.urandom(MIB))
    machine = await vms.create(mounts=at(volume, readonly=readonly))
    with pytest.raises(errors.GuestError, match="/data"):
        await host.start(machine.id)
    state = host.get(machine.id)
    assert state is not None
    assert (state.life, state.pid) == (Life.FAILED, None)


async def test_a_journal_that_cannot_be_replayed_is_told(host: LocalHost, vms: Launcher, home: Path) -> None:
    volume = await make(host)
    with Paths(home).volume(volume).open("r+b") as file:
        file.seek(1024)
        block = bytearray(file.read(1024))
        block[0x60] |= 4  # needs recovery
        block[0x18:0x1C] = os.urandom(4)  # the size of a block
        file.seek(1024)
        file.write(block)
    machine = await vms.create(mounts=at(volume, readonly=True))
    with pytest.raises(errors.MachineFailed, match=f"{volume}.*write"):
        await host.start(machine.id)
    assert Paths(home).volume(volume).stat().st_uid == os.geteuid()


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/passwd/x", "/bin/sh"])
async def test_a_place_that_is_a_file_is_told_and_the_volume_is_free_again(
    host: LocalHost, vms: Launcher, path: str
) -> None:
    volume = await make(host)
    machine = await vms.create(mounts=at(volume, path))
    with pytest.raises(errors.GuestError, match=path):
        await host.start(machine.id)
    await vms.launch(mounts=at(volume))


async def test_a_link_of_the_guests_does_not_lead_to_what_it_needs(host: LocalHost, vms: Launcher) -> None:
    volume = await make(host)
    machine = await vms.launch(mounts=at(volume))
    await machine.run("umount /data; rmdir /data; ln -s /proc /data; sync")
    await host.stop(machine.id, grace=0)
    with pytest.raises(errors.GuestError, match="/data: nothing can be mounted there"):
        await host.start(machine.id)


async def test_a_full_volume_is_the_guests_own_concern(host: LocalHost, vms: Launcher) -> None:
    volume = await make(host)
    machine = await vms.launch(mounts=at(volume))

    async def endless():  # type: ignore[no-untyped-def]
        while True:
            yield bytes(MIB)

    with pytest.raises(errors.GuestDiskFull):
        await host.files.write(machine.id, "/data/file", endless())
    assert (await machine.run("ls /data")).text == "lost+found"


async def test_a_volume_stays_mounted_under_systemd(host: LocalHost, vms: Launcher, home: Path) -> None:
    volume = await make(host, 2)
    machine = await vms.launch("debian", memory=256, mounts=at(volume, "/srv/data"))
    await machine.run("echo kept > /srv/data/file")
    await asyncio.sleep(3)  # for udev and systemd to see the disk, and to have their own ideas
    await host.suspend(machine.id)
    await host.start(machine.id)
    told = await machine.run("grep -c ' /srv/data ext4' /proc/mounts; df -BG --output=size /srv/data | tail -1")
    assert told.text.split() == ["1", "2G"]
    await host.stop(machine.id, grace=60)
    assert not is_dirty(home, volume)
    await host.start(machine.id)
    assert (await machine.run("cat /srv/data/file; systemctl is-system-running", check=False)).text.startswith("kept")


async def test_what_is_open_of_a_volume_that_has_changed_does_not_keep_a_copy_from_the_new(
    host: LocalHost, vms: Launcher
) -> None:
    volume = await make(host)
    writer = await vms.launch(mounts=at(volume))
    await writer.run("echo before > /data/file; head -c 5000000 /dev/urandom > /data/large")
    await host.stop(writer.id, grace=0)
    reader = await vms.launch(mounts=at(volume, readonly=True))
    holding = guest.ProcessSpec(("sh", "-c", "cd /data; exec sleep 1000 < large"))
    await host.processes.start(reader.id, "holding", holding)
    snapshot = ids.new_snapshot_id()
    await host.snapshot(reader.id, snapshot)
    await host.stop(reader.id, grace=0)
    await host.start(writer.id)
    await writer.run("echo after > /data/file; rm /data/large; sync")
    await die(host, writer)
    copies = [await vms.create(mounts=at(volume, readonly=True), snapshot=snapshot) for _ in range(2)]
    await asyncio.gather(*(host.start(copy.id) for copy in copies))
    for copy in copies:
        assert (await copy.run("cat /data/file; ls /data; grep -c ' /data ' /proc/mounts")).text.split() == [
            "after",
            "file",
            "lost+found",
            "1",
        ]


async def test_eight_volumes_are_each_where_they_belong(host: LocalHost, vms: Launcher) -> None:
    volumes = [await make(host, 1 + number % 2) for number in range(8)]
    machine = await vms.launch(mounts=tuple(Mount(volume, f"/v/{n}") for n, volume in enumerate(volumes)))
    await machine.run("for n in $(seq 0 7); do echo $n > /v/$n/number; done")
    told = await machine.run("for n in $(seq 0 7); do df -m /v/$n | tail -1; done")
    sizes = [int(line.split()[1]) for line in told.text.splitlines()]
    assert [size > 1500 for size in sizes] == [False, True] * 4
    await host.destroy(machine.id)
    again = await vms.launch(mounts=tuple(Mount(volume, f"/w/{n}", n > 3) for n, volume in enumerate(volumes)))
    assert (await again.run("cat /w/*/number | tr -d '\\n'")).text == "01234567"
