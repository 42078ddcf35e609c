"""Snapshots, machines made of them, and going back to them."""

import asyncio
import hashlib
import uuid

import pytest

from contract.host_suite import rig as use
from contract.host_suite.rig import Rig
from hutch.host.interface import Life
from hutch.model import errors, ids
from hutch.model.ids import MachineId
from hutch.model.machine import Resources


async def bring_to(rig: Rig, machine: MachineId, state: Life) -> None:
    """A running machine, to another state."""
    if state is Life.PAUSED:
        await rig.host.pause(machine)
    elif state is Life.SUSPENDED:
        await rig.host.suspend(machine)
    elif state is Life.STOPPED:
        await rig.host.stop(machine, grace=0)


class SnapshotsSuite:
    async def test_a_machine_made_of_a_snapshot_runs_its_own_command_once(self, rig: Rig) -> None:
        command = ("sh", "-c", "echo begun; sleep 1000")
        first = await use.clone(rig, await use.snapshot(rig, await use.launch(rig)), command=command)
        await rig.host.start(first)
        second = await use.clone(rig, await use.snapshot(rig, first), command=command)
        await rig.host.start(second)
        for machine in (first, second):
            page = await rig.host.processes.read(machine, "main", 0, 0, wait=20)
            assert page.stdout == b"begun\n"

    @pytest.mark.parametrize("state", [Life.RUNNING, Life.PAUSED, Life.SUSPENDED])
    async def test_a_machine_goes_on_as_it_was_after_a_snapshot_and_a_copy_does_too(
        self, rig: Rig, state: Life
    ) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await bring_to(rig, machine, state)
        before = rig.host.get(machine)
        copy = await use.clone(rig, await use.snapshot(rig, machine))
        assert rig.host.get(machine) == before
        for it in (copy, machine):
            await rig.host.start(it)
            assert await use.tell(rig, it, counting, "two") == "2 two"

    async def test_a_conversation_is_not_disturbed_by_a_snapshot(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "seq 1 300000")
        reading = asyncio.create_task(use.finish(rig, machine, process))
        for _ in range(2):
            await use.snapshot(rig, machine)
        expected = b"".join(b"%d\n" % number for number in range(1, 300001))
        assert hashlib.sha256((await reading).stdout).digest() == hashlib.sha256(expected).digest()

    async def test_a_machine_made_of_a_snapshot_is_suspended_with_processes_and_files(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        for path in ("/dev/shm/file", "/root/file"):
            await use.put(rig, machine, path, b"of the source")
        copy = await use.clone(rig, await use.snapshot(rig, machine))
        state = rig.host.get(copy)
        assert state is not None
        assert (state.life, state.pid) == (Life.SUSPENDED, None)
        await rig.host.start(copy)
        for path in ("/dev/shm/file", "/root/file"):
            assert await use.get(rig, copy, path) == b"of the source"
        source, mine = await rig.host.processes.list(machine), await rig.host.processes.list(copy)
        assert [(it.id, it.pid, it.exit) for it in mine] == [(it.id, it.pid, it.exit) for it in source]
        page = await rig.host.processes.read(copy, counting, 0, 0, wait=0)
        assert page.stdout == b"1 one\n"

    async def test_a_copy_has_an_identity_of_its_own(self, rig: Rig) -> None:
        machine = await use.launch(rig, env={"A": "source"})
        snapshot = await use.snapshot(rig, machine)
        copies = [await use.clone(rig, snapshot, hostname=name, env={"A": name}) for name in ("first", "second")]
        for copy in copies:
            await rig.host.start(copy)
        for path in ("/etc/hostname", "/etc/machine-id", "/run/hutch/instance-id"):
            told = [await use.get(rig, it, path) for it in (machine, *copies)]
            assert len(set(told)) == 3, (path, told)
        assert (await use.get(rig, copies[0], "/etc/hostname")).strip() == b"first"
        for it, name in zip((machine, *copies), ("source", "first", "second"), strict=True):
            line = "echo $A $HUTCH_MACHINE_ID"
            assert (await use.run(rig, it, line)).stdout.decode().split() == [name, it]

    async def test_every_restore_makes_another_instance(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        told = [await use.get(rig, machine, "/run/hutch/instance-id")]
        names = await use.get(rig, machine, "/etc/machine-id")
        for _ in range(2):
            await rig.host.suspend(machine)
            await rig.host.start(machine)
            told.append(await use.get(rig, machine, "/run/hutch/instance-id"))
        assert len({uuid.UUID(id.decode().strip()) for id in told}) == 3
        assert await use.get(rig, machine, "/etc/machine-id") == names

    async def test_machines_of_one_snapshot_and_their_source_know_nothing_of_each_other(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await use.put(rig, machine, "/root/file", b"common")
        snapshot = await use.snapshot(rig, machine)
        every = [machine, await use.clone(rig, snapshot), await use.clone(rig, snapshot)]
        for it in every[1:]:
            await rig.host.start(it)
        for number, it in enumerate(every):
            await use.put(rig, it, "/root/file", it.encode())
            for word in range(number):
                assert await use.tell(rig, it, counting, "more") == f"{word + 2} more"
        for number, it in enumerate(every):
            assert await use.get(rig, it, "/root/file") == it.encode()
            assert await use.tell(rig, it, counting, "last") == f"{number + 2} last"

    async def test_a_stream_goes_on_in_a_copy_where_it_was(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "seq 1 300000")
        first = await rig.host.processes.read(machine, process, 0, 0, wait=20, limit=100_000)
        copy = await use.clone(rig, await use.snapshot(rig, machine))
        await rig.host.start(copy)
        expected = b"".join(b"%d\n" % number for number in range(1, 300001))
        for it in (machine, copy):
            rest = await use.finish(rig, it, process, stdout_at=len(first.stdout))
            assert hashlib.sha256(first.stdout + rest.stdout).digest() == hashlib.sha256(expected).digest()

    async def test_a_copy_of_a_copy_goes_on(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        for number in range(2, 5):
            machine = await use.clone(rig, await use.snapshot(rig, machine))
            await rig.host.start(machine)
            assert await use.tell(rig, machine, counting, "more") == f"{number} more"
            await use.put(rig, machine, f"/root/{number}", b"x")
        assert len(await rig.host.files.list(machine, "/root")) >= 3

    async def test_a_snapshot_outlives_its_source(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        snapshot = await use.snapshot(rig, machine)
        await rig.host.destroy(machine)
        copy = await use.clone(rig, snapshot)
        await rig.host.start(copy)
        assert await use.tell(rig, copy, counting, "two") == "2 two"

    async def test_machines_outlive_the_snapshot_they_were_made_of(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        snapshot = await use.snapshot(rig, machine)
        running, waiting = await use.clone(rig, snapshot), await use.clone(rig, snapshot)
        await rig.host.start(running)
        for _ in range(2):
            await rig.host.remove_snapshot(snapshot)
        await rig.host.start(waiting)
        for it in (machine, running, waiting):
            assert await use.tell(rig, it, counting, "two") == "2 two"
        with pytest.raises(errors.NotFound):
            await use.clone(rig, snapshot)

    async def test_snapshots_are_told_oldest_first_and_kept_by_another_host_object(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        made = [await use.snapshot(rig, machine) for _ in range(3)]
        assert [state.id for state in rig.host.snapshots()] == made
        assert all(state.size > 0 and state.created_at > 0 for state in rig.host.snapshots())
        await rig.reopen()
        assert [state.id for state in rig.host.snapshots()] == made
        await rig.host.remove_snapshot(made[1])
        assert [state.id for state in rig.host.snapshots()] == [made[0], made[2]]

    async def test_a_transient_snapshot_is_not_told_of_and_not_kept(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        snapshot = await use.snapshot(rig, machine, transient=True)
        copy = await use.clone(rig, snapshot)
        assert rig.host.snapshots() == []
        await rig.reopen()
        with pytest.raises(errors.NotFound):
            await use.clone(rig, snapshot)
        await rig.host.start(copy)
        assert await use.tell(rig, copy, counting, "two") == "2 two"

    async def test_a_snapshot_whose_id_is_taken_is_a_conflict(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        snapshot = await use.snapshot(rig, machine)
        with pytest.raises(errors.Conflict):
            await rig.host.snapshot(machine, snapshot)
        assert [state.id for state in rig.host.snapshots()] == [snapshot]

    async def test_a_snapshot_nobody_knows_is_not_found(self, rig: Rig) -> None:
        unknown, machine = ids.new_snapshot_id(), await use.create(rig)
        for call in (use.clone(rig, unknown), rig.host.rollback(machine, unknown), rig.host.verify(unknown)):
            with pytest.raises(errors.NotFound):
                await call
        await rig.host.remove_snapshot(unknown)
        assert use.life(rig, machine) is Life.STOPPED

    @pytest.mark.parametrize("resources", [Resources(2, 128, 1), Resources(1, 256, 1)])
    async def test_a_machine_of_another_shape_does_not_fit(self, rig: Rig, resources: Resources) -> None:
        machine, misfit = await use.launch(rig), await use.create(rig, resources=resources)
        snapshot, id = await use.snapshot(rig, machine), ids.new_machine_id()
        with pytest.raises(errors.InvalidRequest):
            await rig.host.create(id, await use.spec(rig, resources=resources), snapshot)
        with pytest.raises(errors.InvalidRequest):
            await rig.host.rollback(misfit, snapshot)
        assert (rig.host.get(id), use.life(rig, misfit)) == (None, Life.STOPPED)

    async def test_a_copy_may_have_a_larger_disk_but_no_smaller_one(self, rig: Rig) -> None:
        machine = await use.launch(rig, resources=Resources(1, 128, 2))
        snapshot = await use.snapshot(rig, machine)
        with pytest.raises(errors.InvalidRequest):
            await use.clone(rig, snapshot, resources=Resources(1, 128, 1))
        copy = await use.clone(rig, snapshot, resources=Resources(1, 128, 4))
        await rig.host.start(copy)
        assert (await rig.host.stats(copy)).disk_total > 3 * 2**30

    @pytest.mark.parametrize("state", [Life.RUNNING, Life.PAUSED, Life.SUSPENDED, Life.STOPPED])
    async def test_a_machine_goes_back_to_its_snapshot_from_any_state(self, rig: Rig, state: Life) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await use.put(rig, machine, "/root/file", b"then")
        snapshot = await use.snapshot(rig, machine)
        assert await use.tell(rig, machine, counting, "two") == "2 two"
        await use.put(rig, machine, "/root/file", b"now")
        await bring_to(rig, machine, state)
        await rig.host.rollback(machine, snapshot)
        told = rig.host.get(machine)
        assert told is not None
        assert (told.life, told.pid) == (Life.SUSPENDED, None)
        await rig.host.start(machine)
        assert await use.get(rig, machine, "/root/file") == b"then"
        assert await use.tell(rig, machine, counting, "again") == "2 again"

    async def test_a_machine_goes_back_as_often_as_it_likes(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        snapshot = await use.snapshot(rig, machine)
        for _ in range(2):
            await rig.host.rollback(machine, snapshot)
            await rig.host.start(machine)
            assert await use.tell(rig, machine, counting, "two") == "2 two"

    async def test_a_reader_of_a_machine_that_goes_back_is_sent_away(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        snapshot = await use.snapshot(rig, machine)
        reading = asyncio.create_task(rig.host.processes.read(machine, counting, 6, 0, wait=60))
        await asyncio.sleep(0.1)
        await rig.host.rollback(machine, snapshot)
        with pytest.raises((errors.NotRunning, errors.AgentUnavailable)):
            await asyncio.wait_for(reading, 10)

    async def test_a_whole_snapshot_verifies(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/dev/shm/file", b"x" * 100_000)
        snapshot = await use.snapshot(rig, machine)
        assert await rig.host.verify(snapshot) == []
        await rig.host.destroy(machine)
        assert await rig.host.verify(snapshot) == []
