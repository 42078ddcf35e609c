"""Frozen, woken and copied for real: memory whole to the byte, no tick lost, no clone like another, damage found."""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hutch.host.interface import Life
from hutch.host.local import LocalHost
from hutch.host.machines import flatten
from hutch.host.paths import Paths
from hutch.host.qemu import vm
from hutch.host.qemu.monitor import Monitor
from hutch.host.saved import memory
from hutch.model import errors, guest, ids
from hutch.model.ids import SnapshotId
from machines import Launcher, Machine
from vm.test_adoption import Reopen, reopen

__all__ = ["reopen"]

FILL = "mkdir -p /m && mount -t tmpfs -o size=90m none /m && head -c 67108864 /dev/urandom > /m/x"
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"


async def snapshot_of(machine: Machine, transient: bool = False) -> SnapshotId:
    id = ids.new_snapshot_id()
    await machine.host.snapshot(machine.id, id, transient)
    return id


async def copies(vms: Launcher, machine: Machine, snapshot: SnapshotId, count: int, **changes: object) -> list[Machine]:
    made = [await vms.create(snapshot=snapshot, **changes) for _ in range(count)]
    await asyncio.gather(*(vms.host.start(copy.id) for copy in made))
    return made


@pytest.mark.parametrize(("memory", "cpus"), [(256, 1), (4096, 2)], ids=["small", "beyond the hole at 3 GiB"])
async def test_memory_is_the_same_to_the_byte_after_a_suspend(vms: Launcher, memory: int, cpus: int) -> None:
    machine = await vms.launch(memory=memory, cpus=cpus)
    await machine.run(FILL)
    before = (await machine.run("md5sum /m/x")).text
    await vms.host.suspend(machine.id)
    assert vms.host.get(machine.id).pid is None  # type: ignore[union-attr]
    await vms.host.start(machine.id)
    assert (await machine.run("md5sum /m/x")).text == before


async def test_memory_is_the_same_to_the_byte_in_a_copy(vms: Launcher) -> None:
    machine = await vms.launch(memory=256)
    await machine.run(FILL)
    before = (await machine.run("md5sum /m/x")).text
    snapshot = await snapshot_of(machine)
    await machine.run("head -c 1048576 /dev/urandom > /m/x")
    (copy,) = await copies(vms, machine, snapshot, 1, memory=256)
    assert (await copy.run("md5sum /m/x")).text == before
    await vms.host.remove_snapshot(snapshot)


async def test_no_clone_is_like_another(vms: Launcher) -> None:
    machine = await vms.launch()
    snapshot = await snapshot_of(machine)
    clones = [machine]
    for _ in range(4):  # a few at a time: what counts is that they differ
        clones += await copies(vms, machine, snapshot, 5)
    ask = (
        "head -c 16 /dev/urandom | md5sum; cat /etc/machine-id; hostname; cat /run/hutch/instance-id; "
        "echo $HUTCH_MACHINE_ID; cat /proc/sys/kernel/random/uuid; date +%s.%N"
    )
    now = time.time()
    told = [(await clone.run(ask)).text.splitlines() for clone in clones]
    took = time.time() - now
    for column in range(6):
        assert len({lines[column] for lines in told}) == len(clones), ask.split("; ")[column]
    for lines in told:
        assert -1 < float(re.sub(r"[^0-9.]", "", lines[6])) - now < took + 1
    await vms.host.remove_snapshot(snapshot)


