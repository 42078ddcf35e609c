"""Trees of files that are watched."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from hutch.control import watches
from hutch.model import errors
from hutch.model.guest import Change, ChangeKind
from hutch.model.ids import MachineId
from hutch.model.states import State
from unit.control.rig import Rig

LIMIT = 30.0

Watch = AsyncGenerator[Change | None, None]


@contextlib.asynccontextmanager
async def opened(rig: Rig, machine: MachineId, path: str = "/") -> AsyncGenerator[Watch, None]:
    async with asyncio.timeout(LIMIT), contextlib.aclosing(rig.plane.watches.watch(rig.me, machine, path)) as watch:
        assert await anext(watch) is None
        yield watch


async def until(watch: Watch, path: str) -> list[str]:
    seen = []
    async for change in watch:
        assert change is not None
        seen.append(change.path)
        if change.path == path:
            return seen
    raise AssertionError(seen)


async def test_what_happens_anywhere_below_is_told(rig: Rig) -> None:
    machine = await rig.create()
    async with opened(rig, machine) as watch:
        assert rig.state(machine) is State.RUNNING
        await rig.run(machine, "mkdir -p tmp/deep; echo x > tmp/deep/file")
        assert await until(watch, "/tmp/deep/file")


async def test_the_systems_own_files_are_left_out_of_a_watch_of_all(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.run(machine, "mkdir -p usr/lib var/lib tmp")
    async with opened(rig, machine) as watch:
        await rig.run(machine, "echo x > usr/lib/a; echo x > var/lib/b; echo x > tmp/c")
        seen = await until(watch, "/tmp/c")
    assert not {"/usr/lib/a", "/var/lib/b"} & set(seen)
    async with opened(rig, machine, "/usr") as watch:
        await rig.run(machine, "echo y >> usr/lib/a")
        assert await until(watch, "/usr/lib/a")


async def test_who_watch_the_same_share_one_watch_and_are_all_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await rig.launch()
    files, begun = rig.plane.core.fleet.host.files, []
    real = files.watch
    monkeypatch.setattr(files, "watch", lambda *its: begun.append(its) or real(*its))  # type: ignore[func-returns-value]
    async with contextlib.AsyncExitStack() as all_of_them:
        there = [await all_of_them.enter_async_context(opened(rig, machine)) for _ in range(20)]
        await rig.run(machine, "echo x > seen")
        assert all([await until(watch, "/seen") for watch in there])
        assert len(begun) == 1
    assert not rig.plane.watches._trees
    async with opened(rig, machine):
        assert len(begun) == 2


async def test_who_leaves_keeps_no_other_from_being_told(rig: Rig) -> None:
    machine = await rig.launch()
    async with opened(rig, machine) as stays:
        async with opened(rig, machine):
            pass
        await rig.run(machine, "echo x > seen")
        assert await until(stays, "/seen")


async def test_a_slow_one_is_told_that_something_was_lost(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "QUEUE", 2)
    machine = await rig.launch()
    async with opened(rig, machine) as slow, opened(rig, machine) as quick:
        for name in ("a", "b", "c"):
            await rig.run(machine, f"mkdir {name}")
            await until(quick, f"/{name}")
        with pytest.raises(errors.GuestError, match="more happened"):
            await until(slow, "/never")


async def test_a_guest_cannot_fill_the_queue_of_a_slow_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await rig.launch()

    async def watch(*its: Any) -> AsyncGenerator[Change, None]:
        its[-1]()
        for _ in range(100):
            yield Change(ChangeKind.CREATED, "/" + "x" * 60_000)
        raise errors.GuestError("that was all")

    monkeypatch.setattr(rig.plane.core.fleet.host.files, "watch", watch)
    held = []
    async with opened(rig, machine) as slow:
        with contextlib.suppress(errors.GuestError):
            while change := await anext(slow):
                held.append(len(change.path))
    assert 0 < sum(held) < 2**22


async def test_it_ends_with_its_machine(rig: Rig) -> None:
    machine = await rig.launch()
    async with opened(rig, machine) as watch:
        await rig.plane.machines.stop(rig.me, machine)
        with pytest.raises(errors.HutchError):
            await until(watch, "/never")
    assert rig.state(machine) is State.STOPPED


async def test_what_is_not_there_cannot_be_watched(rig: Rig) -> None:
    machine = await rig.launch()
    with pytest.raises(errors.GuestNotFound):
        await anext(rig.plane.watches.watch(rig.me, machine, "/nowhere"))
    with pytest.raises(errors.InvalidRequest):
        await anext(rig.plane.watches.watch(rig.me, machine, "relative"))
    with pytest.raises(errors.Forbidden):
        await anext(rig.plane.watches.watch(await rig.someone("machine:read"), machine, "/"))
    assert not rig.plane.watches._trees


async def test_changes_have_their_kinds(rig: Rig) -> None:
    machine = await rig.launch()
    async with opened(rig, machine) as watch:
        await rig.run(machine, "echo x > one")
        change = await anext(watch)
    assert change == Change(ChangeKind.CREATED, "/one")
