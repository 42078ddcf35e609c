"""Saved states with a whole memory of their own: the same to the byte, gone when nobody needs them, damage found."""

import asyncio
from pathlib import Path

import pytest

import crash
from hutch import settings
from hutch.host.interface import Life
from hutch.host.local import LocalHost
from hutch.host.machines import journal as journals
from hutch.host.paths import Paths
from hutch.host.saved import memory as guest_memory
from hutch.model import errors
from machines import Launcher, Machine
from vm.test_adoption import Reopen, reopen
from vm.test_crash_steps import reopened
from vm.test_freezing import FILL, copies, flip, snapshot_of
from vm.test_full_disk import MIB, fill, full, small
from vm.test_spares import sparing, two_spares

__all__ = ["flip", "full", "reopen", "small", "sparing"]


def memories(home: Path) -> list[str]:
    return [path.name for path in Paths(home).memories.iterdir() if not path.name.startswith(".gone-")]


def mapped(home: Path, machine: Machine) -> str | None:
    """The memory file of saved states that a machine's process maps."""
    entry = journals.read(Paths(home).machine(machine.id).journal)
    assert entry is not None
    if entry.memory is not None:
        guest_memory.find(machine.pid, Paths(home).memory(entry.memory))
    return entry.memory


@pytest.mark.parametrize(("memory", "cpus"), [(256, 1), (4096, 2)], ids=["small", "beyond the hole at 3 GiB"])
async def test_memory_is_the_same_to_the_byte_in_copies_of_copies(
    vms: Launcher, home: Path, memory: int, cpus: int
) -> None:
    machine = await vms.launch(memory=memory, cpus=cpus)
    await machine.run(FILL)
    before = (await machine.run("md5sum /m/x")).text
    first = await snapshot_of(machine)
    await vms.host.optimize(first)
    (name,) = memories(home)
    assert await vms.host.verify(first) == []
    assert not Paths(home).state(first).pages.exists()
    (copy,) = await copies(vms, machine, first, 1, memory=memory, cpus=cpus)
    assert mapped(home, copy) == name
    assert (await copy.run("md5sum /m/x")).text == before
    await copy.run("head -c 1000000 /dev/urandom > /m/y")
    both = (await copy.run("md5sum /m/x /m/y")).text
    await vms.host.suspend(copy.id)
    await vms.host.start(copy.id)
    assert (await copy.run("md5sum /m/x /m/y")).text == both
    second = await snapshot_of(copy)
    await copy.run("rm /m/y")
    for _ in range(2):  # as pages over the first one's memory, and with one of its own
        (child,) = await copies(vms, copy, second, 1, memory=memory, cpus=cpus)
        assert (await child.run("md5sum /m/x /m/y")).text == both
        await vms.host.destroy(child.id)
        await vms.host.optimize(second)
    assert len(memories(home)) == 2
    for snapshot in (first, second):
        assert await vms.host.verify(snapshot) == []
        await vms.host.remove_snapshot(snapshot)
    assert memories(home) == [name]  # which the copy maps
    assert (await copy.run("md5sum /m/x")).text == before
    await vms.host.stop(copy.id, grace=5)
    assert memories(home) == []
    await vms.host.start(copy.id)
    assert mapped(home, copy) is None


async def test_what_a_machine_is_suspended_in_is_optimized_and_copied(vms: Launcher, home: Path) -> None:
    machine = await vms.launch()
    with pytest.raises(errors.Conflict, match="suspend it first"):
        await vms.host.optimize_machine(machine.id)
    await machine.run("echo kept > /run/kept; echo disk > /disk; sync")
    await vms.host.suspend(machine.id)
    await vms.host.optimize_machine(machine.id)
    await vms.host.optimize_machine(machine.id)
    (name,) = memories(home)
    assert await vms.host.storage(machine.id) > Paths(home).memory(name).stat().st_blocks * 512
    snapshot = await snapshot_of(machine)
    assert await vms.host.verify(snapshot) == []
    (copy,) = await copies(vms, machine, snapshot, 1)
    await vms.host.start(machine.id)
    for it in (machine, copy):
        assert mapped(home, it) == name
        assert (await it.run("cat /run/kept /disk")).text.split() == ["kept", "disk"]
        await it.run("echo mine > /disk; sync")
    await vms.host.rollback(machine.id, snapshot)
    await vms.host.start(machine.id)
    assert (await machine.run("cat /disk")).text == "disk"
    await vms.host.remove_snapshot(snapshot)
    await vms.host.destroy(copy.id)
    assert memories(home) == [name]
    await vms.host.destroy(machine.id)
    assert memories(home) == []


