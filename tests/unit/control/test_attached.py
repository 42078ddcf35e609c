"""Processes that are followed without being theirs who follow; files that are moved, changed, looked for, watched."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from hutch.control.commands import Command, Stream
from hutch.control.processes import Chunk
from hutch.model import errors
from hutch.model.guest import Change, ChangeKind, Exit
from hutch.model.ids import MachineId
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn

TALK = Command(argv=("sh", "-c", "echo out; echo err >&2; while read line; do echo got $line; done"), interactive=True)


async def followed(rig: Rig, machine: MachineId, process: str) -> tuple[bytes, bytes, Exit]:
    """All it writes, and its end."""
    output = {Stream.STDOUT: b"", Stream.STDERR: b""}
    async with asyncio.timeout(LIMIT):
        async for told in rig.plane.processes.follow(rig.me, machine, process):
            if isinstance(told, Exit):
                return output[Stream.STDOUT], output[Stream.STDERR], told
            output[told.stream] += told.data
    raise AssertionError(output)


async def test_a_process_is_followed_to_its_end(rig: Rig) -> None:
    machine = await rig.launch()
    process = (await rig.plane.processes.start(rig.me, machine, TALK)).id
    following = soon(followed(rig, machine, process))
    await rig.plane.processes.write(rig.me, machine, process, b"a\n", end=True)
    assert await following == (b"out\ngot a\n", b"err\n", Exit(code=0))
    assert await followed(rig, machine, process) == (b"out\ngot a\n", b"err\n", Exit(code=0))


async def test_who_stops_following_leaves_it_running(rig: Rig) -> None:
    machine = await rig.launch()
    process = (await rig.plane.processes.start(rig.me, machine, TALK)).id
    async with contextlib.aclosing(rig.plane.processes.follow(rig.me, machine, process)) as told:
        assert isinstance(await anext(told), Chunk)
    await rig.settle()
    (info,) = await rig.plane.processes.list(rig.me, machine)
    assert info.exit is None
    await rig.plane.processes.signal(rig.me, machine, process, 9)
    assert (await followed(rig, machine, process))[2] == Exit(signal=9)


async def test_a_machine_that_is_followed_stays_suspended_until_it_is_woken(rig: Rig) -> None:
    machine = await rig.launch()
    process = (await rig.plane.processes.start(rig.me, machine, TALK)).id
    following = soon(followed(rig, machine, process))
    await turn()
    await rig.plane.machines.suspend(rig.me, machine)
    await turn(50)
    assert rig.state(machine) is State.SUSPENDED
    await rig.plane.processes.write(rig.me, machine, process, b"", end=True)
    assert (await following)[2] == Exit(code=0)


async def test_what_is_not_there_cannot_be_followed(rig: Rig) -> None:
    machine = await rig.launch()
    with pytest.raises(errors.GuestNotFound):
        await followed(rig, machine, "nothing")
    with pytest.raises(errors.Forbidden):
        rig.plane.processes.follow(await rig.someone("machine:read"), machine, "x")


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_files_are_moved_changed_and_looked_for(rig: Rig) -> None:
    machine, files = await rig.launch(), rig.plane.files
    await files.write(rig.me, machine, "/srv/a.txt", once(b"one\ntwo\n"))
    await files.rename(rig.me, machine, "/srv/a.txt", "/srv/b.txt")
    await files.change(rig.me, machine, "/srv/b.txt", mode=0o640)
    assert (await files.stat(rig.me, machine, "/srv/b.txt")).mode == 0o640
    assert [it.path for it in await files.find(rig.me, machine, "/srv", "*.txt")] == ["/srv/b.txt"]
    (match,) = await files.search(rig.me, machine, "/srv", "two")
    assert (match.path, match.line, match.text) == ("/srv/b.txt", 2, "two")
    with pytest.raises(errors.GuestNotFound):
        await files.rename(rig.me, machine, "/srv/a.txt", "/srv/c.txt")
    with pytest.raises(errors.InvalidRequest):
        await files.change(rig.me, machine, "/srv/b.txt", mode=0o10000)
    with pytest.raises(errors.InvalidRequest):
        await files.rename(rig.me, machine, "/srv/b.txt", "c.txt")


async def test_a_directory_is_watched_and_its_machine_is_used_meanwhile(rig: Rig) -> None:
    machine, files = await rig.launch(), rig.plane.files
    await files.make_directory(rig.me, machine, "/srv")
    async with contextlib.aclosing(files.watch(rig.me, machine, "/srv")) as changes:
        first = soon(anext(changes))
        await asyncio.sleep(0.1)
        await files.write(rig.me, machine, "/srv/new", once(b"x"))
        async with asyncio.timeout(LIMIT):
            change: Change = await first
    assert (change.kind, change.path) == (ChangeKind.CREATED, "/srv/new")
    with pytest.raises(errors.GuestNotFound):
        await anext(files.watch(rig.me, machine, "/nowhere"))
