"""A machine survives the service: the next one finds it by its journal and goes on."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hutch import settings
from hutch.host.interface import Life
from hutch.host.local import LocalHost
from hutch.host.machines import journal
from hutch.host.machines.journal import Phase
from hutch.host.paths import Paths
from hutch.host.qemu import process
from hutch.model import guest, ids
from hutch.model.volumes import Mount
from machines import Launcher, Machine

Reopen = Callable[[], Awaitable[LocalHost]]


@pytest.fixture
async def reopen(vms: Launcher, wanted: settings.Settings) -> AsyncIterator[Reopen]:
    """Let the host go and open another one on the same home; the launcher's machines are then its."""
    opened: list[LocalHost] = []

    async def again() -> LocalHost:
        await (opened[-1] if opened else vms.host).close()
        opened.append(LocalHost(wanted, Paths(wanted.service.home)))
        await opened[-1].open()
        vms.host = opened[-1]
        return opened[-1]

    yield again
    if opened:
        await vms.destroy_all()
        await opened[-1].close()


def rewrite(home: Path, machine: Machine, **changes: object) -> None:
    path = Paths(home).machine(machine.id).journal
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


async def test_a_running_machine_is_adopted_with_its_processes(vms: Launcher, reopen: Reopen) -> None:
    machine = await vms.launch()
    spec = guest.ProcessSpec(("sh", "-c", "echo before; read line; echo $line; seq 1 100000"), stdin=True)
    await vms.host.processes.start(machine.id, "long", spec)
    first = await vms.host.processes.read(machine.id, "long", 0, 0, wait=20)
    pid = machine.pid
    machine.host = host = await reopen()
    assert machine.pid == pid
    await host.processes.write(machine.id, "long", b"after\n", end=True)
    rest = await machine.finish("long", stdout=len(first.stdout))
    assert first.stdout + rest.stdout == b"before\nafter\n" + b"".join(b"%d\n" % n for n in range(1, 100001))


async def test_a_machine_that_died_meanwhile_is_failed_with_its_reason(vms: Launcher, reopen: Reopen) -> None:
    machine = await vms.launch()
    pid = machine.pid
    watch = process.Watch(process.Identity(pid, process.start_time(pid) or 0))
    await vms.host.close()  # type: ignore[attr-defined]
    os.kill(pid, signal.SIGKILL)
    assert await watch.wait(5)
    host = await reopen()
    state = host.get(machine.id)
    assert state is not None
    assert state.life is Life.FAILED
    assert "while the service was away" in (state.reason or "")


async def test_another_process_with_the_same_pid_is_not_taken_for_the_machine(
    vms: Launcher, reopen: Reopen, home: Path
) -> None:
    machine = await vms.launch()
    await vms.host.stop(machine.id, grace=0)
    rewrite(home, machine, phase="running", process={"pid": os.getpid(), "started": 1})
    host = await reopen()
    assert host.get(machine.id).life is Life.FAILED  # type: ignore[union-attr]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.STOPPING, Phase.DESTROYING])
async def test_what_a_crash_interrupted_is_finished_or_undone(
    vms: Launcher, reopen: Reopen, home: Path, phase: Phase
) -> None:
    machine = await vms.launch()
    identity = journal.read(Paths(home).machine(machine.id).journal).process  # type: ignore[union-attr]
    assert identity is not None
    await vms.host.close()  # type: ignore[attr-defined]
    rewrite(home, machine, phase=phase)
    host = await reopen()
    state = host.get(machine.id)
    assert not process.is_alive(identity)
    assert (state.life if state else None) == (None if phase is Phase.DESTROYING else Life.STOPPED)


async def test_a_process_no_journal_tells_of_is_ended(vms: Launcher, reopen: Reopen, home: Path) -> None:
    machine = await vms.launch()
    pid = machine.pid
    await vms.host.close()  # type: ignore[attr-defined]
    rewrite(home, machine, phase="starting", process=None)
    await reopen()
    assert process.start_time(pid) is None


async def test_a_directory_without_a_journal_is_removed(vms: Launcher, reopen: Reopen, home: Path) -> None:
    left = home / "machines" / ("z" * 20)
    left.mkdir()
    await reopen()
    assert not left.exists()


