"""Sessions, jobs, webhooks and requests that are done once, as every store keeps them."""

import dataclasses
from datetime import timedelta

import pytest

from contract.store_suite.nouns import NOW, OURS, THEIRS, a_delivery, a_job, a_machine, a_webhook, an_event
from hutch.model import errors
from hutch.model.ids import MachineId, SessionId
from hutch.model.jobs import JobState
from hutch.model.machine import Machine
from hutch.model.sessions import Session
from hutch.model.states import State
from hutch.store.interface import Attempt, Horizon, Store

LATER = NOW + timedelta(hours=1)


async def add(store: Store, name: str = "web") -> Machine:
    machine = a_machine(name)
    await store.add_machine(machine, an_event(machine))
    return machine


def a_session(machine: Machine, id: str = "s") -> Session:
    return Session(SessionId(id), machine.id, None, {"A": "ä"}, NOW)


async def test_a_session_comes_back_until_it_is_removed(store: Store) -> None:
    session = a_session(await add(store))
    await store.add_session(session)
    moved = dataclasses.replace(session, cwd="/tmp", env={"B": "2"}, last_exec_at=LATER)
    await store.save_session(moved)
    assert list((await store.load()).sessions) == [moved]
    for _ in range(2):
        await store.remove_session(moved)
    await store.save_session(moved)
    assert list((await store.load()).sessions) == []


async def test_a_sessions_id_is_its_own_within_its_machine(store: Store) -> None:
    ours, other = await add(store), await add(store, "other")
    await store.add_session(a_session(ours))
    await store.add_session(a_session(other))
    with pytest.raises(errors.Conflict, match="session s"):
        await store.add_session(a_session(ours))
    assert len((await store.load()).sessions) == 2


async def test_sessions_and_jobs_go_with_their_machine(store: Store) -> None:
    going, staying = await add(store), await add(store, "other")
    for machine in (going, staying):
        await store.add_session(a_session(machine))
        await store.add_job(a_job(machine.id, machine.name))
    await store.save_machine(dataclasses.replace(going, state=State.DESTROYED), State.CREATING, an_event(going))
    assert [session.machine for session in (await store.load()).sessions] == [staying.id]
    assert await store.get_job(going.id, "web") is None
    assert await store.get_job(staying.id, "other") is not None


async def test_a_job_is_replaced_and_found_by_its_machine(store: Store) -> None:
    machine = await add(store)
    job = a_job(machine.id)
    await store.add_job(job)
    assert await store.get_job(machine.id, "j") == job
    ended = dataclasses.replace(job, state=JobState.EXITED, finished_at=LATER, exit_code=3, stdout_bytes=2**40)
    await store.save_job(ended)
    await store.save_job(dataclasses.replace(ended, id="gone"))
    assert await store.get_job(machine.id, "j") == ended
    assert await store.get_job(MachineId("other"), "j") is None
    assert await store.get_job(machine.id, "gone") is None


async def test_the_last_jobs_are_told_newest_first_and_the_running_ones_oldest_first(store: Store) -> None:
    machine = await add(store)
    for id in ("1", "2", "3"):
        await store.add_job(a_job(machine.id, id))
    await store.save_job(dataclasses.replace(a_job(machine.id, "2"), state=JobState.LOST))
    assert [job.id for job in await store.list_jobs(machine.id, 2)] == ["3", "2"]
    assert [job.id for job in await store.list_running_jobs()] == ["1", "3"]


