"""Spare processes: a start takes one that fits, they are made again, and none is left behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hutch import settings
from hutch.host.local import LocalHost
from hutch.host.machines import bring_up, spares
from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal
from hutch.host.paths import Paths
from hutch.host.qemu import process, vm
from hutch.model import ids
from hutch.model.machine import NetworkMode, NetworkPolicy
from hutch.model.volumes import Mount
from machines import Launcher, launching


@contextlib.asynccontextmanager
async def sparing_host(
    wanted: settings.Settings, tools: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Launcher]:
    """Machines of a host that keeps two spare processes of each kind."""
    monkeypatch.setattr(spares, "DELAY", 0.01)
    host = LocalHost(replace(wanted, host=replace(wanted.host, spare_processes=2)), Paths(home))
    async with launching(host, tools, home) as launcher:
        await host.open()
        yield launcher
        await launcher.destroy_all()
        await host.close()


@pytest.fixture
async def sparing(
    wanted: settings.Settings, tools: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Launcher]:
    async with sparing_host(wanted, tools, home, monkeypatch) as launcher:
        yield launcher


def waiting(launcher: Launcher) -> list[process.Identity]:
    kinds = launcher.host._spares._kinds.values()  # type: ignore[attr-defined]
    return [spare.machine.watch.process for kind in kinds for spare in kind.ready]


async def two_spares(launcher: Launcher) -> set[int]:
    """The processes, when there are two and both wait."""
    async with asyncio.timeout(20):
        while len(waiting(launcher)) != 2:
            await asyncio.sleep(0.02)
    return {identity.pid for identity in waiting(launcher)}


async def test_a_start_takes_a_spare_that_becomes_itself_and_another_one_is_made(sparing: Launcher) -> None:
    await sparing.launch()
    pids = await two_spares(sparing)
    machines = [await sparing.launch(hostname=f"taken-{number}", disk=30) for number in range(2)]
    assert {machine.pid for machine in machines} == pids
    for number, machine in enumerate(machines):
        assert (await machine.run("hostname; echo $HUTCH_MACHINE_ID")).text.split() == [f"taken-{number}", machine.id]
        assert int((await machine.run("df -k / | tail -1 | awk '{print $2}'")).text) > 25 * 2**20
    uids = {os.stat(f"/proc/{machine.pid}").st_uid for machine in machines}
    assert len(uids) == 2
    assert not await two_spares(sparing) & pids


async def test_a_copy_takes_a_spare_and_has_the_memory_and_disk_of_its_source(sparing: Launcher) -> None:
    source = await sparing.launch()
    await source.run("echo disk > /file; echo memory > /run/file; sync")
    first, second = ids.new_snapshot_id(), ids.new_snapshot_id()
    await sparing.host.snapshot(source.id, first)
    await source.run("echo more >> /file; sync")
    pids = await two_spares(sparing)
    await sparing.host.snapshot(source.id, second)
    for snapshot, content in ((first, "disk memory"), (second, "disk more memory")):
        copy = await sparing.create(snapshot=snapshot)
        await sparing.host.start(copy.id)
        assert copy.pid in pids
        assert (await copy.run("cat /file /run/file")).text.split() == content.split()
        await copy.run("echo mine >> /file; sync")
        await sparing.host.stop(copy.id, grace=5)
        await sparing.host.start(copy.id)
        assert (await copy.run("cat /file")).text.split() == [*content.split()[:-1], "mine"]
    assert (await source.run("cat /file")).text.split() == ["disk", "more"]


@pytest.mark.parametrize(("mode", "takes_one"), [("slots", True), ("user", False)])
async def test_a_machine_of_another_policy_takes_one_only_if_that_can_be_put_under_it(
    wanted: settings.Settings,
    tools: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    takes_one: bool,
) -> None:
    network = replace(wanted.network, mode=mode)
    async with sparing_host(replace(wanted, network=network), tools, home, monkeypatch) as sparing:
        await sparing.launch()
        pids = await two_spares(sparing)
        machine = await sparing.launch(network=NetworkPolicy(NetworkMode.BLOCKED))
        assert (machine.pid in pids) == takes_one
        asked = await machine.run("nslookup -timeout=2 localhost 10.0.2.3", check=False, timeout=60)
        assert asked.exit.code != 0


async def test_a_spare_that_died_is_passed_over(sparing: Launcher) -> None:
    await sparing.launch()
    for pid in await two_spares(sparing):
        os.kill(pid, signal.SIGKILL)
    kinds = sparing.host._spares._kinds.values()  # type: ignore[attr-defined]
    async with asyncio.timeout(30):
        while any(spare.is_alive for kind in kinds for spare in kind.ready):
            await asyncio.sleep(0.02)
    machine = await sparing.launch()
    assert (await machine.run("echo up")).text == "up"


async def test_a_copy_of_a_larger_disk_has_all_of_it(sparing: Launcher) -> None:
    source = await sparing.launch(disk=30)
    await source.run("echo kept > /file; sync")
    await two_spares(sparing)
    snapshot = ids.new_snapshot_id()
    await sparing.host.snapshot(source.id, snapshot)
    copy = await sparing.create(snapshot=snapshot, disk=30)
    await sparing.host.start(copy.id)
    assert (await copy.run("cat /file")).text == "kept"
    await copy.run("dd if=/dev/vda of=/dev/null bs=1M skip=25000 count=1")


async def test_one_that_is_being_made_shares_its_user_id_with_no_machine(
    sparing: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched, go = asyncio.Event(), asyncio.Event()
    original = bring_up.launch

    async def launch(context: Context, journal: Journal, *args: object, **options: object) -> vm.Vm:
        machine = await original(context, journal, *args, **options)  # type: ignore[arg-type]
        if journal.id.startswith("spare-"):
            launched.set()
            await go.wait()
        return machine

    monkeypatch.setattr(bring_up, "launch", launch)
    await sparing.launch()
    await asyncio.wait_for(launched.wait(), 20)
    machine = await sparing.create()
    made = sparing.host._spares._making  # type: ignore[attr-defined]
    assert sparing.host._owner(machine.id).journal.uid != made.uid  # type: ignore[attr-defined]
    sparing.host._spares.trim(is_memory_short=True)  # type: ignore[attr-defined]
    go.set()
    async with asyncio.timeout(10):
        while [name for name, _ in process.processes_named(sparing.host._paths.tag) if "/spare-" in name]:  # type: ignore[attr-defined]
            await asyncio.sleep(0.02)


async def test_one_of_a_template_that_was_made_anew_is_not_taken(sparing: Launcher, home: Path) -> None:
    first = await sparing.launch()
    pids = await two_spares(sparing)
    key = sparing.host._owner(first.id).journal.template  # type: ignore[attr-defined]
    memory = Paths(home).template(key).memory
    another = memory.with_name("another")
    subprocess.run(["cp", "-a", "--sparse=always", memory, another], check=True)
    another.replace(memory)
    machine = await sparing.launch()
    assert machine.pid not in pids
    assert (await machine.run("echo up")).text == "up"


async def test_those_of_an_image_that_is_removed_are_ended(sparing: Launcher, home: Path) -> None:
    machine = await sparing.launch()
    before = await two_spares(sparing)
    sparing.host._spares.drop(sparing.host._owner(machine.id).journal.spec.image.digest)  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while any(process.start_time(pid) is not None for pid in before):
            await asyncio.sleep(0.02)


async def test_spares_of_a_service_that_died_are_ended(
    sparing: Launcher, home: Path, wanted: settings.Settings
) -> None:
    machine = await sparing.launch()
    await two_spares(sparing)
    before = waiting(sparing)
    for kind in sparing.host._spares._kinds.values():  # type: ignore[attr-defined]
        while kind.ready:  # forgotten, as a dead service forgets
            await kind.ready.pop().machine.close()
    await sparing.host.close()  # type: ignore[attr-defined]
    again = LocalHost(wanted, Paths(home))
    await again.open()
    assert not [identity for identity in before if process.is_alive(identity)]
    machine.host = again
    assert (await machine.run("echo up")).text == "up"
    sparing.host = again
    await sparing.destroy_all()
    await again.close()


async def test_a_machine_with_a_volume_neither_takes_a_spare_nor_has_one_made(sparing: Launcher) -> None:
    await sparing.launch()
    spares_there = await two_spares(sparing)
    volume = ids.new_volume_id()
    await sparing.host.volumes.create(volume, 1)
    machine = await sparing.launch(mounts=(Mount(volume, "/data"),))
    assert machine.pid not in spares_there
    await asyncio.sleep(0.5)
    assert {identity.pid for identity in waiting(sparing)} == spares_there
