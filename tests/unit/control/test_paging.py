"""Lists of machines that come in pages."""

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.control import catalog
from hutch.control.machines import Page, Query
from hutch.control.records import Entry
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Machine
from hutch.model.states import State
from unit.control.rig import Rig


def page(rig: Rig, **fields: object) -> Page:
    return rig.plane.machines.page(rig.me, Query(**fields))  # type: ignore[arg-type]


async def make(rig: Rig, count: int, **fields: object) -> list[str]:
    """Names, newest first; the clock moves only with every second one."""
    names = []
    for number in range(count):
        rig.clock.advance(number % 2)
        names.append(f"m{number}")
        await rig.create(name=names[-1], **fields)
    return [it.name for it in sorted(rig.plane.machines.list(rig.me), key=lambda it: (it.created_at, it.id))][::-1]


def walk(rig: Rig, **fields: object) -> list[Machine]:
    """All pages."""
    found, token = [], None
    while True:
        its = page(rig, token=token, **fields)
        found += its.items
        if its.next_token is None:
            return found
        token = its.next_token


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
async def test_pages_hold_every_machine_once_newest_first(rig: Rig, limit: int) -> None:
    names = await make(rig, 7)
    assert [it.name for it in walk(rig, limit=limit)] == names


async def test_the_last_page_has_no_token_even_when_it_is_full(rig: Rig) -> None:
    await make(rig, 4)
    first = page(rig, limit=2)
    assert first.next_token is not None
    assert page(rig, limit=2, token=first.next_token).next_token is None


async def test_pages_stay_right_while_machines_come_and_go(rig: Rig) -> None:
    names = await make(rig, 6)
    first = page(rig, limit=2)
    rig.clock.advance(1)
    await rig.create(name="new")
    for name in (names[1], names[3]):  # the one that the token names, and one that is to come
        await rig.plane.machines.delete(rig.me, rig.plane.machines.find(rig.me, name).id)
    rest = page(rig, limit=9, token=first.next_token)
    assert [it.name for it in rest.items] == [names[2], names[4], names[5]]


async def test_pages_are_the_same_after_a_restart(rig: Rig) -> None:
    names = await make(rig, 5)
    first = page(rig, limit=2)
    await rig.restart()
    assert [it.name for it in page(rig, token=first.next_token).items] == names[2:]


async def test_filters_must_all_hold(rig: Rig) -> None:
    await rig.create(name="a", metadata={"user": "1", "deep": {"x": [1]}}, labels={"k": "v"})
    await rig.create(name="b", metadata={"user": "1"}, image="debian")
    await rig.launch(name="c", labels={"k": "v"})
    for fields, names in (
        ({"metadata": {"user": "1"}}, "ba"),
        ({"metadata": {"user": "1", "deep": {"x": [1]}}}, "a"),
        ({"metadata": {"user": 1}}, ""),
        ({"metadata": {"deep": {"x": [1.0]}}}, "a"),
        ({"metadata": {"deep": {"x": [True]}}}, ""),
        ({"metadata": {"user": "1"}, "labels": {"k": "v"}}, "a"),
        ({"states": [State.RUNNING]}, "c"),
        ({"states": [State.RUNNING, State.STOPPED]}, "cba"),
        ({"template": "debian"}, "b"),
        ({"template": "nothing"}, ""),
    ):
        assert {it.name for it in page(rig, **fields).items} == set(names)


async def test_a_machine_made_of_a_snapshot_has_that_as_its_template_by_name_and_id(rig: Rig) -> None:
    snapshot = await rig.plane.snapshots.create(rig.me, await rig.launch(name="source"), "saved")
    copy = await rig.create(name="copy", image="", snapshot="saved")
    for template in ("saved", snapshot.id):
        assert [it.id for it in page(rig, template=template).items] == [copy]
    assert [it.name for it in page(rig, template="alpine").items] == ["source"]


async def test_only_the_tenants_own_machines_are_told_and_a_scope_is_needed(rig: Rig) -> None:
    await rig.create()
    assert rig.plane.machines.page(await rig.someone(tenant="other"), Query()) == Page([], None)
    with pytest.raises(errors.Forbidden):
        rig.plane.machines.page(await rig.someone("machine:exec"), Query())


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_a_limit_out_of_bounds_is_refused(limit: int) -> None:
    with pytest.raises(errors.InvalidRequest, match="1 to 100"):
        catalog.check(Query(limit=limit))


@pytest.mark.parametrize("token", ["", "x", "!!!!", "ZZZZ", "LTEuYQ", "Zg", "ZmZmZmZmZmZmZmZmZmZmZmZmZmZmLmE", "ä"])
def test_a_token_that_was_not_given_is_refused(token: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="begin at the first page"):
        catalog.read_token(token)


@given(st.text())
def test_any_text_is_a_token_or_refused(token: str) -> None:
    with contextlib.suppress(errors.InvalidRequest):
        catalog.read_token(token)


async def test_a_token_is_the_place_it_was_made_of(rig: Rig) -> None:
    rig.clock.advance(0.123457)
    machine = rig.get(await rig.create())
    assert catalog.read_token(catalog.write_token(machine)) == (machine.created_at, machine.id)


def fill(rig: Rig, like: Machine, count: int) -> None:
    """Records of so many, without a store."""
    for number in range(count):
        rig.clock.advance(0.001)
        id, metadata = MachineId(f"m{number:05}"), {"user": str(number % 100), "n": number}
        machine = dataclasses.replace(like, id=id, name=id, created_at=rig.clock.now(), metadata=metadata)
        rig.plane.core.fleet.records._insert(Entry(machine))


async def test_pages_of_ten_thousand_are_full_first_and_last(rig: Rig) -> None:
    fill(rig, rig.get(await rig.create()), 10_000)
    nearly_all = catalog.write_token(rig.get(MachineId("m00100")))
    assert len(page(rig, limit=100, metadata={"user": "7"}).items) == 100
    assert len(page(rig, limit=100, metadata={"n": 3}).items) == 1
    assert len(page(rig, limit=100, token=nearly_all).items) == 100
