"""Saved states that are made cheap to start from: nothing of them, and of the machines made of them, is another."""

import pytest

from contract.host_suite import rig as use
from contract.host_suite.rig import Rig
from hutch.host.interface import Life
from hutch.model import errors, ids


class OptimizingSuite:
    async def test_copies_of_an_optimized_snapshot_go_on_with_memory_processes_and_disk(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await use.put(rig, machine, "/root/file", b"then")
        snapshot = await use.snapshot(rig, machine)
        waiting = await use.clone(rig, snapshot)
        assert await use.tell(rig, machine, counting, "two") == "2 two"
        await use.put(rig, machine, "/root/file", b"now")
        for _ in range(2):
            await rig.host.optimize(snapshot)
        assert [state.id for state in rig.host.snapshots()] == [snapshot]
        assert await rig.host.verify(snapshot) == []
        for copy in (waiting, await use.clone(rig, snapshot)):
            await rig.host.start(copy)
            assert await use.get(rig, copy, "/root/file") == b"then"
            assert await use.tell(rig, copy, counting, "mine") == "2 mine"
        assert await use.tell(rig, machine, counting, "three") == "3 three"

    async def test_a_machine_made_of_one_is_suspended_copied_and_put_back_as_any(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        snapshot = await use.snapshot(rig, machine)
        await rig.host.optimize(snapshot)
        copy = await use.clone(rig, snapshot)
        await rig.host.start(copy)
        assert await use.tell(rig, copy, counting, "two") == "2 two"
        await rig.host.suspend(copy)
        await rig.reopen()
        await rig.host.start(copy)
        assert await use.tell(rig, copy, counting, "three") == "3 three"
        fork = await use.snapshot(rig, copy, transient=True)
        child = await use.clone(rig, fork)
        await rig.host.start(child)
        await rig.host.remove_snapshot(fork)
        assert await use.tell(rig, child, counting, "four") == "4 four"
        await rig.host.rollback(copy, snapshot)
        await rig.host.start(copy)
        assert await use.tell(rig, copy, counting, "again") == "2 again"

    async def test_an_optimized_snapshot_outlives_its_source_and_its_copies_outlive_it(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        snapshot = await use.snapshot(rig, machine)
        await rig.host.optimize(snapshot)
        await rig.host.destroy(machine)
        running, waiting = await use.clone(rig, snapshot), await use.clone(rig, snapshot)
        await rig.host.start(running)
        await rig.host.remove_snapshot(snapshot)
        await rig.host.start(waiting)
        for it in (running, waiting):
            assert await use.tell(rig, it, counting, "two") == "2 two"

    async def test_a_suspended_machine_goes_on_from_its_optimized_state(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await rig.host.suspend(machine)
        for _ in range(2):
            await rig.host.optimize_machine(machine)
        assert use.life(rig, machine) is Life.SUSPENDED
        copy = await use.clone(rig, await use.snapshot(rig, machine))
        for it in (machine, copy):
            await rig.host.start(it)
            assert await use.tell(rig, it, counting, "two") == "2 two"

    async def test_only_saved_memory_is_optimized(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        with pytest.raises(errors.Conflict):
            await rig.host.optimize_machine(machine)
        await rig.host.pause(machine)
        with pytest.raises(errors.Conflict):
            await rig.host.optimize_machine(machine)
        await rig.host.stop(machine, 0)
        with pytest.raises(errors.NotRunning):
            await rig.host.optimize_machine(machine)
        for call in (rig.host.optimize(ids.new_snapshot_id()), rig.host.optimize_machine(ids.new_machine_id())):
            with pytest.raises(errors.NotFound):
                await call
