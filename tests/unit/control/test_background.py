"""Work that outlives its caller."""

import asyncio

from hutch.control.background import Background
from unit.control.rig import turn


async def test_the_end_waits_also_for_what_work_begins_when_it_ends() -> None:
    background, done = Background(), []

    async def last() -> None:
        await turn(50)
        done.append("last")

    async def first() -> None:
        await asyncio.sleep(0)
        background.go_on("the last", last())
        done.append("first")

    background.go_on("the first", first())
    await background.close(30.0)
    assert done == ["first", "last"]
