"""Slots alone, in this host's own kernel: taken and given back, and nothing left, however the service ends."""

import asyncio
import contextlib
import fcntl
import multiprocessing
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest

from hutch import settings
from hutch.host.network import kernel
from hutch.host.network.connector import LocalConnector
from hutch.host.network.slot import NAMESPACES, Plan, blocks
from hutch.host.network.slots import SlotConnection, Slots
from hutch.host.network.user import UserConnection
from hutch.host.paths import Paths
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy

OPEN = NetworkPolicy()
WANTED = settings.Network(ready=4)
LIMIT = 60.0
"""Seconds that anything here may take."""

_processes = multiprocessing.get_context("forkserver")


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    if os.geteuid() != 0:
        pytest.skip("slots need root")
    paths = Paths(tmp_path)
    assert left(paths.tag) == []
    yield paths
    assert left(paths.tag) == []


def told(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def left(tag: str) -> list[str]:
    """All of the box that slots could leave behind."""
    prefix = Plan(tag, IPv4Network("10.0.0.0/20")).link_prefix
    lines = [*told("ip", "netns", "list"), *told("ip", "-o", "link"), *told("nft", "list", "tables")]
    lines += [path.name for path in NAMESPACES.iterdir()] if NAMESPACES.exists() else []
    return [line for line in lines if tag in line or prefix in line]


@contextlib.asynccontextmanager
async def opened(paths: Paths, wanted: settings.Network = WANTED) -> AsyncIterator[Slots]:
    slots = Slots(paths, wanted)
    await slots.open()
    await slots.collect(is_known=True)
    try:
        yield slots
    finally:
        await slots.close()


async def until_ready(slots: Slots, number: int) -> None:
    async with asyncio.timeout(LIMIT):
        while len(slots._ready) < number:
            await asyncio.sleep(0.02)


async def use(slots: Slots, policy: NetworkPolicy = OPEN) -> SlotConnection:
    connection = await slots.take(policy)
    connection.handed_over()
    return connection


async def test_three_hundred_machines_leave_nothing(paths: Paths) -> None:
    async with opened(paths) as slots:
        for _ in range(75):
            for connection in [await use(slots) for _ in range(4)]:
                connection.end()


async def test_slots_are_there_before_they_are_asked_for_and_again_afterwards(paths: Paths) -> None:
    async with opened(paths) as slots:
        await until_ready(slots, WANTED.ready)
        ready = {it.slot.number for it in slots._ready}
        taken = {(await use(slots)).slot for _ in range(WANTED.ready)}
        assert taken == ready
        await until_ready(slots, WANTED.ready)
        assert not {it.slot.number for it in slots._ready} & taken
        for number in taken:
            slots.give_back(number)


async def test_slots_that_are_asked_for_at_once_are_all_different(paths: Paths) -> None:
    async with opened(paths) as slots:
        connections = await asyncio.gather(*(use(slots) for _ in range(12)))
        assert len({connection.slot for connection in connections}) == 12
        for connection in connections * 2:  # twice is no harm
            connection.end()


async def test_who_gives_up_waiting_leaves_no_slot(paths: Paths) -> None:
    async with opened(paths, replace(WANTED, ready=0)) as slots:
        for turn in range(10):
            taking = asyncio.create_task(use(slots))
            for _ in range(turn * 20):
                await asyncio.sleep(0)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            if not taking.cancelled():
                taking.result().end()


@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.06, 0.1, 0.15])
async def test_a_service_that_is_stopped_while_it_starts_leaves_nothing(paths: Paths, after: float) -> None:
    connector = LocalConnector(paths, WANTED)
    opening = asyncio.create_task(connector.open())
    await asyncio.sleep(after)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await connector.close()


async def test_a_slot_is_not_used_again_before_all_others(paths: Paths) -> None:
    async with opened(paths, replace(WANTED, ready=0, range="10.213.255.128/27")) as slots:
        numbers = []
        for _ in range(16):
            connection = await use(slots)
            numbers.append(connection.slot)
            connection.end()
            await asyncio.gather(*slots._tasks)
        assert sorted(numbers[:14]) == list(range(14))
        assert numbers[14:] == numbers[:2]


async def test_when_all_slots_are_in_use_the_error_says_so(paths: Paths) -> None:
    async with opened(paths, replace(WANTED, ready=0, range="10.213.255.240/28")) as slots:
        connections = [await use(slots) for _ in range(6)]
        with pytest.raises(errors.NoCapacity, match="all 6 networks"):
            await use(slots)
        for connection in connections:
            connection.end()


async def test_a_service_keeps_what_runs_and_removes_the_rest_of_a_former_one(paths: Paths) -> None:
    former = Slots(paths, WANTED)
    await former.open()
    await former.collect(is_known=True)
    kept, lost = await use(former), await use(former)
    await former.close()
    assert (NAMESPACES / f"{paths.tag}-{kept.slot}").exists()
    slots = Slots(paths, WANTED)
    await slots.open()
    adopted = await slots.adopt(kept.slot, NetworkPolicy(NetworkMode.BLOCKED))
    await slots.collect(is_known=True)
    assert (NAMESPACES / f"{paths.tag}-{kept.slot}").exists()
    assert not (NAMESPACES / f"{paths.tag}-{lost.slot}").exists()
    assert adopted.facts() == kept.facts()
    with pytest.raises(errors.MachineFailed, match="gone"):
        await slots.adopt(lost.slot, OPEN)
    adopted.end()
    await slots.close()


