"""The clock that tests move."""

import asyncio
from datetime import UTC, datetime, timedelta

from hutch.control.clock import ManualClock, SystemClock


async def test_sleepers_wake_when_their_time_has_come() -> None:
    clock, woken = ManualClock(), []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleep(seconds)) for seconds in (3, 1, 2)]
    await asyncio.sleep(0)
    clock.advance(2)
    await asyncio.gather(*tasks[1:])
    assert woken == [1, 2]
    clock.advance(1)
    await tasks[0]


async def test_a_sleeper_that_was_cancelled_is_passed_over() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    clock.advance(1)


async def test_the_real_clock_tells_the_time_in_utc() -> None:
    clock = SystemClock()
    await clock.sleep(0)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