async def test_a_disk_whose_journal_cannot_be_read_is_left_alone_and_its_process_runs_on(
    vms: Launcher, reopen: Reopen, home: Path
) -> None:
    machine, other = await vms.launch(), await vms.launch()
    path = Paths(home).machine(machine.id).journal
    content, pid = path.read_text(), machine.pid
    await vms.host.close()  # type: ignore[attr-defined]
    path.write_text(content[: len(content) // 2])
    host = await reopen()
    assert host.get(machine.id) is None
    assert host.get(other.id) is not None
    assert process.start_time(pid) is not None
    path.write_text(content)
    machine.host = await reopen()
    assert (machine.pid, (await machine.run("echo up")).text) == (pid, "up")


async def test_many_machines_are_adopted_at_once(vms: Launcher, reopen: Reopen) -> None:
    machines = [await vms.launch() for _ in range(5)]
    host = await reopen()
    for machine in machines:
        machine.host = host
    answers = await asyncio.gather(*(machine.run("hostname") for machine in machines))
    assert [answer.text for answer in answers] == [f"m-{machine.id[:6]}" for machine in machines]


def as_formerly(paths: Paths, machine: Machine) -> None:
    """As the former version had it: all in the machine's own directory, and a journal of format 1."""
    entry = paths.machine(machine.id)
    told = json.loads(entry.journal.read_text())
    (layer,) = told.pop("layers")
    paths.layer(layer).rename(entry.root / "disk.qcow2")
    for path in paths.run(told.pop("run")).root.iterdir():
        path.rename(entry.root / path.name)
    for name in ("disk_gib", "grow", "on_template", "saved"):
        del told[name]
    del told["spec"]["mounts"]
    entry.journal.write_text(json.dumps({**told, "format": 1}))


async def test_machines_of_the_former_version_are_taken_over(vms: Launcher, home: Path, reopen: Reopen) -> None:
    running, stopped = await vms.launch(), await vms.launch()
    for machine in (running, stopped):
        await machine.run("echo kept > /file; sync; echo kept > /run/file")
    pid = running.pid
    await vms.host.stop(stopped.id, grace=5)
    await vms.host.close()  # type: ignore[attr-defined]
    for machine in (running, stopped):
        as_formerly(Paths(home), machine)
    again = await reopen()
    running.host = stopped.host = again
    assert running.pid == pid
    assert (await running.run("cat /file /run/file")).text.split() == ["kept", "kept"]
    await again.start(stopped.id)
    assert (await stopped.run("cat /file")).text == "kept"
    await again.suspend(running.id)
    await again.start(running.id)
    assert (await running.run("cat /file /run/file")).text.split() == ["kept", "kept"]
    snapshot = ids.new_snapshot_id()
    await again.snapshot(running.id, snapshot)
    assert await again.verify(snapshot) == []


async def test_what_an_unreadable_journal_may_need_is_kept(
    vms: Launcher, home: Path, wanted: settings.Settings
) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /run/kept")
    await vms.host.suspend(machine.id)
    await vms.host.close()  # type: ignore[attr-defined]
    path = Paths(home).machine(machine.id).journal
    whole = path.read_text()
    path.write_text("{")
    without = LocalHost(wanted, Paths(home))
    await without.open()
    await without.close()
    path.write_text(whole)
    again = LocalHost(wanted, Paths(home))
    await again.open()
    vms.host = machine.host = again
    await again.start(machine.id)
    assert (await machine.run("cat /run/kept")).text == "kept"
    await vms.destroy_all()
    await again.close()


@pytest.mark.parametrize("readonly", [False, True])
async def test_a_machine_that_was_just_coming_up_has_its_volume_when_it_runs(
    vms: Launcher, reopen: Reopen, home: Path, readonly: bool
) -> None:
    volume = ids.new_volume_id()
    await vms.host.volumes.create(volume, 2)
    machine = await vms.launch(mounts=(Mount(volume, "/data", readonly),))
    for line in ("true", "umount /data"):
        await machine.run(line)
        rewrite(home, machine, phase="waking")
        machine.host = await reopen()
        told = await machine.run("grep -c ' /data ext4' /proc/mounts; df -m /data | tail -1")
        assert told.text.split()[0] == "1"
        assert int(told.text.split()[2]) > 1500
