"""Commands in machines: buffered, streamed, or left running."""

import asyncio
import contextlib
import signal

import pytest

from hutch.control import follower
from hutch.control.processes import Chunk, Command, Started, Stream
from hutch.model import errors, ids
from hutch.model.guest import Exit, TerminalSize
from hutch.model.ids import MachineId
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig, soon, turn


async def processes_of(rig: Rig, machine: MachineId) -> list[str]:
    await rig.plane.core.background.close(LIMIT)
    return [info.id for info in await rig.plane.processes.list(rig.me, machine)]


async def begun(rig: Rig, machine: MachineId) -> None:
    """Wait until a command runs in it."""
    async with asyncio.timeout(LIMIT):
        while machine not in rig.world.machines or not rig.world.machines[machine].processes:
            await asyncio.sleep(0)


async def test_a_command_tells_both_streams_and_its_code(rig: Rig) -> None:
    machine = await rig.launch()
    done = await rig.run(machine, "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.exit) == (b"out\n", b"err\n", Exit(code=3))
    assert not done.stdout_truncated
    assert done.pid > 0
    assert 0 < done.duration < LIMIT


async def test_nothing_is_left_of_a_command_that_has_ended(rig: Rig) -> None:
    machine = await rig.launch()
    for _ in range(5):
        await rig.run(machine, "true")
    assert await processes_of(rig, machine) == []


async def test_a_command_starts_a_stopped_machine(rig: Rig) -> None:
    machine = await rig.create()
    assert (await rig.run(machine, "echo up")).stdout == b"up\n"
    assert rig.state(machine) is State.RUNNING
    assert "starting: it is being used" in await rig.messages(machine)


async def test_many_commands_at_once_start_a_machine_once(rig: Rig) -> None:
    machine = await rig.create()
    results = await asyncio.gather(*(rig.run(machine, f"echo {number}") for number in range(10)))
    assert [result.stdout for result in results] == [b"%d\n" % number for number in range(10)]
    assert (await rig.messages(machine)).count("starting: it is being used") == 1


async def test_a_command_waits_for_a_start_that_is_under_way(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.gate = asyncio.Event()
    starting, running = soon(rig.plane.machines.start(rig.me, machine)), soon(rig.run(machine, "echo up"))
    await rig.come(machine, State.STARTING)
    await turn()
    assert not running.done()
    rig.world.faults.gate.set()
    assert (await running).stdout == b"up\n"
    await starting


async def test_a_command_is_told_why_its_machine_does_not_start(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.starts = [errors.ImageUnavailable("registry says no")]
    with pytest.raises(errors.ImageUnavailable, match="registry says no"):
        await rig.run(machine, "true")


async def test_a_missing_program_is_an_exit_of_255_with_words(rig: Rig) -> None:
    machine = await rig.launch()
    done = await rig.plane.processes.run(rig.me, machine, Command(argv=("no-such-program",)))
    assert (done.exit, done.pid) == (Exit(code=255), 0)
    assert done.stderr == b"executable file 'no-such-program' not found in $PATH: No such file or directory\n"


@pytest.mark.parametrize("fields", [{"cwd": "/no/such/directory"}, {"user": "nobody-at-all"}])
async def test_a_missing_directory_or_user_is_an_exit_of_255_too(rig: Rig, fields: dict[str, str]) -> None:
    done = await rig.run(await rig.launch(), "true", **fields)
    assert done.exit == Exit(code=255)
    assert next(iter(fields.values())).encode() in done.stderr


async def test_a_timeout_is_an_exit_of_124(rig: Rig) -> None:
    done = await rig.run(await rig.launch(), "echo begun; sleep 1000", timeout=0.2)
    assert (done.stdout, done.exit.timed_out, done.exit.shell_code) == (b"begun\n", True, 124)


async def test_a_line_is_run_by_a_shell(rig: Rig) -> None:
    done = await rig.plane.processes.run(rig.me, await rig.launch(), Command(shell="echo $((1 + 1))"))
    assert done.stdout == b"2\n"


async def test_stdin_is_written_while_output_is_read(rig: Rig) -> None:
    data = bytes(range(256)) * 4096 * 3
    machine = await rig.launch()
    done = await rig.plane.processes.run(rig.me, machine, Command(argv=("cat",), stdin=data), keep=len(data))
    assert done.stdout == data


async def test_a_command_that_does_not_read_its_stdin_ends_all_the_same(rig: Rig) -> None:
    done = await rig.run(await rig.launch(), "exit 4", stdin=b"x" * 1_000_000)
    assert done.exit == Exit(code=4)


async def test_the_beginning_of_much_output_is_kept_and_the_command_goes_on_to_its_end(rig: Rig) -> None:
    machine = await rig.launch()
    done = await rig.run(machine, "head -c 5000000 /dev/zero; echo done > root/done; echo err >&2")
    assert (len(done.stdout), done.stdout_truncated) == (1024 * 1024, True)
    assert (done.stderr, done.stderr_truncated) == (b"err\n", False)
    assert (await rig.run(machine, "cat root/done")).stdout == b"done\n"


async def test_a_caller_may_ask_for_more_or_less_output(rig: Rig) -> None:
    command = Command(argv=("seq", "1", "300000"))
    machine = await rig.launch()
    some = await rig.plane.processes.run(rig.me, machine, command, keep=10)
    everything = await rig.plane.processes.run(rig.me, machine, command, keep=10_000_000)
    assert (some.stdout, some.stdout_truncated) == (b"1\n2\n3\n4\n5\n", True)
    assert (len(everything.stdout), everything.stdout_truncated) == (1988895, False)


async def test_a_stream_begins_with_its_id_and_ends_with_its_exit(rig: Rig) -> None:
    machine = await rig.launch()
    command = Command(argv=("sh", "-c", "echo out; sleep 0.05; echo err >&2; exit 3"))
    events = [event async for event in rig.plane.processes.stream(rig.me, machine, command)]
    assert isinstance(events[0], Started)
    assert events[1:] == [Chunk(Stream.STDOUT, b"out\n", 0), Chunk(Stream.STDERR, b"err\n", 0), Exit(code=3)]


async def test_a_stream_tells_output_as_it_comes(rig: Rig) -> None:
    machine = await rig.launch()
    stream = rig.plane.processes.stream(rig.me, machine, rig.line("echo first; read line; echo $line"))
    async with contextlib.aclosing(stream) as events:
        started = await anext(events)
        assert isinstance(started, Started)
        assert await anext(events) == Chunk(Stream.STDOUT, b"first\n", 0)
        await rig.plane.processes.write(rig.me, machine, started.process, b"second\n")
        assert await anext(events) == Chunk(Stream.STDOUT, b"second\n", 6)
        assert await anext(events) == Exit(code=0)


async def test_a_stream_is_refused_before_it_begins(rig: Rig) -> None:
    machine, poor = await rig.launch(), await rig.someone("machine:read")
    for principal, id, command, kind in (
        (rig.me, ids.new_machine_id(), Command(argv=("true",)), errors.NotFound),
        (poor, machine, Command(argv=("true",)), errors.Forbidden),
        (rig.me, machine, Command(), errors.InvalidRequest),
    ):
        with pytest.raises(kind):
            await anext(rig.plane.processes.stream(principal, id, command))


async def test_a_stream_of_a_missing_program_ends_with_255(rig: Rig) -> None:
    command = Command(argv=("no-such-program",))
    events = [event async for event in rig.plane.processes.stream(rig.me, await rig.launch(), command)]
    assert [type(event) for event in events] == [Started, Chunk, Exit]
    assert events[2] == Exit(code=255)


async def test_a_client_that_hangs_up_ends_its_command(rig: Rig) -> None:
    machine = await rig.launch()
    line = "trap 'echo ended > root/ended; exit' TERM; echo ready; while :; do sleep 0.01; done"
    async with contextlib.aclosing(rig.plane.processes.stream(rig.me, machine, rig.line(line))) as events:
        await anext(events)
        await anext(events)
    assert await processes_of(rig, machine) == []
    assert (await rig.run(machine, "cat root/ended")).stdout == b"ended\n"


async def test_a_command_that_will_not_end_is_killed_after_a_grace(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "END_GRACE", 0.1)
    machine = await rig.launch()
    stream = rig.plane.processes.stream(
        rig.me, machine, rig.line("trap '' TERM; echo $$; while :; do sleep 0.01; done")
    )
    async with contextlib.aclosing(stream) as events:
        await anext(events)
        await anext(events)
    assert await processes_of(rig, machine) == []


async def test_a_caller_of_run_that_goes_away_ends_its_command(rig: Rig) -> None:
    machine = await rig.launch()
    running = soon(rig.run(machine, "sleep 1000"))
    await begun(rig, machine)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await processes_of(rig, machine) == []


async def test_a_caller_that_is_cut_off_by_the_services_end_leaves_its_command_running(rig: Rig) -> None:
    machine = await rig.launch()
    stream = rig.plane.processes.stream(rig.me, machine, rig.line("echo before; read line; echo after"))
    async with contextlib.aclosing(stream) as events:
        started = await anext(events)
        rig.plane.processes.release()
    assert isinstance(started, Started)
    await rig.restart()
    await rig.plane.processes.write(rig.me, machine, started.process, b"\n")
    assert await rig.output(machine, started.process) == b"before\nafter\n"


async def test_a_caller_that_goes_away_while_the_machine_starts_leaves_it_running(rig: Rig) -> None:
    machine = await rig.create()
    rig.world.faults.gate = asyncio.Event()
    running = soon(rig.run(machine, "true"))
    await rig.come(machine, State.STARTING)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    rig.world.faults.gate.set()
    await rig.come(machine, State.RUNNING)


async def test_a_command_in_the_background_is_not_waited_for(rig: Rig) -> None:
    machine = await rig.launch()
    command = Command(argv=("sh", "-c", "echo begun; read line; echo $line"), background=True, stdin=b"later\n")
    done = await rig.plane.processes.run(rig.me, machine, command)
    assert (done.stdout, done.exit, done.pid > 0) == (b"", Exit(code=0), True)
    assert await rig.output(machine, done.process) == b"begun\nlater\n"


async def test_a_missing_program_in_the_background_is_told_too(rig: Rig) -> None:
    command = Command(argv=("no-such-program",), background=True)
    done = await rig.plane.processes.run(rig.me, await rig.launch(), command)
    assert (done.exit, done.pid) == (Exit(code=255), 0)


async def test_a_process_can_be_used_by_its_id(rig: Rig) -> None:
    machine, processes = await rig.launch(), rig.plane.processes
    info = await processes.start(rig.me, machine, rig.line("cat; exit 5"))
    await processes.write(rig.me, machine, info.id, b"0123456789", end=True)
    assert await rig.output(machine, info.id) == b"0123456789"
    page = await processes.output(rig.me, machine, info.id, (4, 0), limit=3)
    assert (page.stdout_at, page.stdout, page.exit) == (4, b"456", None)
    assert [it.exit for it in await processes.list(rig.me, machine)] == [Exit(code=5)]
    await processes.forget(rig.me, machine, info.id)
    assert await processes.list(rig.me, machine) == []


async def test_a_process_can_be_signalled_and_its_terminal_resized(rig: Rig) -> None:
    machine, processes = await rig.launch(), rig.plane.processes
    command = Command(argv=("sleep", "1000"), terminal=TerminalSize(80, 24))
    info = await processes.start(rig.me, machine, command)
    await processes.resize(rig.me, machine, info.id, TerminalSize(100, 30))
    await processes.signal(rig.me, machine, info.id, signal.SIGKILL)
    page = await processes.output(rig.me, machine, info.id, wait=LIMIT)
    assert page.exit == Exit(signal=9)


async def test_starting_a_missing_program_raises(rig: Rig) -> None:
    with pytest.raises(errors.GuestNotFound):
        await rig.plane.processes.start(rig.me, await rig.launch(), Command(argv=("no-such-program",)))


async def test_reading_on_does_not_start_a_machine(rig: Rig) -> None:
    machine, processes = await rig.create(), rig.plane.processes
    assert await processes.list(rig.me, machine) == []
    for call in (
        processes.output(rig.me, machine, "it"),
        processes.write(rig.me, machine, "it", b""),
        processes.signal(rig.me, machine, "it", 15),
        processes.resize(rig.me, machine, "it", TerminalSize(1, 1)),
        processes.forget(rig.me, machine, "it"),
    ):
        with pytest.raises(errors.NotRunning, match="is stopped: start it first"):
            await call


@pytest.mark.parametrize("number", [0, 65, -9])
async def test_a_signal_that_is_none_is_refused(rig: Rig, number: int) -> None:
    with pytest.raises(errors.InvalidRequest, match="signals are 1 to 64"):
        await rig.plane.processes.signal(rig.me, await rig.launch(), "it", number)


@pytest.mark.parametrize("fields", [{"offsets": (-1, 0)}, {"wait": -1.0}, {"limit": -1}])
async def test_a_page_that_makes_no_sense_is_refused(rig: Rig, fields: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidRequest):
        await rig.plane.processes.output(rig.me, await rig.launch(), "it", **fields)  # type: ignore[arg-type]


async def test_every_call_needs_its_scope(rig: Rig) -> None:
    machine, poor, processes = await rig.launch(), await rig.someone("machine:read"), rig.plane.processes
    for call in (
        processes.run(poor, machine, Command(argv=("true",))),
        processes.start(poor, machine, Command(argv=("true",))),
        processes.output(poor, machine, "it"),
        processes.write(poor, machine, "it", b""),
        processes.signal(poor, machine, "it", 15),
        processes.resize(poor, machine, "it", TerminalSize(1, 1)),
        processes.forget(poor, machine, "it"),
        processes.list(poor, machine),
    ):
        with pytest.raises(errors.Forbidden, match="missing scope: machine:exec"):
            await call


async def test_a_silent_agent_is_a_typed_error_and_the_service_lives(rig: Rig) -> None:
    machine = await rig.launch()
    rig.world.faults.silent.add(machine)
    with pytest.raises(errors.AgentUnavailable):
        await rig.run(machine, "true")
    rig.world.faults.silent.clear()
    assert (await rig.run(machine, "echo up")).stdout == b"up\n"


async def test_use_is_counted_and_its_end_too(rig: Rig) -> None:
    machine = await rig.launch()
    running = soon(rig.run(machine, "sleep 1000"))
    await begun(rig, machine)
    entry = rig.plane.core.fleet.records.get(machine)
    assert entry is not None
    assert entry.busy == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert entry.busy == 0