async def test_machines_on_a_memory_of_a_snapshot_are_adopted(vms: Launcher, home: Path, reopen: Reopen) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /run/kept")
    snapshot = await snapshot_of(machine)
    await vms.host.optimize(snapshot)
    waiting = await vms.create(snapshot=snapshot)
    (copy,) = await copies(vms, machine, snapshot, 1)
    await vms.host.remove_snapshot(snapshot)
    again = await reopen()
    (name,) = memories(home)
    copy.host = waiting.host = again
    await again.suspend(copy.id)
    for it in (copy, waiting):
        await again.start(it.id)
        assert mapped(home, it) == name
        assert (await it.run("cat /run/kept")).text == "kept"


async def test_a_wake_and_an_optimizing_of_the_same_state_do_not_meet(vms: Launcher, home: Path) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /run/kept")
    snapshot = await snapshot_of(machine)
    children = [await vms.create(snapshot=snapshot) for _ in range(3)]
    starts = [vms.host.start(child.id) for child in children]
    await asyncio.gather(*starts, vms.host.optimize(snapshot), vms.host.optimize(snapshot), vms.host.verify(snapshot))
    assert await vms.host.verify(snapshot) == []
    for child in children:
        assert (await child.run("cat /run/kept")).text == "kept"
    (name,) = memories(home)
    optimizing = asyncio.gather(vms.host.optimize(second := await snapshot_of(children[0])), return_exceptions=True)
    await asyncio.sleep(0)
    await vms.host.remove_snapshot(second)
    await asyncio.wait_for(optimizing, 60)
    assert memories(home) == [name]
    assert {path.name for path in Paths(home).states.iterdir() if not path.name.startswith(".gone-")} == {snapshot}
    assert not [path for path in Paths(home).memories.iterdir() if not path.name.startswith((".gone-", name))]


async def test_the_service_dies_at_every_step(
    vms: Launcher, host: LocalHost, home: Path, wanted: settings.Settings
) -> None:
    machine = await vms.launch()
    await machine.run("echo kept > /run/kept")
    snapshot, step, was_killed = await snapshot_of(machine), 0, True
    while was_killed:
        await vms.host.close()  # type: ignore[attr-defined]
        was_killed = await crash.service_dies(wanted, crash.optimize, machine.id, snapshot, step)
        machine.host = vms.host = again = await reopened(vms, wanted)
        assert await again.verify(snapshot) == []
        state = again._states.get(snapshot)
        assert memories(home) == ([] if state.memory is None else [state.memory])
        assert Paths(home).state(snapshot).pages.exists() == (state.memory is None)
        assert not [path.name for path in Paths(home).memories.iterdir() if path.name != state.memory]
        step += 1
        if was_killed and state.memory is not None:  # it is done, and would not be done again
            break
    assert step == 4
    (copy,) = await copies(vms, machine, snapshot, 1)
    assert (await copy.run("cat /run/kept")).text == "kept"
    await vms.destroy_all()
    await vms.host.close()  # type: ignore[attr-defined]
    await host.open()
    vms.host = host


@pytest.mark.parametrize("how", ["flipped", "short", "missing"])
async def test_a_damaged_memory_is_found_and_not_used(vms: Launcher, home: Path, flip, how: str) -> None:  # type: ignore[no-untyped-def]
    machine = await vms.launch()
    snapshot = await snapshot_of(machine)
    await vms.host.optimize(snapshot)
    copy = await vms.create(snapshot=snapshot)
    path = Paths(home).memory(memories(home)[0])
    match how:
        case "flipped":
            flip(path, 300_000)
        case "short":
            with path.open("r+b") as file:
                file.truncate(4096)
        case "missing":
            path.unlink()
    (found,) = await vms.host.verify(snapshot)
    assert "whole memory" in found
    if how != "flipped":
        with pytest.raises(errors.Damaged, match="memory"):
            await vms.host.start(copy.id)
        assert vms.host.get(copy.id).life is Life.SUSPENDED  # type: ignore[union-attr]