def _die(paths: Paths, pipe: Pipe) -> None:
    async def live() -> None:
        slots = Slots(paths, WANTED)
        await slots.open()
        await slots.collect(is_known=True)
        taken = await use(slots)
        pipe.send(taken.slot)
        for turn in range(1000):  # until it is killed, in the midst of it
            connection = await use(slots)
            if turn % 3:
                connection.end()

    asyncio.run(live())


@pytest.mark.parametrize("after", [0.0, 0.05, 0.3])
async def test_what_a_killed_service_left_is_removed_by_the_next(paths: Paths, after: float) -> None:
    here, there = _processes.Pipe()
    child = _processes.Process(target=_die, args=(paths, there))
    child.start()
    assert await asyncio.to_thread(here.poll, LIMIT)
    kept = here.recv()
    await asyncio.sleep(after)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    await asyncio.to_thread(child.join, LIMIT)
    assert left(paths.tag) != []
    slots = Slots(paths, WANTED)
    await slots.open()
    adopted = await slots.adopt(kept, OPEN)
    await slots.collect(is_known=True)
    numbers = await asyncio.to_thread(kernel.numbers, slots._opened())
    assert numbers - {it.slot.number for it in slots._ready} - slots._used == set()
    adopted.end()
    await slots.close()


async def test_a_link_that_somebody_removed_is_an_error_of_ours_to_who_counts(paths: Paths) -> None:
    async with opened(paths, replace(WANTED, ready=0)) as slots:
        connection = await use(slots)
        assert (await connection.traffic()).sent >= 0
        told("ip", "link", "del", slots._opened().slot(connection.slot).veth)
        with pytest.raises(errors.HutchError, match="network"):
            await connection.traffic()
        connection.end()


async def test_networks_of_a_service_whose_directory_is_gone_are_removed_by_any_other(
    paths: Paths, tmp_path: Path
) -> None:
    other = Paths(tmp_path / "other")
    other.home.mkdir()
    dead = Slots(other, WANTED)
    await dead.open()
    await use(dead)
    await dead.close()
    async with opened(paths):
        assert left(other.tag) != []  # it may come back
    other.home.rmdir()
    async with opened(paths):
        assert left(other.tag) == []


async def test_two_services_on_a_box_have_networks_of_their_own(paths: Paths, tmp_path: Path) -> None:
    other = Paths(tmp_path / "other")
    other.home.mkdir()
    async with opened(paths) as ours, opened(other) as theirs:
        mine, its = ours._opened().network, theirs._opened().network
        assert not mine.overlaps(its)
        first, second = await use(ours), await use(theirs)
        assert first.facts().outside_address != second.facts().outside_address
        first.end()
        second.end()
    assert left(other.tag) == []


async def test_a_service_gives_its_network_back_while_no_other_takes_one(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    release = kernel.release

    def look(plan: Plan) -> bool:
        with kernel.LOCK.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
        return release(plan)

    monkeypatch.setattr(kernel, "release", look)
    async with opened(paths, replace(WANTED, ready=0)):
        pass
    assert held == [True]


async def test_a_service_does_not_wait_for_ever_for_one_that_is_stuck(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(kernel, "LOCK_LIMIT", 0.1)
    stuck = kernel.lock()
    try:
        with pytest.raises(errors.Unsupported, match="another service"):
            await asyncio.wait_for(Slots(paths, WANTED).open(), LIMIT)
    finally:
        os.close(stuck)


async def test_a_range_that_is_in_use_is_refused(paths: Paths) -> None:
    slots = Slots(paths, replace(WANTED, range="127.0.0.0/24"))
    with pytest.raises(errors.Unsupported, match="in use on this host"):
        await slots.open()


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "fd00::/64", "10.0.0.1/16", "10.0.0.0/30", "0.0.0.0/0", "home"])
def test_a_range_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="HUTCH_NETWORK_RANGE"):
        blocks(text)


async def test_a_mode_that_does_not_exist_is_refused(paths: Paths) -> None:
    with pytest.raises(errors.InvalidRequest, match="HUTCH_NETWORK_MODE='bridge'"):
        await LocalConnector(paths, replace(WANTED, mode="bridge")).open()


async def test_without_slots_auto_takes_the_user_network_and_slots_fails(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(errors.Unsupported, match="root"):
        await LocalConnector(paths, replace(WANTED, mode="slots")).open()
    connector = LocalConnector(paths, WANTED)
    await connector.open()
    assert isinstance(await connector.connect(OPEN), UserConnection)
    await connector.close()


async def test_a_service_that_can_have_no_slots_now_does_not_give_up_what_runs_in_some(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = Slots(paths, WANTED)
    await former.open()
    running = await use(former)
    await former.close()
    with monkeypatch.context() as patched:
        patched.setattr("hutch.host.network.resolver.Resolver.open", refuse)
        with pytest.raises(errors.Unsupported, match=r"port 53 is taken.*HUTCH_NETWORK_MODE=user"):
            await LocalConnector(paths, WANTED).open()
    connector = LocalConnector(paths, WANTED)
    await connector.open()
    (await connector.adopt(running.slot, OPEN)).end()
    await connector.close()


async def refuse(_: object) -> None:
    raise errors.Unsupported("port 53 is taken")


async def test_a_slot_that_cannot_be_made_leaves_nothing(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(paths, replace(WANTED, ready=0)) as slots:
        monkeypatch.setattr("hutch.host.network.rules.of_slot", lambda *_: "no rule at all")
        with pytest.raises(errors.HutchError):
            await use(slots)
        monkeypatch.setattr("hutch.host.network.kernel._link", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await use(slots)
        assert slots._used == set()
