"""What a build tells, to those who are there in time and to those who are not."""

import asyncio
from datetime import UTC, datetime

from hutch.control.building.chronicle import KEPT, Chronicle
from hutch.control.clock import ManualClock
from hutch.model.builds import Build, BuildState, Phase
from hutch.model.ids import BuildId, SnapshotId, TenantId
from hutch.store.memory import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def make() -> Chronicle:
    store, id = MemoryStore(), BuildId("b")
    await store.add_build(
        Build(id, TenantId("t"), "ri-1", BuildState.RUNNING, SnapshotId("s"), None, "hash", (), NOW, NOW)
    )
    return Chronicle(id, store, ManualClock())


async def told(chronicle: Chronicle) -> list[str]:
    """All of it."""
    return [item.name if isinstance(item, Phase) else item.decode() async for item in chronicle.follow()]


async def test_who_comes_at_the_end_is_told_all_in_order() -> None:
    chronicle = await make()
    await chronicle.phase("one")
    chronicle.tell(b"a")
    chronicle.tell(b"b")
    await chronicle.phase("two", SnapshotId("x"))
    chronicle.tell(b"c")
    chronicle.end()
    assert await told(chronicle) == ["one", "ab", "two", "c"]


async def test_who_is_there_is_told_as_it_comes() -> None:
    chronicle, heard = await make(), list[str]()

    async def listen() -> None:
        async for item in chronicle.follow():
            heard.append(item.name if isinstance(item, Phase) else item.decode())

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(30):
        for step in (chronicle.phase("one"), None, chronicle.phase("two")):
            before = len(heard)
            if step is not None:
                await step
            else:
                chronicle.tell(b"a")
            while len(heard) == before:
                await asyncio.sleep(0)
        chronicle.end()
        await listening
    assert heard == ["one", "a", "two"]


async def test_who_is_late_misses_output_and_no_phase() -> None:
    chronicle = await make()
    await chronicle.phase("one")
    chronicle.tell(b"x" * 10)
    await chronicle.phase("two")
    chronicle.tell(b"y" * KEPT)
    chronicle.end()
    assert await told(chronicle) == ["one", "two", "y" * KEPT]


async def test_its_last_words_are_those_of_its_last_phase() -> None:
    chronicle = await make()
    assert chronicle.last(10) == "the beginning"
    await chronicle.phase("one")
    chronicle.tell(b"before\n")
    await chronicle.phase("two")
    assert chronicle.last(10) == "two"
    chronicle.tell(b"0123456789abcdef\n")
    assert chronicle.last(7) == "two:\nabcdef"