async def test_damaged_pages_are_not_made_a_memory_of(vms: Launcher, home: Path, flip) -> None:  # type: ignore[no-untyped-def]
    machine = await vms.launch()
    await machine.run("head -c 1000000 /dev/urandom > /run/x")
    snapshot = await snapshot_of(machine)
    flip(Paths(home).state(snapshot).pages, 5000)
    with pytest.raises(errors.Damaged, match="memory is not what was saved"):
        await vms.host.optimize(snapshot)
    assert memories(home) == []
    assert len(await vms.host.verify(snapshot)) == 1


async def test_no_other_user_can_read_a_memory(vms: Launcher, home: Path) -> None:
    machine = await vms.launch()
    snapshot = await snapshot_of(machine)
    await vms.host.optimize(snapshot)
    status = Paths(home).memory(memories(home)[0]).stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o660)
    (copy,) = await copies(vms, machine, snapshot, 1)
    groups = Path(f"/proc/{copy.pid}/status").read_text().split("Groups:")[1].splitlines()[0].split()
    assert str(status.st_gid) in groups
    assert str(status.st_gid) not in Path(f"/proc/{machine.pid}/status").read_text().split("Groups:")[1].split()


@pytest.mark.parametrize("is_checked", [True, False], ids=["before", "in-the-middle"])
async def test_a_full_disk_leaves_the_state_as_it_was(
    full: Launcher, small: Path, is_checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await full.launch()
    before = (await machine.run("head -c 9000000 /dev/urandom > /run/x; md5sum /run/x")).text
    snapshot = await snapshot_of(machine)
    fill(small, 20 * MIB)
    with monkeypatch.context() as patch:
        if not is_checked:  # somebody else takes the space after it was looked at
            patch.setattr("hutch.host.files.require_space", lambda *_: None)
        with pytest.raises(errors.DiskFull, match="MiB free" if is_checked else "as it was"):
            await full.host.optimize(snapshot)
    assert not [*(small / "memories").iterdir()]
    assert await full.host.verify(snapshot) == []
    (small / "filler").unlink()
    await full.host.optimize(snapshot)
    (copy,) = await copies(full, machine, snapshot, 1)
    assert (await copy.run("md5sum /run/x")).text == before


async def test_a_copy_of_an_optimized_snapshot_takes_a_spare_that_maps_its_memory(
    sparing: Launcher, home: Path
) -> None:
    source = await sparing.launch(disk=30)
    await source.run("echo memory > /run/file; echo disk > /file; sync")
    snapshot = await snapshot_of(source)
    await source.run("echo more >> /file; sync")
    second = await snapshot_of(source)
    sparing.host._spares.trim(is_memory_short=True)  # type: ignore[attr-defined]
    await sparing.host.optimize(second)
    (name,) = memories(home)
    (first,) = await copies(sparing, source, second, 1, disk=30)
    pids = await two_spares(sparing)
    made = await copies(sparing, source, second, 2, disk=30)
    assert {copy.pid for copy in made} == pids
    for copy in (first, *made):
        assert mapped(home, copy) == name
        assert (await copy.run("cat /run/file /file")).text.split() == ["memory", "disk", "more"]
        await copy.run("dd if=/dev/vda of=/dev/null bs=1M skip=25000 count=1")
    pids = await two_spares(sparing)
    fork = await snapshot_of(first, transient=True)  # its disk has more layers than those below the spares'
    (child,) = await copies(sparing, first, fork, 1, disk=30)
    await sparing.host.remove_snapshot(fork)
    assert child.pid in pids
    assert (await child.run("cat /run/file /file")).text.split() == ["memory", "disk", "more"]
    (other,) = await copies(sparing, source, snapshot, 1, disk=30)
    assert mapped(home, other) is None
    await sparing.host.remove_snapshot(second)
    for copy in (first, *made, child):
        assert memories(home) == [name]
        await sparing.host.destroy(copy.id)
    assert memories(home) == []
    kinds = sparing.host._spares._kinds  # type: ignore[attr-defined]
    assert [key for key in kinds if key[1] is not None] == []
    await sparing.host.remove_snapshot(snapshot)