async def test_a_counting_process_loses_no_tick_over_ten_forks(vms: Launcher) -> None:
    machine = await vms.launch()
    await machine.host.processes.start(machine.id, "count", guest.ProcessSpec(("sh", "-c", COUNT)))
    reading = asyncio.ensure_future(read_for(machine, "count", 60))
    for _ in range(10):
        snapshot = await snapshot_of(machine, transient=True)
        copy = await vms.create(snapshot=snapshot)
        await vms.host.start(copy.id)
        assert [info.id for info in await vms.host.processes.list(copy.id)] == ["count"]
        await vms.host.remove_snapshot(snapshot)
        await vms.host.destroy(copy.id)
    await vms.host.processes.signal(machine.id, "count", 9)
    numbers = [int(line) for line in (await reading).split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 20


async def read_for(machine: Machine, name: str, limit: float) -> bytes:
    """All output of a process until its end; one conversation all the while."""
    return (await asyncio.wait_for(machine.finish(name), limit)).stdout


async def test_a_chain_of_ten_layers_is_flattened_while_the_machine_runs(vms: Launcher, home: Path) -> None:
    machine = await vms.launch()
    kept = []
    turns = [str(turn) for turn in range(flatten.DEPTH - 1)]  # and the machine's own first layer
    for turn in turns:
        await machine.run(f"echo {turn} > /file-{turn}; sync")
        snapshot = await snapshot_of(machine)
        kept.append(snapshot)
    async with asyncio.timeout(30):
        while len(layers_of(home, machine)) > 1:
            await asyncio.sleep(0.1)
    assert (await machine.run("cat /file-*")).text.split() == turns
    await vms.host.stop(machine.id, grace=5)
    await vms.host.start(machine.id)
    assert (await machine.run("cat /file-*")).text.split() == turns
    (old,) = await copies(vms, machine, kept[3], 1)
    assert (await old.run("ls / | grep -c file-")).text == "4"
    for snapshot in kept:
        assert await vms.host.verify(snapshot) == []
        await vms.host.remove_snapshot(snapshot)


@pytest.mark.parametrize("is_paused", [False, True], ids=["running", "paused"])
async def test_nothing_is_open_any_more_of_layers_that_were_joined(vms: Launcher, home: Path, is_paused: bool) -> None:
    machine = await vms.launch()
    if is_paused:
        await vms.host.pause(machine.id)
    before = len(opened(machine))
    for _ in range(flatten.DEPTH - 1):
        await vms.host.remove_snapshot(await snapshot_of(machine))
    async with asyncio.timeout(30):
        while len(layers_of(home, machine)) != 1:
            await asyncio.sleep(0.1)
    if is_paused:
        await vms.host.resume(machine.id)

    def is_closed() -> bool:
        paths = opened(machine)  # the set of its layer has one more, and there are its connections
        return len(paths) <= before + 3 and not any(path.endswith("(deleted)") for path in paths)

    async with asyncio.timeout(30):
        while not is_closed():
            await asyncio.sleep(0.1)
    assert (await machine.run("echo up")).text == "up"


async def test_snapshots_interrupt_the_joining_of_layers_and_harm_nothing(vms: Launcher, home: Path) -> None:
    machine = await vms.launch()
    for turn in range(3 * flatten.DEPTH):
        await machine.run(f"echo {turn} >> /all")
        await vms.host.remove_snapshot(await snapshot_of(machine))
    async with asyncio.timeout(60):
        while len(layers_of(home, machine)) >= flatten.DEPTH:
            await asyncio.sleep(0.1)
    assert (await machine.run("cat /all")).text.split() == [str(turn) for turn in range(3 * flatten.DEPTH)]


def opened(machine: Machine) -> list[str]:
    return [os.readlink(path) for path in Path(f"/proc/{machine.pid}/fd").iterdir()]


async def test_layers_are_not_joined_without_room_for_it(
    vms: Launcher, host: LocalHost, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await vms.launch()
    monkeypatch.setattr(flatten, "MOST", 2)
    for _ in range(3):
        await vms.host.remove_snapshot(await snapshot_of(machine))
        assert len(layers_of(home, machine)) == 2
    monkeypatch.setattr(host._opened().layers, "size", lambda _: 2**60)
    with pytest.raises(errors.DiskFull, match="joining disk layers"):
        await snapshot_of(machine)
    assert (await machine.run("echo up")).text == "up"


def layers_of(home: Path, machine: Machine) -> list[str]:
    return json.loads(Paths(home).machine(machine.id).journal.read_text())["layers"]  # type: ignore[no-any-return]


@pytest.fixture
def flip() -> Iterator[object]:
    """Turns one bit of a file around; turned back at the end if the file is still there."""
    done: list[tuple[Path, int]] = []

    def turn(path: Path, at: int) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    def flip(path: Path, at: int = 1000) -> None:
        turn(path, at)
        done.append((path, at))

    yield flip
    for path, at in done:
        if path.exists():
            turn(path, at)


@pytest.mark.parametrize("part", ["manifest", "devices"])
async def test_a_damaged_manifest_or_device_state_is_refused(vms: Launcher, home: Path, flip, part: str) -> None:  # type: ignore[no-untyped-def]
    machine = await vms.launch()
    await machine.run("echo kept > /run/kept")
    await vms.host.suspend(machine.id)
    state = Paths(home).state(json.loads(Paths(home).machine(machine.id).journal.read_text())["saved"])
    path = getattr(state, part)
    flip(path, path.stat().st_size // 2)
    with pytest.raises(errors.Damaged, match="damaged"):
        await vms.host.start(machine.id)
    assert vms.host.get(machine.id).life is Life.SUSPENDED  # type: ignore[union-attr]
    flip(path, path.stat().st_size // 2)  # as it was
    await vms.host.start(machine.id)
    assert (await machine.run("cat /run/kept")).text == "kept"


async def test_a_state_of_another_qemu_is_refused_and_its_disk_can_be_had(
    vms: Launcher, host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /kept; sync")
    await vms.host.suspend(machine.id)
    engine = host._opened().engine
    original = engine.vmm
    object.__setattr__(engine, "vmm", "99.0")
    with pytest.raises(errors.Incompatible, match=r"vmm '7.*here '99.0'"):
        await vms.host.start(machine.id)
    assert vms.host.get(machine.id).life is Life.SUSPENDED  # type: ignore[union-attr]
    await vms.host.stop(machine.id, grace=1)
    await vms.host.start(machine.id)
    object.__setattr__(engine, "vmm", original)
    assert (await machine.run("cat /kept")).text == "kept"


@pytest.mark.parametrize("what", ["memory", "disk", "template's memory", "template's disk"])
async def test_a_flipped_byte_is_found_by_verify(vms: Launcher, home: Path, flip, what: str) -> None:  # type: ignore[no-untyped-def]
    machine = await vms.launch()
    await machine.run("head -c 100000 /dev/urandom > /file; sync")
    snapshot = await snapshot_of(machine)
    assert await vms.host.verify(snapshot) == []
    entry = json.loads(Paths(home).machine(machine.id).journal.read_text())
    paths = Paths(home)
    flip(
        {
            "memory": paths.state(snapshot).pages,
            "disk": paths.layer(entry["layers"][0]),
            "template's memory": paths.template(entry["template"]).memory,
            "template's disk": paths.template(entry["template"]).disk,
        }[what],
        200_000,
    )
    (found,) = await vms.host.verify(snapshot)
    assert what in found
    await vms.host.remove_snapshot(snapshot)


async def test_a_suspend_after_one_that_failed_saves_its_own_devices(
    vms: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /run/kept")
    original, failed = Monitor.execute, []

    async def execute(monitor: Monitor, command: str, *args: float, **options: object) -> object:
        if command == "xen-save-devices-state" and not failed:
            failed.append(command)
            raise errors.MachineFailed("the host's disk is full")
        return await original(monitor, command, *args, **options)

    monkeypatch.setattr(Monitor, "execute", execute)
    with pytest.raises(errors.MachineFailed, match="full"):
        await vms.host.suspend(machine.id)
    await vms.host.suspend(machine.id)
    await vms.host.start(machine.id)
    assert (await machine.run("cat /run/kept")).text == "kept"


async def test_what_is_acknowledged_is_on_the_platters(
    vms: Launcher, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, paths = await vms.launch(), Paths(home)
    await vms.host.remove_snapshot(await snapshot_of(machine, transient=True))  # not written out
    lower = layers_of(home, machine)
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        original(descriptor)

    original = os.fsync
    monkeypatch.setattr(os, "fsync", fsync)
    snapshot = await snapshot_of(machine)
    own = paths.machine(machine.id)
    building = paths.state(f".{snapshot}")
    new = layers_of(home, machine)[-1]
    frozen = [building.pages, building.devices, building.root, *map(paths.layer, lower)]
    for path in (*frozen, paths.layer(new), paths.layers, own.root, paths.states):
        assert str(path) in synced
    assert synced.index(str(paths.layer(new))) < synced.index(str(own.root))
    assert max(synced.index(str(path)) for path in frozen) < synced.index(str(paths.states))
    await vms.host.remove_snapshot(snapshot)
    synced.clear()
    await vms.host.suspend(machine.id)
    for layer in (*lower, new):
        assert str(paths.layer(layer)) in synced
    assert synced[-1] == str(own.root)


async def test_a_snapshot_of_a_suspended_copy_can_be_verified_and_adds_no_layer(vms: Launcher, home: Path) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /run/kept")
    fork = await snapshot_of(machine, transient=True)
    copy = await vms.create(snapshot=fork)
    layers = layers_of(home, copy)
    for _ in range(3):
        snapshot = await snapshot_of(copy)
        assert await vms.host.verify(snapshot) == []
    assert layers_of(home, copy) == layers
    state = Paths(home).state(snapshot)
    assert json.loads(state.manifest.read_text())["state"]["checksums"]["pages"]
    (second,) = await copies(vms, copy, snapshot, 1)
    await vms.host.start(copy.id)
    for one in (copy, second):
        assert (await one.run("cat /run/kept")).text == "kept"
    await vms.host.remove_snapshot(fork)


async def test_no_other_user_can_read_disks_or_memory(vms: Launcher, home: Path) -> None:
    machine = await vms.launch()
    snapshot = await snapshot_of(machine)
    paths = Paths(home)
    secret = [paths.state(snapshot).pages, paths.state(snapshot).devices, paths.layer(layers_of(home, machine)[0])]
    for path in (*secret, *paths.templates.glob("*/memory"), paths.machine(machine.id).journal):
        with pytest.raises(subprocess.CalledProcessError):
            subprocess.run(
                ["setpriv", "--reuid=65000", "--regid=65000", "--clear-groups", "cat", path],
                check=True,
                capture_output=True,
            )
    assert paths.layer(layers_of(home, machine)[0]).stat().st_mode & 0o077 == 0


async def test_a_guest_that_stands_still_for_long_is_not_given_up(
    vms: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /run/kept")
    monkeypatch.setattr("hutch.host.machines.held.AGENT_WAIT", 0.2)
    original = memory.save

    def save(*args: object) -> None:
        time.sleep(2)  # a slow disk
        original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(memory, "save", save)
    saving = asyncio.ensure_future(vms.host.suspend(machine.id))
    await asyncio.sleep(0.5)
    conversation = vms.host._owner(machine.id)._body.held.machine.agent._conversation  # type: ignore[attr-defined]
    conversation.abandon()  # as when a request is not answered in time
    await saving
    await vms.host.start(machine.id)
    assert (await machine.run("cat /run/kept")).text == "kept"


async def test_a_guest_that_does_not_stop_keeps_its_layers(
    vms: Launcher, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await vms.launch()
    before, original = layers_of(home, machine), Monitor.execute

    async def execute(monitor: Monitor, command: str, *args: float, **options: object) -> object:
        if command == "stop":
            raise errors.MachineFailed("QEMU did not answer stop within 30 s")
        return await original(monitor, command, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "execute", execute)
        with pytest.raises(errors.MachineFailed, match="stop"):
            await snapshot_of(machine)
        with pytest.raises(errors.MachineFailed, match="stop"):
            await vms.host.pause(machine.id)
    assert (await asyncio.wait_for(machine.run("echo up"), 5)).text == "up"
    assert layers_of(home, machine) == before
    snapshot = await snapshot_of(machine)
    await machine.run("head -c 1000000 /dev/urandom > /file; sync")
    assert await vms.host.verify(snapshot) == []


async def test_a_snapshot_removed_in_the_middle_of_a_rollback_is_kept_for_it(
    vms: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /run/kept")
    snapshot, original = await snapshot_of(machine), vm.Vm.kill

    async def kill(self: vm.Vm) -> None:
        await original(self)
        await vms.host.remove_snapshot(snapshot)

    with monkeypatch.context() as patch:
        patch.setattr(vm.Vm, "kill", kill)
        await vms.host.rollback(machine.id, snapshot)
    await vms.host.start(machine.id)
    assert (await machine.run("cat /run/kept")).text == "kept"


async def test_a_damaged_template_is_not_made_anew_under_a_disk(vms: Launcher, home: Path, flip) -> None:  # type: ignore[no-untyped-def]
    machine = await vms.launch()
    await machine.run("echo kept > /kept; sync")
    key = json.loads(Paths(home).machine(machine.id).journal.read_text())["template"]
    flip(Paths(home).template(key).devices)
    with pytest.raises(errors.Damaged, match=key):
        await vms.launch()
    await vms.host.stop(machine.id, grace=5)
    await vms.host.start(machine.id)
    assert (await machine.run("cat /kept")).text == "kept"


async def test_a_snapshot_that_is_damaged_can_be_removed(vms: Launcher, home: Path, reopen: Reopen) -> None:
    machine = await vms.launch()
    snapshot = await snapshot_of(machine)
    manifest = Paths(home).state(snapshot).manifest
    manifest.write_text("{")
    again = await reopen()
    assert again.snapshots() == []
    await again.remove_snapshot(snapshot)
    assert not manifest.exists()
    await reopen()


async def test_two_wakes_a_copy_and_a_delete_at_once(vms: Launcher) -> None:
    machine = await vms.launch()
    await vms.host.suspend(machine.id)
    snapshot = ids.new_snapshot_id()
    results = await asyncio.wait_for(
        asyncio.gather(
            vms.host.start(machine.id),
            vms.host.start(machine.id),
            vms.host.snapshot(machine.id, snapshot),
            vms.host.destroy(machine.id),
            return_exceptions=True,
        ),
        30,
    )
    assert all(not isinstance(result, Exception) or isinstance(result, errors.HutchError) for result in results)
    assert vms.host.get(machine.id) is None
    await vms.host.remove_snapshot(snapshot)
