"""What is written now and then: heartbeats, and the forgetting of what is old."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from hutch import settings
from hutch.control.upkeep import find_horizon
from hutch.model import errors
from hutch.store.interface import Horizon
from unit.control.rig import LIMIT, Rig, turn
from unit.control.test_pools import come, make

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def test_what_is_old_is_what_the_settings_say() -> None:
    its = settings.Tenants(keep_events_days=30, keep_deliveries_days=0.5, keep_jobs_days=2, keep_builds_days=3)
    day = timedelta(days=1)
    assert find_horizon(its, NOW) == Horizon(
        NOW - 30 * day, NOW - day / 2, NOW - day, NOW - 2 * day, NOW - 3 * day, NOW - 3 * day
    )


def test_what_is_to_be_kept_for_ever_has_no_horizon() -> None:
    found = find_horizon(settings.Tenants(keep_events_days=0, keep_deliveries_days=0, keep_jobs_days=0), NOW)
    assert (found.events, found.deliveries, found.jobs) == (None, None, None)


async def test_old_events_are_forgotten_and_new_ones_are_not(rig: Rig) -> None:
    await turn()
    machine = await rig.launch()
    rig.clock.advance(31 * 86400)
    await turn(20)
    assert await rig.messages(machine) == []
    await rig.plane.machines.stop(rig.me, machine)
    rig.clock.advance(7200)
    await turn(20)
    assert len(await rig.messages(machine)) == 2


async def test_the_records_of_jobs_that_ended_long_ago_are_forgotten(rig: Rig) -> None:
    await turn()
    machine, jobs = await rig.launch(), rig.plane.jobs
    ended, running = [await jobs.start(rig.me, machine, rig.line(line)) for line in ("true", "sleep 1000")]
    async with asyncio.timeout(LIMIT):
        while (await jobs.get(rig.me, machine, ended.id)).finished_at is None:
            await asyncio.sleep(0.01)
    rig.clock.advance(31 * 86400)
    await turn(20)
    assert [it.id for it in await jobs.list(rig.me, machine)] == [running.id]


async def test_a_failure_is_tried_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await turn()
    calls = []

    async def fail(*_: object) -> None:
        calls.append(1)
        raise errors.HutchError("the database failed")

    with monkeypatch.context() as broken:
        broken.setattr(rig.store, "beat", fail)
        for _ in range(90):
            rig.clock.advance(1)
            await turn(5)
    assert len(calls) == 3


async def test_a_clock_that_is_set_back_holds_up_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await turn()
    done = set()

    def note(what: str) -> Callable[..., Awaitable[None]]:
        async def do(*_: object) -> None:
            done.add(what)

        return do

    monkeypatch.setattr(rig.store, "beat", note("heartbeat"))
    monkeypatch.setattr(rig.store, "prune", note("pruned"))
    monkeypatch.setattr(rig.plane.core.keeper, "flush", note("flushed"))
    rig.clock.set_back(86400)
    rig.clock.advance(1)
    await turn(20)
    assert done == {"heartbeat", "pruned", "flushed"}
    monkeypatch.undo()


async def test_a_pool_that_was_put_off_is_not_so_for_longer_when_the_clock_is_set_back(rig: Rig) -> None:
    rig.world.faults.starts.append(errors.MachineFailed("no"))
    pool = await make(rig)
    await turn(50)
    assert rig.plane.pools.find(rig.me, pool).reason == "no"
    rig.clock.set_back(86400)
    await come(rig, pool, 1)
