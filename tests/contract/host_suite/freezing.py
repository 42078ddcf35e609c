"""Pause, resume, suspend and wake."""

import asyncio
import contextlib
import hashlib
import os
import time

import pytest

from contract.host_suite import rig as use
from contract.host_suite.machines import death_of
from contract.host_suite.rig import Rig
from hutch.host.interface import Life
from hutch.model import errors, ids
from hutch.model.ids import MachineId

LIMIT = 60.0
"""Seconds that anything here may take."""


async def still(rig: Rig, machine: MachineId, how: str) -> None:
    """Pause or suspend it."""
    await (rig.host.pause if how == "pause" else rig.host.suspend)(machine)


async def go_on(rig: Rig, machine: MachineId, how: str) -> None:
    """The reverse of `still`."""
    await (rig.host.resume if how == "pause" else rig.host.start)(machine)


both_ways = pytest.mark.parametrize("how", ["pause", "suspend"])


class FreezingSuite:
    async def test_a_paused_machine_keeps_its_process_and_goes_on(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting, pid = await use.count(rig, machine), rig.host.get(machine).pid  # type: ignore[union-attr]
        await rig.host.pause(machine)
        paused = rig.host.get(machine)
        await rig.host.resume(machine)
        assert paused is not None
        assert (paused.life, paused.reason, paused.pid) == (Life.PAUSED, None, pid)
        assert rig.host.get(machine).life is Life.RUNNING  # type: ignore[union-attr]
        assert await use.tell(rig, machine, counting, "two") == "2 two"

    async def test_a_suspended_machine_has_no_process_and_goes_on(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        before = await rig.host.processes.list(machine)
        await rig.host.suspend(machine)
        suspended = rig.host.get(machine)
        await rig.host.start(machine)
        assert suspended is not None
        assert (suspended.life, suspended.reason, suspended.pid) == (Life.SUSPENDED, None, None)
        assert [(it.id, it.pid) for it in await rig.host.processes.list(machine)] == [(it.id, it.pid) for it in before]
        assert await use.tell(rig, machine, counting, "two") == "2 two"

    async def test_a_machine_can_be_suspended_again_and_again(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        for number in range(2, 5):
            await rig.host.suspend(machine)
            await rig.host.start(machine)
            assert await use.tell(rig, machine, counting, "more") == f"{number} more"

    async def test_a_paused_machine_can_be_suspended(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await rig.host.pause(machine)
        await rig.host.suspend(machine)
        assert use.life(rig, machine) is Life.SUSPENDED
        await rig.host.start(machine)
        assert await use.tell(rig, machine, counting, "two") == "2 two"

    async def test_a_suspended_machine_keeps_memory_and_disk(self, rig: Rig) -> None:
        machine, content = await use.launch(rig), os.urandom(1024 * 1024)
        for path in ("/dev/shm/file", "/root/file"):
            await use.put(rig, machine, path, content)
        await rig.host.suspend(machine)
        await rig.host.start(machine)
        for path in ("/dev/shm/file", "/root/file"):
            assert await use.get(rig, machine, path) == content

    @both_ways
    async def test_nothing_goes_on_in_a_machine_that_stands_still_but_its_clock_is_right_later(
        self, rig: Rig, how: str
    ) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "while :; do echo; sleep 0.02; done")
        before = len((await rig.host.processes.read(machine, process, 0, 0, wait=20)).stdout)
        await still(rig, machine, how)
        await asyncio.sleep(1.6)
        await go_on(rig, machine, how)
        after = next(it for it in await rig.host.processes.list(machine) if it.id == process).stdout_bytes
        assert after - before < 40
        now = time.time()
        assert int((await use.run(rig, machine, "date +%s")).stdout) >= int(now - 1)

    @both_ways
    async def test_a_guest_that_stands_still_is_not_waited_for(self, rig: Rig, how: str) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await still(rig, machine, how)
        for call in (
            rig.host.stats(machine),
            rig.host.processes.list(machine),
            rig.host.processes.read(machine, counting, 0, 0, wait=60),
            rig.host.processes.write(machine, counting, b"x"),
            rig.host.files.stat(machine, "/"),
            use.start(rig, machine, "true"),
        ):
            with pytest.raises(errors.NotRunning):
                await asyncio.wait_for(call, 2)

    @both_ways
    async def test_a_reader_that_waits_is_sent_away_and_misses_nothing(self, rig: Rig, how: str) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        reading = asyncio.create_task(rig.host.processes.read(machine, counting, 6, 0, wait=60))
        await asyncio.sleep(0.1)
        await still(rig, machine, how)
        with pytest.raises((errors.NotRunning, errors.AgentUnavailable)):
            await asyncio.wait_for(reading, 10)
        await go_on(rig, machine, how)
        await rig.host.processes.write(machine, counting, b"two\n")
        assert (await rig.host.processes.read(machine, counting, 6, 0, wait=20)).stdout == b"2 two\n"

    @both_ways
    async def test_not_a_byte_of_a_stream_is_lost_or_doubled(self, rig: Rig, how: str) -> None:
        machine = await use.launch(rig)
        process, taken = await use.start(rig, machine, "seq 1 300000"), bytearray()
        for _ in range(2):
            page = await rig.host.processes.read(machine, process, len(taken), 0, wait=20, limit=100_000)
            taken += page.stdout
            await still(rig, machine, how)
            await go_on(rig, machine, how)
        taken += (await use.finish(rig, machine, process, stdout_at=len(taken))).stdout
        expected = b"".join(b"%d\n" % number for number in range(1, 300001))
        assert hashlib.sha256(taken).digest() == hashlib.sha256(expected).digest()

    async def test_what_is_so_already_is_done_by_doing_nothing(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await rig.host.resume(machine)
        for _ in range(2):
            await rig.host.pause(machine)
        for _ in range(2):
            await rig.host.resume(machine)
        for _ in range(2):
            await rig.host.suspend(machine)
        assert use.life(rig, machine) is Life.SUSPENDED
        for _ in range(2):
            await rig.host.start(machine)
        assert await use.tell(rig, machine, counting, "two") == "2 two"

    async def test_a_start_lets_a_paused_machine_go_on(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await rig.host.pause(machine)
        await rig.host.start(machine)
        assert use.life(rig, machine) is Life.RUNNING
        assert await use.tell(rig, machine, counting, "two") == "2 two"

    async def test_many_starts_at_once_wake_it_once(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await rig.host.suspend(machine)
        await asyncio.gather(*(rig.host.start(machine) for _ in range(5)))
        assert await use.tell(rig, machine, counting, "two") == "2 two"

    async def test_a_wake_that_is_cancelled_can_be_made_again(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await rig.host.suspend(machine)
        waking = asyncio.create_task(rig.host.start(machine))
        await asyncio.sleep(0)
        waking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waking
        assert use.life(rig, machine) in (Life.SUSPENDED, Life.RUNNING)
        await rig.host.start(machine)
        assert await use.tell(rig, machine, counting, "two") == "2 two"

    async def test_a_suspended_machine_that_is_stopped_keeps_its_disk_and_nothing_else(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        await use.run(rig, machine, "cd root; echo kept > kept; sync")
        await rig.host.suspend(machine)
        await rig.host.stop(machine, grace=10)
        assert use.life(rig, machine) is Life.STOPPED
        await rig.host.start(machine)
        assert await use.get(rig, machine, "/root/kept") == b"kept\n"
        assert counting not in [it.id for it in await rig.host.processes.list(machine)]

    async def test_a_paused_machine_is_stopped_without_waiting_for_it(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await rig.host.pause(machine)
        await asyncio.wait_for(rig.host.stop(machine, grace=30), 15)
        state = rig.host.get(machine)
        assert state is not None
        assert (state.life, state.pid) == (Life.STOPPED, None)

    async def test_a_stopped_machine_can_neither_stand_still_nor_go_on(self, rig: Rig) -> None:
        machine = await use.create(rig)
        for call in (
            rig.host.pause(machine),
            rig.host.resume(machine),
            rig.host.suspend(machine),
            rig.host.snapshot(machine, ids.new_snapshot_id()),
        ):
            with pytest.raises(errors.NotRunning):
                await call
        assert use.life(rig, machine) is Life.STOPPED

    async def test_a_suspended_machine_can_neither_be_paused_nor_resumed(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await rig.host.suspend(machine)
        for call in (rig.host.pause(machine), rig.host.resume(machine)):
            with pytest.raises(errors.NotRunning):
                await call
        assert use.life(rig, machine) is Life.SUSPENDED

    async def test_a_machine_nobody_knows_is_not_found(self, rig: Rig) -> None:
        nobody, known = ids.new_machine_id(), await use.create(rig)
        for call in (
            rig.host.pause(nobody),
            rig.host.resume(nobody),
            rig.host.suspend(nobody),
            rig.host.snapshot(nobody, ids.new_snapshot_id()),
            rig.host.rollback(nobody, ids.new_snapshot_id()),
            rig.host.resize(nobody, 100),
            rig.host.claim(nobody, known),
            rig.host.claim(known, nobody),
        ):
            with pytest.raises(errors.NotFound):
                await call

    async def test_machines_that_stand_still_are_found_so_by_another_host_object(self, rig: Rig) -> None:
        paused, suspended = await use.launch(rig), await use.launch(rig)
        counting = {machine: await use.count(rig, machine) for machine in (paused, suspended)}
        await rig.host.pause(paused)
        await rig.host.suspend(suspended)
        await rig.reopen()
        assert (use.life(rig, paused), use.life(rig, suspended)) == (Life.PAUSED, Life.SUSPENDED)
        await rig.host.resume(paused)
        await rig.host.start(suspended)
        for machine, process in counting.items():
            assert await use.tell(rig, machine, process, "two") == "2 two"

    async def test_a_paused_machine_whose_process_dies_has_failed(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await rig.host.pause(machine)
        await rig.kill(machine)
        assert (await death_of(rig, machine)).clean is False
        assert use.life(rig, machine) is Life.FAILED

    @both_ways
    async def test_a_machine_that_stands_still_can_be_destroyed(self, rig: Rig, how: str) -> None:
        machine = await use.launch(rig)
        await still(rig, machine, how)
        await rig.host.destroy(machine)
        assert rig.host.get(machine) is None
        assert machine not in [state.id for state in await (await rig.reopen()).open()]

    async def test_suspend_start_and_destroy_at_once_each_come_to_an_end(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        calls = (rig.host.suspend(machine), rig.host.start(machine), rig.host.destroy(machine))
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), LIMIT)
        assert all(end is None or isinstance(end, errors.HutchError) for end in ends), ends
        await asyncio.wait_for(rig.host.destroy(machine), LIMIT)
        assert rig.host.get(machine) is None

    async def test_many_wishes_at_once_leave_a_machine_that_works(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        counting = await use.count(rig, machine)
        calls = [
            rig.host.pause(machine),
            rig.host.suspend(machine),
            rig.host.start(machine),
            rig.host.snapshot(machine, ids.new_snapshot_id()),
            rig.host.resume(machine),
            rig.host.suspend(machine),
        ]
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), LIMIT)
        assert not [end for end in ends if isinstance(end, BaseException) and not isinstance(end, errors.HutchError)]
        await asyncio.wait_for(rig.host.start(machine), LIMIT)
        assert await use.tell(rig, machine, counting, "two") == "2 two"
