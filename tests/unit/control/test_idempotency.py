"""Requests that are done once, however often they are sent."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hutch.control.machines import ForkRequest, MachineRequest
from hutch.model import errors
from hutch.store.interface import Attempt
from unit.control.rig import Rig, soon, turn

DAY = 24 * 3600


def creation(rig: Rig, **fields: Any) -> Callable[[], Awaitable[str]]:
    async def work() -> str:
        return await rig.create(**fields)

    return work


async def once(rig: Rig, work: Callable[[], Awaitable[str]], key: str | None = "k", body: bytes = b"{}") -> str:
    return await rig.plane.idempotency.once(rig.me, key, "create", body, work)


def count(rig: Rig) -> int:
    return len(rig.plane.machines.list(rig.me))


async def test_the_same_key_and_body_give_the_same_machine(rig: Rig) -> None:
    first = await once(rig, creation(rig))
    assert [await once(rig, creation(rig)) for _ in range(3)] == [first] * 3
    assert count(rig) == 1


async def test_a_key_that_could_not_make_it_is_not_told_what_was_made(rig: Rig) -> None:
    await once(rig, creation(rig))
    looking = dataclasses.replace(rig.me, scopes=frozenset({"machine:read"}))
    with pytest.raises(errors.Forbidden):
        await rig.plane.idempotency.once(looking, "k", "create", b"{}", creation(rig))


async def test_without_a_key_it_is_just_done(rig: Rig) -> None:
    assert await once(rig, creation(rig), None) != await once(rig, creation(rig), None)


async def test_another_key_or_tenant_is_another_request(rig: Rig) -> None:
    await once(rig, creation(rig))
    await once(rig, creation(rig), "other")
    assert count(rig) == 2
    stranger = await rig.someone(tenant="other")

    async def work() -> str:
        return (await rig.plane.machines.create(stranger, MachineRequest("alpine"))).id

    made = await rig.plane.idempotency.once(stranger, "k", "create", b"{}", work)
    assert rig.plane.machines.get(stranger, made).tenant == stranger.tenant  # type: ignore[arg-type]


async def test_duplicates_at_once_wait_for_the_first(rig: Rig) -> None:
    made = await asyncio.gather(*(once(rig, creation(rig)) for _ in range(10)))
    assert len(set(made)) == count(rig) == 1


@pytest.mark.parametrize("is_done", [True, False])
async def test_the_same_key_for_another_request_is_refused(rig: Rig, is_done: bool) -> None:
    first = soon(once(rig, creation(rig)))
    if is_done:
        await first
    else:
        await turn(1)
    with pytest.raises(errors.IdempotencyMismatch, match="'k'"):
        await once(rig, creation(rig), body=b"another")
    with pytest.raises(errors.IdempotencyMismatch):
        await rig.plane.idempotency.once(rig.me, "k", "fork", b"{}", creation(rig))
    await first
    assert count(rig) == 1


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_is_empty_or_too_long_is_refused(rig: Rig, key: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="1 to 255"):
        await once(rig, creation(rig), key)


async def test_a_failure_is_told_to_all_who_wait_and_not_kept(rig: Rig) -> None:
    failing = [soon(once(rig, creation(rig, image="missing:image"))) for _ in range(3)]
    done = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(it) for it in done] == [errors.ImageUnavailable] * 3
    await once(rig, creation(rig))
    assert count(rig) == 1


async def test_a_caller_that_goes_away_leaves_it_done(rig: Rig) -> None:
    first = soon(once(rig, creation(rig)))
    await turn(2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    made = await once(rig, creation(rig))
    assert [it.id for it in rig.plane.machines.list(rig.me)] == [made]


async def test_after_a_day_the_key_is_free_again(rig: Rig) -> None:
    first = await once(rig, creation(rig))
    rig.clock.advance(DAY - 1)
    assert await once(rig, creation(rig)) == first
    rig.clock.advance(1)
    assert await once(rig, creation(rig), body=b"another") != first


async def test_the_result_outlives_a_crash(rig: Rig) -> None:
    first = await once(rig, creation(rig))
    await rig.crash_and_restart()
    assert await once(rig, creation(rig)) == first


async def cut(rig: Rig, turns: int, work: Callable[[], Awaitable[str]]) -> None:
    """Begin it, and crash after so many turns."""
    soon(once(rig, work))
    await turn(turns)
    await rig.crash_and_restart()
    await rig.settle()


@pytest.mark.parametrize("turns", range(0, 40, 2))
async def test_wherever_a_crash_cuts_it_a_creation_is_done_once(rig: Rig, turns: int) -> None:
    await cut(rig, turns, creation(rig))
    made = await once(rig, creation(rig))
    assert [it.id for it in rig.plane.machines.list(rig.me)] == [made]


@pytest.mark.parametrize("turns", range(0, 90, 5))
async def test_wherever_a_crash_cuts_it_a_fork_is_done_once(rig: Rig, turns: int) -> None:
    source = await rig.launch()

    async def work() -> str:
        children = await rig.plane.machines.fork(rig.me, source, ForkRequest(count=2))
        return ",".join(child.id for child in children)

    await cut(rig, turns, work)
    made = await once(rig, work)
    assert {it.id for it in rig.plane.machines.list(rig.me)} == {source, *made.split(",")}


@pytest.mark.parametrize("turns", range(0, 40, 4))
async def test_wherever_a_crash_cuts_it_a_snapshot_is_made_once(rig: Rig, turns: int) -> None:
    source = await rig.launch()

    async def work() -> str:
        return (await rig.plane.snapshots.create(rig.me, source)).id

    await cut(rig, turns, work)
    made = await once(rig, work)
    assert [it.id for it in rig.plane.snapshots.list(rig.me)] == [made]


async def test_what_was_made_and_whose_result_could_not_be_written_is_not_made_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rig.store.save_attempt

    async def refuse_results(attempt: Attempt) -> None:
        if attempt.result is not None:
            raise errors.HutchError("the database failed")
        await real(attempt)

    with monkeypatch.context() as broken:
        broken.setattr(rig.store, "save_attempt", refuse_results)
        first = await once(rig, creation(rig))
    assert await once(rig, creation(rig)) == first


async def test_old_keys_are_forgotten(rig: Rig) -> None:
    await asyncio.sleep(0)
    await once(rig, creation(rig))
    rig.clock.advance(2 * DAY)
    await turn(20)
    assert await rig.store.get_attempt(rig.me.tenant, "k") is None
