"""Volumes: what a machine writes there is there in the next."""

import asyncio
import os

import pytest

from contract.host_suite import rig as use
from contract.host_suite.rig import Rig
from hutch.host.interface import Life
from hutch.model import errors, ids
from hutch.model.ids import MachineId, VolumeId
from hutch.model.volumes import Mount

MIB = 1024 * 1024


async def make(rig: Rig, size_gib: int = 1) -> VolumeId:
    volume = ids.new_volume_id()
    await rig.host.volumes.create(volume, size_gib)
    return volume


def at(volume: VolumeId, path: str = "/data", readonly: bool = False) -> tuple[Mount, ...]:
    return (Mount(volume, path, readonly),)


async def filled(rig: Rig, content: bytes) -> VolumeId:
    """A volume with a file in it, that nobody has."""
    volume = await make(rig)
    writer = await use.launch(rig, mounts=at(volume))
    await use.put(rig, writer, "/data/file", content)
    await rig.host.destroy(writer)
    return volume


async def two_readers(rig: Rig, content: bytes) -> list[MachineId]:
    mounts = at(await filled(rig, content), readonly=True)
    return [await use.launch(rig, mounts=mounts) for _ in range(2)]


class VolumesSuite:
    async def test_a_volume_is_there_until_it_is_removed(self, rig: Rig) -> None:
        volume = await make(rig, 3)
        await rig.host.volumes.create(volume, 5)
        (told,) = rig.host.volumes.list()
        assert (told.id, told.size_gib) == (volume, 3)
        assert 0 < told.stored < 200 * MIB
        await rig.reopen()
        assert [it.id for it in rig.host.volumes.list()] == [volume]
        for _ in range(2):
            await rig.host.volumes.remove(volume)
        assert rig.host.volumes.list() == []

    @pytest.mark.parametrize(
        ("id", "size"), [("../../../../etc/passwd", 1), ("x", 1), ("a" * 20, 0), ("a" * 20, 2**40)]
    )
    async def test_a_volume_that_makes_no_sense_is_not_made(self, rig: Rig, id: str, size: int) -> None:
        with pytest.raises(errors.InvalidRequest):
            await rig.host.volumes.create(VolumeId(id), size)
        assert rig.host.volumes.list() == []

    async def test_a_volume_is_made_once_by_many(self, rig: Rig) -> None:
        volume = ids.new_volume_id()
        await asyncio.gather(*(rig.host.volumes.create(volume, 1) for _ in range(3)))
        assert len(rig.host.volumes.list()) == 1

    async def test_what_a_machine_wrote_outlives_it(self, rig: Rig) -> None:
        content = os.urandom(3 * MIB)
        volume = await filled(rig, content)
        machine = await use.launch(rig, mounts=at(volume, "/srv/other/place"))
        assert await use.get(rig, machine, "/srv/other/place/file") == content
        stored = rig.host.volumes.list()[0].stored
        assert stored > 3 * MIB
        await use.put(rig, machine, "/srv/other/place/deep/er", b"x")
        assert (await use.run(rig, machine, "cat srv/other/place/deep/er", cwd="/")).stdout == b"x"

    async def test_a_volume_is_an_empty_disk_of_its_size_beside_others(self, rig: Rig) -> None:
        volumes = [await make(rig, size) for size in (2, 1)]
        mounts = (*at(volumes[0], "/workspace"), *at(volumes[1], "/data"))
        machine = await use.launch(rig, mounts=mounts, workdir="/workspace/sub")
        await use.put(rig, machine, "/data/file", b"b")
        await use.run(rig, machine, "echo a > file")
        assert await use.get(rig, machine, "/workspace/sub/file") == b"a\n"
        names = [it.path for it in await rig.host.files.find(machine, "/data", "*")]
        assert [name for name in names if "lost+found" not in name] == ["/data/file"]

    async def test_a_volume_survives_stops_deaths_and_a_service(self, rig: Rig) -> None:
        volume = await make(rig)
        machine = await use.launch(rig, mounts=at(volume))
        await use.put(rig, machine, "/data/stop", b"1")
        await rig.host.stop(machine, grace=10)
        await rig.host.start(machine)
        await use.put(rig, machine, "/data/force", b"2")
        await rig.host.stop(machine, grace=0)
        await rig.host.start(machine)
        await use.put(rig, machine, "/data/service", b"3")
        await rig.reopen()
        await use.run(rig, machine, "sync")
        await rig.kill(machine)
        await asyncio.wait_for(anext(rig.host.deaths()), 10)
        await rig.host.start(machine)
        assert [await use.get(rig, machine, f"/data/{name}") for name in ("stop", "force", "service")] == [
            b"1",
            b"2",
            b"3",
        ]

    async def test_a_suspended_machine_keeps_its_volume(self, rig: Rig) -> None:
        volume, content = await make(rig), os.urandom(MIB)
        machine = await use.launch(rig, mounts=at(volume))
        counting = await use.count(rig, machine)
        await use.put(rig, machine, "/data/file", content)
        await rig.host.suspend(machine)
        other = await use.create(rig, mounts=at(volume))
        with pytest.raises(errors.Conflict, match=f"{volume}.*{machine}"):
            await rig.host.start(other)
        await rig.reopen()
        await rig.host.start(machine)
        assert await use.tell(rig, machine, counting, "two") == "2 two"
        await use.put(rig, machine, "/data/more", b"more")
        assert await use.get(rig, machine, "/data/file") == content
        await rig.host.destroy(machine)
        await rig.host.start(other)
        assert await use.get(rig, other, "/data/more") == b"more"

    @pytest.mark.parametrize("life", [Life.RUNNING, Life.PAUSED])
    @pytest.mark.parametrize(("first", "second"), [(False, False), (True, False), (False, True)])
    async def test_one_writes_or_many_read(self, rig: Rig, life: Life, first: bool, second: bool) -> None:
        volume = await make(rig)
        holder = await use.launch(rig, mounts=at(volume, readonly=first))
        other = await use.create(rig, mounts=at(volume, readonly=second))
        if life is Life.PAUSED:
            await rig.host.pause(holder)
        with pytest.raises(errors.Conflict, match=f"{volume}.*{holder}"):
            await rig.host.start(other)
        assert use.life(rig, other) is Life.STOPPED
        await rig.host.stop(holder, grace=0)
        await rig.host.start(other)
        assert use.life(rig, other) is Life.RUNNING

    async def test_of_many_writers_at_once_one_starts(self, rig: Rig) -> None:
        volume = await make(rig)
        machines = [await use.create(rig, mounts=at(volume)) for _ in range(3)]
        ends = await asyncio.gather(*(rig.host.start(it) for it in machines), return_exceptions=True)
        assert [type(end) for end in ends if end is not None] == [errors.Conflict] * 2

    async def test_two_read_at_once_and_write_nothing(self, rig: Rig) -> None:
        for reader in await two_readers(rig, b"content"):
            assert await use.get(rig, reader, "/data/file") == b"content"
            for call in (
                use.put(rig, reader, "/data/new", b"x"),
                rig.host.files.remove(reader, "/data/file"),
                rig.host.files.make_directory(reader, "/data/directory"),
                rig.host.files.rename(reader, "/data/file", "/data/other"),
                rig.host.files.change(reader, "/data/file", 0o600, None),
            ):
                with pytest.raises(errors.GuestError, match="Read-only file system"):
                    await call

    async def test_a_machine_that_writes_a_volume_is_not_copied(self, rig: Rig) -> None:
        volume = await make(rig)
        machine = await use.launch(rig, mounts=at(volume))
        for transient in (True, False):
            with pytest.raises(errors.Conflict, match=f"{volume}.*read-only"):
                await rig.host.snapshot(machine, ids.new_snapshot_id(), transient)
        await rig.host.suspend(machine)
        with pytest.raises(errors.Conflict, match=str(volume)):
            await rig.host.snapshot(machine, ids.new_snapshot_id())
        assert rig.host.snapshots() == []

    async def test_a_machine_that_reads_a_volume_is_copied_and_all_read_on(self, rig: Rig) -> None:
        machine, _ = await two_readers(rig, b"content")
        mounts = at(rig.host.volumes.list()[0].id, readonly=True)
        counting = await use.count(rig, machine)
        snapshot = await use.snapshot(rig, machine)
        copy = await use.clone(rig, snapshot, mounts=mounts)
        await rig.host.start(copy)
        for it in (machine, copy):
            assert await use.get(rig, it, "/data/file") == b"content"
            assert await use.tell(rig, it, counting, "two") == "2 two"
        await rig.host.rollback(machine, snapshot)
        await rig.host.start(machine)
        assert await use.get(rig, machine, "/data/file") == b"content"
        with pytest.raises(errors.InvalidRequest, match="mounts"):
            await use.clone(rig, snapshot)

    async def test_a_copy_reads_what_was_written_after_its_snapshot(self, rig: Rig) -> None:
        readers = await two_readers(rig, b"before")
        volume = rig.host.volumes.list()[0].id
        assert await use.get(rig, readers[0], "/data/file") == b"before"
        snapshot = await use.snapshot(rig, readers[0])
        for reader in readers:
            await rig.host.stop(reader, grace=0)
        writer = await use.launch(rig, mounts=at(volume))
        await use.put(rig, writer, "/data/file", b"after")
        copy = await use.clone(rig, snapshot, mounts=at(volume, readonly=True))
        with pytest.raises(errors.Conflict, match=writer):
            await rig.host.start(copy)
        await rig.host.stop(writer, grace=0)
        await rig.host.start(copy)
        assert await use.get(rig, copy, "/data/file") == b"after"

    async def test_a_machine_claims_only_a_spare_with_the_same_mounts(self, rig: Rig) -> None:
        mounts = at(await filled(rig, b"content"), readonly=True)
        plain, spare = await use.launch(rig), await use.launch(rig, mounts=mounts)
        machine = await use.create(rig, mounts=mounts)
        with pytest.raises(errors.Conflict, match="mounts"):
            await rig.host.claim(machine, plain)
        await rig.host.pause(spare)
        await rig.host.claim(machine, spare)
        assert await use.get(rig, machine, "/data/file") == b"content"

    async def test_a_volume_that_a_machine_mounts_is_not_removed(self, rig: Rig) -> None:
        volume = await make(rig)
        machine = await use.create(rig, mounts=at(volume))
        with pytest.raises(errors.Conflict, match=f"{volume}.*{machine}"):
            await rig.host.volumes.remove(volume)
        await rig.host.destroy(machine)
        await rig.host.volumes.remove(volume)

    async def test_a_volume_that_is_not_there_is_not_found(self, rig: Rig) -> None:
        with pytest.raises(errors.NotFound, match="volume"):
            await use.create(rig, mounts=at(ids.new_volume_id()))

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "//",
            "",
            "data",
            "/data/",
            "/data//x",
            "/a/../proc",
            "/./a",
            "/proc",
            "/sys/kernel",
            "/dev",
            "/a\nb",
            "/a\0",
        ],
    )
    async def test_nothing_is_mounted_where_it_cannot_be(self, rig: Rig, path: str) -> None:
        volume = await make(rig)
        with pytest.raises(errors.InvalidRequest, match="mounts"):
            await use.create(rig, mounts=at(volume, path))

    async def test_mounts_do_not_meet(self, rig: Rig) -> None:
        one, other = await make(rig), await make(rig)
        for second in (at(other, "/data"), at(other, "/data/below"), at(one, "/elsewhere")):
            with pytest.raises(errors.InvalidRequest, match="mounts"):
                await use.create(rig, mounts=(*at(one, "/data"), *second))
        with pytest.raises(errors.InvalidRequest, match="at most 8"):
            await use.create(rig, mounts=tuple(Mount(ids.new_volume_id(), f"/{n}", False) for n in range(9)))
