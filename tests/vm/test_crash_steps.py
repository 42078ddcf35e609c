"""The service, or QEMU, killed at every step that is written down: nothing acknowledged is lost, nothing is left."""

import asyncio
import contextlib
import os
import signal

import pytest

import crash
from hutch import settings
from hutch.host.interface import Life
from hutch.host.local import LocalHost
from hutch.host.paths import Paths
from hutch.model import errors, guest, ids
from hutch.model.volumes import Mount
from machines import Launcher, Machine

COUNT = guest.ProcessSpec(
    ("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /run/new; mv /run/new /run/count; sleep 0.05; done")
)


async def reopened(vms: Launcher, wanted: settings.Settings) -> LocalHost:
    host = LocalHost(wanted, Paths(wanted.service.home))
    await host.open()
    vms.host = host
    return host


async def counted(machine: Machine) -> int:
    """How far a process in the guest's memory has come; fails if it is not there any more."""
    assert [info.id for info in await machine.host.processes.list(machine.id) if info.exit is None] == ["count"]
    return int((await machine.run("cat /run/count")).text)


async def counting(vms: Launcher, mounts: tuple[Mount, ...] = ()) -> Machine:
    machine = await vms.launch(mounts=mounts)
    await machine.host.processes.start(machine.id, "count", COUNT)
    await machine.run("until [ -s /run/count ]; do sleep 0.05; done")
    return machine


def life(machine: Machine) -> Life | None:
    state = machine.host.get(machine.id)
    return None if state is None else state.life


async def mounted(vms: Launcher, how: str) -> tuple[Mount, ...]:
    """A new volume, to be mounted; none if it is to be neither read nor written."""
    if not how:
        return ()
    volume = ids.new_volume_id()
    await vms.host.volumes.create(volume, 1)
    return (Mount(volume, "/data", readonly=how == "read"),)


@pytest.mark.parametrize(
    ("operation", "volume"),
    [
        (crash.suspend, ""),
        (crash.wake, ""),
        (crash.snapshot, ""),
        (crash.fork, ""),
        (crash.wake, "write"),
        (crash.fork, "read"),
    ],
)
async def test_the_service_dies_at_every_step(
    vms: Launcher, host: LocalHost, wanted: settings.Settings, operation: crash.Operation, volume: str
) -> None:
    mounts = await mounted(vms, volume)
    machine = await counting(vms, mounts)
    before, step, was_killed = await counted(machine), 0, True
    while was_killed:
        snapshot = ids.new_snapshot_id()
        if operation is crash.wake:
            await machine.host.suspend(machine.id)
        await vms.host.close()  # type: ignore[attr-defined]
        was_killed = await crash.service_dies(wanted, operation, machine.id, snapshot, step)
        machine.host = now = await reopened(vms, wanted)
        legal = {Life.RUNNING, Life.SUSPENDED} if operation in (crash.suspend, crash.wake) else {Life.RUNNING}
        assert life(machine) in legal, step
        await now.start(machine.id)
        after = await counted(machine)
        assert after >= before
        before = after
        assert (await machine.run("grep -c ' /data ext4 ' /proc/mounts", check=False)).text == str(len(mounts))
        if operation is crash.snapshot:
            there = [state.id for state in now.snapshots()]
            assert there in ([], [snapshot])
            assert not there or await now.verify(snapshot) == []
            await now.remove_snapshot(snapshot)
        if operation is crash.fork:
            child = Machine(now, crash.child_of(snapshot))
            assert life(child) in (None, Life.SUSPENDED, Life.RUNNING), step
            if life(child) is not None:
                await now.start(child.id)
                await counted(child)
                await now.destroy(child.id)
            assert now.snapshots() == []
        there = Paths(wanted.service.home).states.iterdir()  # what is gone is taken apart in the background
        left = {path.name for path in there if not path.name.startswith(".gone-")}
        assert not left, (step, left)
        step += 1
    assert step > 3
    await vms.destroy_all()
    await vms.host.close()  # type: ignore[attr-defined]
    await host.open()
    vms.host = host


async def test_the_service_dies_while_a_paused_machine_is_suspended(
    vms: Launcher, host: LocalHost, wanted: settings.Settings
) -> None:
    machine = await counting(vms)
    await vms.host.pause(machine.id)
    await vms.host.close()  # type: ignore[attr-defined]
    assert await crash.service_dies(wanted, crash.suspend, machine.id, ids.new_snapshot_id(), 2)
    machine.host = now = await reopened(vms, wanted)
    assert life(machine) is Life.PAUSED
    await now.resume(machine.id)
    assert await counted(machine) > 0
    await vms.destroy_all()
    await vms.host.close()  # type: ignore[attr-defined]
    await host.open()
    vms.host = host


@pytest.mark.parametrize("operation", [crash.suspend, crash.wake, crash.snapshot, crash.fork])
async def test_qemu_dies_at_every_step(vms: Launcher, host: LocalHost, operation: crash.Operation) -> None:
    step, was_killed = 0, True
    while was_killed:
        machine = await counting(vms)
        before = await counted(machine)
        if operation is crash.wake:
            await host.suspend(machine.id)
        was_killed, snapshot = False, ids.new_snapshot_id()

        def kill(machine: Machine = machine, snapshot: ids.SnapshotId = snapshot) -> None:
            nonlocal was_killed
            was_killed = True
            victims = [machine.id] if operation is not crash.fork else [machine.id, crash.child_of(snapshot)]
            for victim in victims:
                if (state := host.get(victim)) is not None and state.pid is not None:
                    _kill(state.pid)

        with crash.at_step(step, kill):
            (result,) = await asyncio.wait_for(
                asyncio.gather(operation(host, machine.id, snapshot), return_exceptions=True), 30
            )
        assert result is None or (was_killed and isinstance(result, errors.HutchError)), result
        await asyncio.sleep(0.1)
        assert life(machine) in (Life.RUNNING, Life.SUSPENDED, Life.FAILED), step
        if life(machine) is not Life.FAILED:
            await host.start(machine.id)
            assert await counted(machine) >= before
        for one in (machine.id, crash.child_of(snapshot)):
            await host.destroy(one)
        await host.remove_snapshot(snapshot)
        assert not [*host._paths.states.iterdir()], step
        step += 1
    assert step > 3


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