async def test_a_webhook_comes_back_until_it_is_removed_with_its_deliveries(store: Store) -> None:
    await store.add_webhook(a_webhook())
    await store.add_webhook(a_webhook("other"))
    await store.add_deliveries([a_delivery()])
    await store.add_deliveries([a_delivery("kept", "other")])
    assert list((await store.load()).webhooks) == [a_webhook(), a_webhook("other")]
    for _ in range(2):
        await store.remove_webhook("w")
    assert list((await store.load()).webhooks) == [a_webhook("other")]
    await store.save_webhook(a_webhook())
    changed = dataclasses.replace(a_webhook("other"), is_enabled=False, kinds=(), secret="new", updated_at=LATER)
    await store.save_webhook(changed)
    assert list((await store.load()).webhooks) == [changed]
    assert [it.id for it in await store.waiting_deliveries()] == ["kept"]
    await store.add_deliveries([a_delivery("late"), a_delivery("in time", "other")])
    await store.save_delivery(a_delivery())
    assert [await store.get_delivery(id) for id in ("late", "d")] == [None, None]
    assert await store.get_delivery("in time") == a_delivery("in time", "other")


async def test_deliveries_are_due_the_longest_waiting_first(store: Store) -> None:
    await store.add_webhook(a_webhook())
    for id, at in (("never", None), ("late", LATER), ("now", NOW), ("first", NOW - timedelta(seconds=1))):
        await store.add_deliveries([a_delivery(id, next_attempt_at=at)])
    assert [it.id for it in await store.waiting_deliveries()] == ["first", "now", "late"]
    assert [it.id for it in await store.list_deliveries("w", 2)] == ["first", "now"]


async def test_a_delivery_is_replaced_whole(store: Store) -> None:
    await store.add_webhook(a_webhook())
    await store.add_deliveries([a_delivery()])
    done = dataclasses.replace(
        a_delivery(), attempts=2, next_attempt_at=None, delivered_at=LATER, status=204, error="before that: 500"
    )
    await store.save_delivery(done)
    assert await store.get_delivery("d") == done


async def test_an_attempt_is_known_until_it_is_removed(store: Store) -> None:
    attempt = Attempt(OURS.id, "k", "create", b"x" * 32, NOW)
    await store.add_attempt(attempt)
    with pytest.raises(errors.Conflict):
        await store.add_attempt(attempt)
    assert list((await store.load()).attempts) == [attempt]
    done = dataclasses.replace(attempt, expected="m", result="m")
    await store.save_attempt(done)
    assert await store.get_attempt(OURS.id, "k") == done
    assert await store.get_attempt(THEIRS.id, "k") is None
    assert list((await store.load()).attempts) == []
    for _ in range(2):
        await store.remove_attempt(OURS.id, "k")
    await store.save_attempt(done)
    assert await store.get_attempt(OURS.id, "k") is None


async def test_what_is_old_is_forgotten_but_not_what_is_still_to_be_delivered(store: Store) -> None:
    machine = await add(store)
    await store.add_event(dataclasses.replace(an_event(machine, "new"), created_at=LATER))
    await store.add_webhook(a_webhook())
    for id, created, due in (("old", NOW, None), ("waiting", NOW, NOW), ("new", LATER, None)):
        await store.add_deliveries([a_delivery(id, created_at=created, next_attempt_at=due)])
    for key, at in (("old", NOW), ("new", LATER)):
        await store.add_attempt(Attempt(OURS.id, key, "create", b"x" * 32, at))
    await store.add_job(a_job(machine.id, "running"))
    for id, at in (("ended", NOW), ("new", LATER)):
        await store.add_job(dataclasses.replace(a_job(machine.id, id), state=JobState.EXITED, finished_at=at))
    await store.prune(Horizon())
    assert len(await store.list_jobs(machine.id, 9)) == 3
    assert len(await store.list_deliveries("w", 9)) == 3
    await store.prune(Horizon(events=LATER, deliveries=LATER, attempts=LATER, jobs=LATER))
    assert [it.id for it in await store.list_jobs(machine.id, 9)] == ["new", "running"]
    assert [event.message for event in await store.list_events(machine.id, 9)] == ["new"]
    assert [it.id for it in await store.list_deliveries("w", 9)] == ["new", "waiting"]
    assert [attempt.key for attempt in (await store.load()).attempts] == ["new"]
