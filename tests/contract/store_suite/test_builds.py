"""Builds and their phases, as every store keeps them."""

import dataclasses
from datetime import timedelta

import pytest

from contract.store_suite.nouns import NOW, OURS, THEIRS, a_build
from hutch.model import errors, ids
from hutch.model.builds import BuildState, Phase
from hutch.model.ids import BuildId, SnapshotId
from hutch.store.interface import Horizon, Store

LATER = NOW + timedelta(hours=1)


def a_phase(name: str, build: str = "b") -> Phase:
    return Phase(ids.new_phase_id(), BuildId(build), name, NOW)


async def test_a_build_is_replaced_whole(store: Store) -> None:
    build = a_build()
    await store.add_build(build)
    assert await store.get_build(build.id) == build
    failed = dataclasses.replace(
        build, state=BuildState.FAILED, updated_at=LATER, finished_at=LATER, reason="apt: ä", name="web", planned=()
    )
    await store.save_build(failed)
    assert await store.get_build(build.id) == failed
    await store.save_build(a_build("gone"))
    assert await store.get_build(BuildId("gone")) is None


async def test_builds_are_told_newest_first_and_the_unfinished_of_all_tenants_oldest_first(store: Store) -> None:
    for id, state in (("1", BuildState.RUNNING), ("2", BuildState.LOST), ("3", BuildState.PENDING)):
        await store.add_build(a_build(id, state=state))
    await store.add_build(a_build("4", THEIRS))
    assert [build.id for build in await store.list_builds(OURS.id, 2)] == ["3", "2"]
    assert [build.id for build in await store.list_unfinished_builds()] == ["1", "3", "4"]


async def test_phases_come_back_in_the_order_they_were_added(store: Store) -> None:
    await store.add_build(a_build())
    await store.add_build(a_build("other"))
    first = a_phase("base")
    second = dataclasses.replace(a_phase("layer 1"), started_at=NOW - timedelta(days=1), snapshot=SnapshotId("s"))
    for phase in (first, a_phase("base", "other"), second):
        await store.add_phase(phase)
    assert list(await store.list_phases(BuildId("b"))) == [first, second]
    assert list(await store.list_phases(BuildId("gone"))) == []
    with pytest.raises(errors.Conflict, match="no build gone"):
        await store.add_phase(a_phase("base", "gone"))


async def test_old_builds_go_with_their_phases_but_not_while_they_run(store: Store) -> None:
    for id, at in (("running", None), ("old", NOW), ("new", LATER)):
        await store.add_build(dataclasses.replace(a_build(id), finished_at=at))
        await store.add_phase(a_phase("base", id))
    await store.prune(Horizon())
    assert len(await store.list_builds(OURS.id, 9)) == 3
    await store.prune(Horizon(builds=LATER))
    assert [build.id for build in await store.list_builds(OURS.id, 9)] == ["new", "running"]
    assert [len(await store.list_phases(BuildId(id))) for id in ("running", "old", "new")] == [1, 0, 1]
