"""Processes in guests."""

import asyncio
import hashlib
import signal
import time

import pytest

from contract.host_suite import rig as use
from contract.host_suite.rig import Rig
from hutch.model import errors, guest
from hutch.model.guest import Exit, Overflow, ProcessSpec, TerminalSize

MIB = 1024 * 1024


class ProcessesSuite:
    async def test_a_process_tells_both_streams_and_its_code(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        result = await use.run(rig, machine, "echo out; echo err >&2; exit 3")
        assert result == use.Result(b"out\n", b"err\n", Exit(code=3))

    async def test_its_environment_is_laid_over_the_machines(self, rig: Rig) -> None:
        machine = await use.launch(rig, env={"A": "machine", "B": "machine"})
        result = await use.run(rig, machine, 'echo "$A $B $C"', env={"B": "command", "C": "a b\n'\"$"})
        assert result.stdout == b"machine command a b\n'\"$\n"

    async def test_arguments_arrive_as_they_are(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        words = ("a b", "", "'\"$x\\", "ü", "-n", "*")
        spec = ProcessSpec(("sh", "-c", 'for word; do printf "%s|" "$word"; done', "sh", *words))
        await rig.host.processes.start(machine, "it", spec)
        assert (await use.finish(rig, machine, "it")).stdout.decode() == "|".join(words) + "|"

    async def test_it_runs_in_the_machines_workdir_unless_it_names_another(self, rig: Rig) -> None:
        machine = await use.launch(rig, workdir="/srv/down")
        await use.put(rig, machine, "/srv/down/file", b"work")
        await use.put(rig, machine, "/srv/file", b"srv")
        assert (await use.run(rig, machine, "cat file")).stdout == b"work"
        assert (await use.run(rig, machine, "cat file", cwd="/srv")).stdout == b"srv"

    async def test_a_missing_program_is_not_found_by_its_name(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        with pytest.raises(errors.GuestNotFound, match="executable file 'no-such-program' not found in"):
            await rig.host.processes.start(machine, "it", ProcessSpec(("no-such-program",)))
        with pytest.raises(errors.GuestNotFound):
            await rig.host.processes.read(machine, "it", 0, 0, wait=0)

    async def test_a_missing_directory_is_not_found_by_its_name(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        with pytest.raises(errors.GuestNotFound, match="/no/such/directory"):
            await use.start(rig, machine, "true", cwd="/no/such/directory")

    async def test_an_unknown_user_is_refused_by_name(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        with pytest.raises(errors.GuestError, match="nobody-at-all"):
            await use.start(rig, machine, "true", user="nobody-at-all")

    async def test_an_id_that_is_taken_is_a_conflict(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "sleep 1000")
        with pytest.raises(errors.Conflict):
            await rig.host.processes.start(machine, process, ProcessSpec(("true",)))

    async def test_output_can_be_read_again_from_any_offset(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "echo 0123456789; echo abcdef >&2")
        await use.finish(rig, machine, process)
        page = await rig.host.processes.read(machine, process, 4, 2, wait=0)
        assert (page.stdout_at, page.stdout) == (4, b"456789\n")
        assert (page.stderr_at, page.stderr) == (2, b"cdef\n")
        assert page.exit == Exit(code=0)

    async def test_the_exit_is_told_only_with_the_last_bytes(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "echo 0123456789")
        await use.finish(rig, machine, process)
        first = await rig.host.processes.read(machine, process, 0, 0, wait=0, limit=4)
        assert (first.stdout, first.exit) == (b"0123", None)
        last = await rig.host.processes.read(machine, process, 4, 0, wait=0, limit=7)
        assert (last.stdout, last.exit) == (b"456789\n", Exit(code=0))

    async def test_a_page_is_empty_when_there_is_nothing_yet(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "sleep 1000")
        page = await rig.host.processes.read(machine, process, 0, 0, wait=0)
        assert page == guest.Output(b"", 0, b"", 0)

    async def test_a_reader_that_waits_is_answered_as_soon_as_there_is_anything(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "read line; echo $line; sleep 1000", stdin=True)
        reading = asyncio.create_task(rig.host.processes.read(machine, process, 0, 0, wait=60))
        await rig.host.processes.write(machine, process, b"now\n")
        assert (await asyncio.wait_for(reading, 20)).stdout == b"now\n"

    async def test_not_a_byte_of_much_output_is_lost(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        result = await use.run(rig, machine, "seq 1 400000")
        expected = b"".join(b"%d\n" % number for number in range(1, 400001))
        assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(expected).digest()

    async def test_a_process_nobody_reads_waits_and_loses_nothing(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "head -c 3145728 /dev/zero; echo end")
        await self.wait_until_written(rig, machine, process, MIB // 2)
        result = await use.finish(rig, machine, process)
        assert (len(result.stdout), result.stdout[-4:]) == (3 * MIB + 4, b"end\n")

    async def test_with_drop_a_process_nobody_reads_goes_on_and_loses_the_oldest(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "head -c 3145728 /dev/zero; echo end", overflow=Overflow.DROP)
        await self.wait_until_written(rig, machine, process, 3 * MIB + 4)
        page = await rig.host.processes.read(machine, process, 3 * MIB, 0, wait=20)
        assert (page.stdout, page.exit) == (b"end\n", Exit(code=0))
        oldest = await rig.host.processes.read(machine, process, 0, 0, wait=0)
        assert 0 < oldest.stdout_at < 3 * MIB
        assert oldest.exit is None

    async def wait_until_written(self, rig: Rig, machine: use.MachineId, process: str, size: int) -> None:
        async with asyncio.timeout(20):
            while True:
                info = next(info for info in await rig.host.processes.list(machine) if info.id == process)
                if info.stdout_bytes >= size and (info.exit is not None or size < 3 * MIB):
                    return
                await asyncio.sleep(0.01)

    async def test_stdin_arrives_whole_and_ends(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        data = bytes(range(256)) * 8192
        process = await use.start(rig, machine, "cat", stdin=True)
        writing = asyncio.create_task(rig.host.processes.write(machine, process, data, end=True))
        assert (await use.finish(rig, machine, process)).stdout == data
        await writing

    async def test_writes_arrive_in_their_order(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "cat", stdin=True)
        await asyncio.gather(*(rig.host.processes.write(machine, process, b"%d " % number) for number in range(20)))
        await rig.host.processes.write(machine, process, b"", end=True)
        result = await use.finish(rig, machine, process)
        assert result.stdout == b"".join(b"%d " % number for number in range(20))

    async def test_without_stdin_a_process_reads_the_end_at_once(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        assert (await use.run(rig, machine, "cat; echo done")).stdout == b"done\n"

    async def test_a_signal_reaches_the_whole_group(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "sleep 1000 & echo ready; wait")
        await rig.host.processes.read(machine, process, 0, 0, wait=20)
        await rig.host.processes.signal(machine, process, signal.SIGTERM)
        result = await asyncio.wait_for(use.finish(rig, machine, process), 20)
        assert result.exit == Exit(signal=signal.SIGTERM)
        assert result.exit.shell_code == 143
        await rig.host.processes.signal(machine, process, signal.SIGTERM)

    async def test_after_its_timeout_the_whole_group_is_killed(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        began = time.monotonic()
        result = await use.run(rig, machine, "trap '' TERM; echo begun; sleep 1000 & sleep 1000", timeout=0.3)
        assert time.monotonic() - began < 20
        assert (result.stdout, result.exit.timed_out, result.exit.shell_code) == (b"begun\n", True, 124)

    async def test_a_daemon_left_behind_does_not_keep_the_exit_waiting(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        result = await asyncio.wait_for(use.run(rig, machine, "sleep 1000 & echo started"), 20)
        assert result == use.Result(b"started\n", b"", Exit(code=0))

    async def test_a_terminal_is_one_and_has_a_size(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        line = "test -t 0 && test -t 1 && stty size; read line; stty size; echo err >&2; exit 7"
        process = await use.start(rig, machine, line, stdin=True, terminal=TerminalSize(100, 30))
        await rig.host.processes.read(machine, process, 0, 0, wait=20)
        await rig.host.processes.resize(machine, process, TerminalSize(40, 10))
        await rig.host.processes.write(machine, process, b"\n")
        result = await use.finish(rig, machine, process)
        words = result.stdout.split()
        assert (words, result.stderr, result.exit) == ([b"30", b"100", b"10", b"40", b"err"], b"", Exit(code=7))

    async def test_all_processes_are_told_oldest_first(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        first, second = await use.start(rig, machine, "echo 12345"), await use.start(rig, machine, "sleep 1000")
        await use.finish(rig, machine, first)
        infos = [info for info in await rig.host.processes.list(machine) if info.id in (first, second)]
        assert [info.id for info in infos] == [first, second]
        assert (infos[0].exit, infos[0].stdout_bytes, infos[0].argv[:2]) == (Exit(code=0), 6, ("sh", "-c"))
        assert infos[1].exit is None
        assert infos[1].pid > 0

    async def test_a_forgotten_process_is_killed_and_gone(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "trap '' TERM; sleep 1000")
        await rig.host.processes.forget(machine, process)
        await rig.host.processes.forget(machine, process)
        assert process not in [info.id for info in await rig.host.processes.list(machine)]

    async def test_a_process_nobody_started_is_not_found(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        for call in (
            rig.host.processes.read(machine, "nobody", 0, 0, wait=0),
            rig.host.processes.write(machine, "nobody", b"x"),
            rig.host.processes.signal(machine, "nobody", 15),
            rig.host.processes.resize(machine, "nobody", TerminalSize(1, 1)),
        ):
            with pytest.raises(errors.GuestNotFound):
                await call

    async def test_a_command_and_its_output_outlive_the_host_object(self, rig: Rig) -> None:
        machine = await use.launch(rig)
        process = await use.start(rig, machine, "echo before; read line; seq 1 50000", stdin=True)
        first = await rig.host.processes.read(machine, process, 0, 0, wait=20)
        await rig.reopen()
        await rig.host.processes.write(machine, process, b"go on\n", end=True)
        rest = await use.finish(rig, machine, process, stdout_at=len(first.stdout))
        assert first.stdout + rest.stdout == b"before\n" + b"".join(b"%d\n" % number for number in range(1, 50001))
