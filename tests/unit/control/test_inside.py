"""Commands in a machine whose input and output are streams: pulled, bounded, and ended with each other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from hutch.control.commands import Command
from hutch.control.inside import CommandFailed, Inside
from hutch.model import errors
from unit.control.rig import LIMIT, Rig

CHUNK = b"x" * 65536


@pytest.fixture
async def inside(rig: Rig) -> Inside:
    return Inside(rig.plane.processes, rig.plane.files, rig.me, await rig.launch())


def sh(line: str) -> Command:
    return Command(argv=("sh", "-c", line))


async def these(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def endless(given: list[int]) -> AsyncIterator[bytes]:
    while True:
        given.append(len(CHUNK))
        yield CHUNK


async def test_a_command_is_given_all_its_input_and_its_end(inside: Inside) -> None:
    async with asyncio.timeout(LIMIT):
        ran = await inside.run(sh("cat; echo -n done >&2"), stdin=these(b"one ", b"two"))
    assert (ran.stdout, ran.stderr, ran.exit.code) == (b"one two", b"done", 0)
    assert ran.pid > 0


async def test_a_command_that_reads_no_more_says_itself_why(inside: Inside) -> None:
    async with asyncio.timeout(LIMIT):
        with pytest.raises(CommandFailed, match="no room"):
            await inside.check(sh("head -c 10 >/dev/null; echo no room >&2; exit 1"), stdin=endless([]))


async def test_what_the_input_raises_is_raised_when_the_command_has_ended(inside: Inside) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"one"
        raise errors.GuestError("the source is gone")

    async with asyncio.timeout(LIMIT):
        with pytest.raises(errors.GuestError, match="the source is gone"):
            await inside.run(sh("cat > got"), stdin=breaking())
    assert await inside.read("/got") == b"one"


async def test_a_command_that_cannot_be_started_reads_nothing(inside: Inside) -> None:
    async with asyncio.timeout(LIMIT):
        ran = await inside.run(Command(argv=("/no/such",)), stdin=these(b"x"))
    assert (ran.exit.code, ran.pid) == (255, 0)


async def test_no_more_is_read_than_the_command_takes(inside: Inside) -> None:
    given: list[int] = []
    writing = asyncio.create_task(inside.run(sh("sleep 1000"), stdin=endless(given)))
    async with asyncio.timeout(LIMIT):
        while not given:
            await asyncio.sleep(0.01)
        for _ in range(20):
            await asyncio.sleep(0.01)
    assert sum(given) < 2**20
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing


async def test_output_is_pulled_and_an_early_end_of_it_ends_the_command(inside: Inside, rig: Rig) -> None:
    async with asyncio.timeout(LIMIT), contextlib.aclosing(inside.output(sh("yes"))) as chunks:
        assert (await anext(chunks)).startswith(b"y\n")
    await rig.settle()
    assert all(it.exit is not None for it in await rig.plane.processes.list(rig.me, inside.machine))


async def test_output_of_a_command_that_fails_ends_with_its_words(inside: Inside) -> None:
    read: list[bytes] = []

    async def read_all() -> None:
        async for chunk in inside.output(sh("echo some; echo broken >&2; exit 3"), "reading"):
            read.append(chunk)

    with pytest.raises(CommandFailed, match="reading ended with code 3:\nbroken"):
        await read_all()
    assert b"".join(read) == b"some\n"


async def test_one_machine_is_read_as_another_takes_it(inside: Inside, rig: Rig) -> None:
    other = Inside(rig.plane.processes, rig.plane.files, rig.me, await rig.launch())
    async with asyncio.timeout(LIMIT):
        async with contextlib.aclosing(inside.output(sh("seq 1 200000"))) as chunks:
            told = await other.check(sh("cksum"), stdin=chunks)
        assert told == await inside.check(sh("seq 1 200000 | cksum"))
