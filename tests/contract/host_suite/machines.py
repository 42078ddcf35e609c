"""The life of a machine."""

import asyncio
import contextlib
import dataclasses

import pytest

from contract.host_suite import rig as use
from contract.host_suite.rig import Rig
from hutch.host.interface import Died, Life, Progress
from hutch.model import errors, ids
from hutch.model.ids import MachineId


async def death_of(rig: Rig, machine: MachineId) -> Died:
    async with asyncio.timeout(10):
        async for died in rig.host.deaths():
            if died.machine == machine:
                return died
    raise AssertionError("no death was told")


class MachinesSuite:
    async def test_a_created_machine_is_stopped_and_creating_it_again_changes_nothing(self, rig: Rig) -> None:
        machine = await use.create(rig)
        await rig.host.create(machine, await use.spec(rig))
        assert use.life(rig, machine) is Life.STOPPED

    async def test_a_started_machine_runs_and_answers(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        state = rig.host.get(machine)
        assert state is not None
        assert (state.life, state.reason) == (Life.RUNNING, None)
        assert state.pid is not None
        assert (await use.run(rig, machine, "echo up")).stdout == b"up\n"

    async def test_starting_a_running_machine_changes_nothing(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "read line; echo $line", stdin=True)
        await rig.host.start(machine)
        await rig.host.processes.write(machine, process, b"still here\n", end=True)
        assert (await use.finish(rig, machine, process)).stdout == b"still here\n"

    async def test_many_starts_at_once_start_it_once(self, rig: Rig) -> None:
        machine = await use.create(rig)
        await asyncio.gather(*(rig.host.start(machine) for _ in range(5)))
        assert use.life(rig, machine) is Life.RUNNING

    async def test_a_start_tells_its_progress(self, rig: Rig) -> None:
        told: list[Progress] = []
        await rig.host.start(await use.create(rig), told.append)
        assert all(progress.phase for progress in told)
        assert all(progress.fraction is None or 0 <= progress.fraction <= 1 for progress in told)

    async def test_a_start_that_is_cancelled_can_be_made_again(self, rig: Rig) -> None:
        machine = await use.create(rig)
        starting = asyncio.create_task(rig.host.start(machine))
        await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        await rig.host.start(machine)
        assert (await use.run(rig, machine, "echo up")).stdout == b"up\n"

    async def test_a_stopped_machine_keeps_its_disk_and_nothing_else(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/kept", b"kept")
        process = await use.start(rig, machine, "sleep 1000")
        await rig.host.stop(machine, grace=10)
        assert use.life(rig, machine) is Life.STOPPED
        await rig.host.start(machine)
        assert await use.get(rig, machine, "/root/kept") == b"kept"
        assert process not in [info.id for info in await rig.host.processes.list(machine)]

    async def test_stopping_a_stopped_machine_changes_nothing(self, rig: Rig) -> None:
        machine = await use.create(rig)
        await rig.host.stop(machine, grace=0)
        assert use.life(rig, machine) is Life.STOPPED

    async def test_without_a_grace_a_machine_is_stopped_by_force(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.start(rig, machine, "trap '' TERM; while :; do sleep 1; done")
        await asyncio.wait_for(rig.host.stop(machine, grace=0), 10)
        assert use.life(rig, machine) is Life.STOPPED

    async def test_without_a_grace_a_stop_that_still_waits_is_broken_off(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/kept", b"kept")
        await use.run(rig, machine, "sync")
        await use.start(rig, machine, "trap '' TERM; while :; do sleep 1; done")
        stopping = asyncio.ensure_future(rig.host.stop(machine, grace=300))
        await asyncio.sleep(0)
        await asyncio.wait_for(rig.host.stop(machine, grace=0), 60)
        assert use.life(rig, machine) is Life.STOPPED
        (told,) = await asyncio.gather(stopping, return_exceptions=True)
        assert told is None or isinstance(told, errors.Conflict)
        await rig.host.start(machine)
        assert await use.get(rig, machine, "/root/kept") == b"kept"

    @pytest.mark.parametrize("is_running", [True, False])
    async def test_a_destroyed_machine_is_unknown(self, rig: Rig, is_running: bool) -> None:
        machine = await (use.launch if is_running else use.create)(rig)
        await rig.host.destroy(machine)
        await rig.host.destroy(machine)
        assert rig.host.get(machine) is None
        assert machine not in [state.id for state in await (await rig.reopen()).open()]

    async def test_a_destroyed_machine_can_be_made_anew_with_an_empty_disk(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.put(rig, machine, "/root/kept", b"kept")
        await rig.host.destroy(machine)
        await rig.host.create(machine, await use.spec(rig))
        await rig.host.start(machine)
        with pytest.raises(errors.GuestNotFound):
            await use.get(rig, machine, "/root/kept")

    async def test_an_unknown_machine_is_not_found(self, rig: Rig) -> None:
        nobody = ids.new_machine_id()
        assert rig.host.get(nobody) is None
        for call in (
            rig.host.start(nobody),
            rig.host.stop(nobody, 0),
            rig.host.stats(nobody),
            rig.host.console(nobody),
        ):
            with pytest.raises(errors.NotFound):
                await call

    async def test_a_machine_that_does_not_run_says_so(self, rig: Rig) -> None:
        machine = await use.create(rig)
        for call in (
            rig.host.stats(machine),
            rig.host.processes.list(machine),
            rig.host.files.stat(machine, "/"),
            use.start(rig, machine, "true"),
        ):
            with pytest.raises(errors.NotRunning):
                await call

    async def test_a_death_is_told_with_its_reason(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await rig.kill(machine)
        died = await death_of(rig, machine)
        state = rig.host.get(machine)
        assert state is not None
        assert (died.clean, state.life, state.reason) == (False, Life.FAILED, died.reason)
        assert died.reason

    async def test_a_machine_that_died_starts_again_from_its_disk(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        await use.run(rig, machine, "cd root; echo kept > kept; sync")
        await rig.kill(machine)
        await death_of(rig, machine)
        await rig.host.start(machine)
        assert await use.get(rig, machine, "/root/kept") == b"kept\n"

    async def test_a_command_that_runs_when_the_machine_dies_does_not_hang(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "sleep 1000")
        reading = asyncio.create_task(use.finish(rig, machine, process))
        await asyncio.sleep(0)
        await rig.kill(machine)
        with contextlib.suppress(errors.HutchError):
            result = await asyncio.wait_for(reading, 10)
            assert result.exit.code != 0

    async def test_another_host_object_tells_of_every_machine_and_adopts_what_runs(self, rig: Rig) -> None:
        running, stopped = await use.launch(rig), await use.create(rig)
        pid = rig.host.get(running).pid  # type: ignore[union-attr]
        await rig.reopen()
        assert (use.life(rig, running), use.life(rig, stopped)) == (Life.RUNNING, Life.STOPPED)
        assert rig.host.get(running).pid == pid  # type: ignore[union-attr]
        assert (await use.run(rig, running, "echo up")).stdout == b"up\n"

    async def test_the_machines_own_command_runs_beside_the_agent_at_every_start(self, rig: Rig) -> None:
        machine = await use.launch(rig, command=("sh", "-c", "echo begun; sleep 1000"))
        for _ in range(2):
            page = await rig.host.processes.read(machine, "main", 0, 0, wait=20)
            assert page.stdout == b"begun\n"
            await rig.host.stop(machine, grace=0)
            await rig.host.start(machine)

    async def test_a_running_guest_tells_of_itself(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        stats = await rig.host.stats(machine)
        assert 0 < stats.memory_available <= stats.memory_total <= 128 * 2**20
        assert 0 < stats.disk_available <= stats.disk_total
        assert stats.processes > 0

    async def test_a_console_is_told_from_where_it_was_read(self, rig: Rig) -> None:
        machine = await use.launch(rig, command=("sh", "-c", "echo begun; sleep 1000"))
        seen = await rig.host.console(machine)
        whole = seen.text
        async with asyncio.timeout(30):
            while b"begun\n" not in whole:
                await asyncio.sleep(0.05)
                seen = await rig.host.console(machine, seen.end)
                whole += seen.text
        again = await rig.host.console(machine, seen.end)
        assert again.text.count(b"begun\n") == 0
        assert whole.count(b"begun\n") == 1
        assert (await rig.host.console(machine)).text.count(b"begun\n") == 1
        await rig.host.pause(machine)
        paused = await rig.host.console(machine, again.end)
        await rig.host.resume(machine)
        assert b"begun\n" not in (await rig.host.console(machine, paused.end)).text
        stranger = dataclasses.replace(again.end, run="another", at=10**9, command="another")
        assert b"begun\n" in (await rig.host.console(machine, stranger)).text

    async def test_a_machine_tells_what_it_is_run_with(self, rig: Rig) -> None:
        machine = await use.create(rig)
        rest = rig.host.facts(machine)
        assert (rest.pid, rest.control_socket) == (None, None)
        await rig.host.start(machine)
        it = rig.host.facts(machine)
        assert it.pid == rig.host.get(machine).pid  # type: ignore[union-attr]
        assert (it.kernel, it.root_image) == (rest.kernel, rest.root_image)
        assert it.kernel_arguments
        await rig.reopen()
        assert rig.host.facts(machine) == it
        await rig.host.stop(machine, grace=0)
        assert rig.host.facts(machine) == rest
        with pytest.raises(errors.NotFound):
            rig.host.facts(ids.new_machine_id())

    async def test_the_box_tells_what_it_is_and_has(self, rig: Rig) -> None:
        capacity = await rig.host.capacity()
        assert 0 < capacity.memory_free_mib <= capacity.memory_mib
        assert 0 < capacity.disk_free_gib <= capacity.disk_gib
        assert capacity.cpus > 0
        assert rig.host.info().accelerator
