"""Files in machines."""

import dataclasses
from collections.abc import AsyncIterator

import pytest

from hutch.model import errors
from hutch.model.guest import FileKind
from hutch.model.states import State
from unit.control.rig import Rig


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_file_goes_in_and_comes_out_and_starts_the_machine(rig: Rig) -> None:
    machine, files = await rig.create(), rig.plane.files
    await files.write(rig.me, machine, "/workspace/rt.txt", chunks(b"ab", b"c"), mode=0o600)
    assert rig.state(machine) is State.RUNNING
    stat, content = await files.read(rig.me, machine, "/workspace/rt.txt")
    assert (stat.size, stat.mode) == (3, 0o600)
    assert [chunk async for chunk in content] == [b"abc"]


async def test_the_second_slash_some_clients_send_is_no_matter(rig: Rig) -> None:
    machine, files = await rig.launch(), rig.plane.files
    await files.write(rig.me, machine, "//workspace/rt.txt", chunks(b"x"))
    assert (await files.stat(rig.me, machine, "/workspace/rt.txt")).path == "/workspace/rt.txt"


async def test_directories_are_made_listed_and_removed(rig: Rig) -> None:
    machine, files = await rig.launch(), rig.plane.files
    await files.make_directory(rig.me, machine, "/srv/a/b", 0o700)
    await files.write(rig.me, machine, "/srv/a/c", chunks(b"x"))
    told = await files.list(rig.me, machine, "/srv/a")
    assert [(stat.path, stat.kind) for stat in told] == [
        ("/srv/a/b", FileKind.DIRECTORY),
        ("/srv/a/c", FileKind.FILE),
    ]
    await files.remove(rig.me, machine, "/srv/a", recursive=True)
    with pytest.raises(errors.GuestNotFound, match="/srv/a"):
        await files.stat(rig.me, machine, "/srv/a")


@pytest.mark.parametrize("path", ["relative", "", "/a\0b", "/" + "x" * 5000])
async def test_a_path_that_is_none_is_refused(rig: Rig, path: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="use an absolute path"):
        await rig.plane.files.stat(rig.me, await rig.create(), path)


async def test_a_mode_that_is_none_is_refused(rig: Rig) -> None:
    with pytest.raises(errors.InvalidRequest, match="permission bits"):
        await rig.plane.files.write(rig.me, await rig.create(), "/x", chunks(b""), mode=0o10000)


async def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(rig: Rig) -> None:
    rig.limits = dataclasses.replace(rig.limits, file_limit=10)
    await rig.restart()
    machine, files = await rig.launch(), rig.plane.files
    with pytest.raises(errors.InvalidRequest, match="more than 10 bytes"):
        await files.write(rig.me, machine, "/srv/file", chunks(b"x" * 9, b"xx"))
    assert await files.list(rig.me, machine, "/srv") == []


async def test_a_full_disk_is_a_typed_error_and_leaves_nothing(rig: Rig) -> None:
    machine, files = await rig.launch(), rig.plane.files
    rig.world.faults.disk_full = True
    with pytest.raises(errors.GuestDiskFull):
        await files.write(rig.me, machine, "/srv/file", chunks(b"x"))
    assert await files.list(rig.me, machine, "/srv") == []


async def test_a_download_is_use_for_as_long_as_it_lasts(rig: Rig) -> None:
    machine, files = await rig.launch(), rig.plane.files
    await files.write(rig.me, machine, "/srv/file", chunks(b"x" * 2_000_000))
    entry = rig.plane.core.fleet.records.get(machine)
    assert entry is not None
    _, content = await files.read(rig.me, machine, "/srv/file")
    assert entry.busy == 0
    await anext(content)
    assert entry.busy == 1
    rest = [len(chunk) async for chunk in content]
    assert (sum(rest) > 0, entry.busy) == (True, 0)


async def test_every_call_needs_its_scope(rig: Rig) -> None:
    machine, poor, files = await rig.launch(), await rig.someone("machine:exec"), rig.plane.files
    for call in (
        files.read(poor, machine, "/x"),
        files.write(poor, machine, "/x", chunks()),
        files.stat(poor, machine, "/x"),
        files.list(poor, machine, "/x"),
        files.make_directory(poor, machine, "/x"),
        files.remove(poor, machine, "/x"),
    ):
        with pytest.raises(errors.Forbidden, match="missing scope: machine:files"):
            await call
