"""Shells kept by name: lines run in a terminal that lives on."""

import asyncio
from typing import Any

import pytest

from hutch.control import shells
from hutch.control.commands import Command, Completed
from hutch.model import errors
from hutch.model.guest import Output
from hutch.model.ids import MachineId
from hutch.model.states import State
from unit.control.rig import LIMIT, Rig

SH = {"SHELL": "/bin/sh"}
LONG = 60.0


async def run(
    rig: Rig, machine: MachineId, line: str, name: str = "main", timeout: float | None = LONG, **env: str
) -> Completed:
    command = Command(shell=line, timeout=timeout, env=SH | env)
    async with asyncio.timeout(LONG):
        return await rig.plane.shells.run(rig.me, machine, name, command)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
async def test_directory_variables_and_functions_stay_from_one_line_to_the_next(rig: Rig, shell: str) -> None:
    machine = await rig.create()
    await run(rig, machine, "mkdir -p deep/down; cd deep/down; X=1; f() { return 7; }", SHELL=shell)
    done = await run(rig, machine, 'echo "$X ${PWD##*/}"; f')
    assert (done.stdout, done.exit.code) == (b"1 down\n", 7)
    assert rig.state(machine) is State.RUNNING


@pytest.mark.parametrize(
    ("line", "stdout", "code"),
    [
        ("printf no-newline", b"no-newline", 0),
        ("echo a; return 5; echo b", b"a\n", 5),
        ("cat <<END\ntwo\nlines\nEND\n", b"two\nlines\n", 0),
        ("printf '\\033]133;D;0\\007'; echo on", b"\x1b]133;D;0\x07on\n", 0),
        ("PS1='new> '; echo a # comment", b"a\n", 0),
        ("echo 'it'\"'\"'s'; false", b"it's\n", 1),
        ("set -u; set +u; exec 3>&1; echo x >&3", b"x\n", 0),
    ],
)
async def test_its_own_output_and_code_are_told(rig: Rig, line: str, stdout: bytes, code: int) -> None:
    done = await run(rig, await rig.launch(), line)
    assert (done.stdout, done.exit.code) == (stdout, code)


@pytest.mark.parametrize("line", ["echo (", "set -u; echo $NOPE_AT_ALL", ". /no/such/file", "cat <<END\nnever"])
async def test_a_line_that_is_broken_off_is_told_by_the_next_prompt(rig: Rig, line: str) -> None:
    machine = await rig.launch()
    await run(rig, machine, "KEPT=yes")
    done = await run(rig, machine, line)
    assert (not done.exit.timed_out, done.exit.code is not None) == (True, True)
    assert (await run(rig, machine, "set +u; echo $KEPT")).stdout == b"yes\n"


@pytest.mark.parametrize(
    ("line", "grace"),
    [
        ("echo begun; sleep 1000", LONG),
        ("while :; do sleep 0.1; done", LONG),
        ("sh -c 'trap \"\" INT; sleep 1000'", 0.5),
    ],
)
async def test_what_ran_out_of_time_is_interrupted_and_the_terminal_stays(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, line: str, grace: float
) -> None:
    monkeypatch.setattr(shells, "GRACE", grace)
    monkeypatch.setattr(shells, "PATIENCE", LONG)
    machine = await rig.launch()
    await run(rig, machine, "KEPT=yes")
    assert (await run(rig, machine, line, timeout=1.0)).exit.timed_out
    assert (await run(rig, machine, "echo $KEPT", timeout=None)).stdout == b"yes\n"


async def test_a_shell_that_will_not_end_a_line_ends_with_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shells, "GRACE", 0.2)
    monkeypatch.setattr(shells, "PATIENCE", 0.2)
    machine = await rig.launch()
    await run(rig, machine, "LOST=yes")
    assert (await run(rig, machine, "trap '' INT HUP; while :; do :; done", timeout=1.0)).exit.timed_out
    assert (await run(rig, machine, "echo new${LOST-}")).stdout == b"new\n"


async def begun(rig: Rig, machine: MachineId, line: str) -> "asyncio.Task[Completed]":
    """A line that runs."""
    running = asyncio.create_task(run(rig, machine, f"touch begun; {line}"))
    async with asyncio.timeout(LONG):
        while not (await rig.run(machine, "ls begun")).stdout:
            await asyncio.sleep(0.02)
    return running


async def test_what_its_caller_leaves_is_interrupted(rig: Rig) -> None:
    machine = await rig.launch()
    await run(rig, machine, "KEPT=yes")
    left = await begun(rig, machine, "sleep 1000")
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    assert (await run(rig, machine, "echo $KEPT")).stdout == b"yes\n"


async def test_what_its_caller_leaves_before_it_was_seen_to_begin_is_interrupted_too(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await rig.launch()
    await run(rig, machine, "KEPT=yes")
    seen, host = asyncio.Event(), rig.plane.core.fleet.host.processes
    real = host.read

    async def read(machine: MachineId, process: str, *its: Any, **more: Any) -> Output:
        if process.startswith("tty-"):
            await seen.wait()
        return await real(machine, process, *its, **more)

    monkeypatch.setattr(host, "read", read)
    left = await begun(rig, machine, "sleep 1000")
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    seen.set()
    assert (await run(rig, machine, "echo $KEPT", timeout=30.0)).stdout == b"yes\n"


async def test_nobody_is_woken_for_a_line_that_is_left(rig: Rig) -> None:
    machine = await rig.launch()
    await run(rig, machine, "KEPT=yes")
    left = await begun(rig, machine, "sleep 1000")
    await rig.plane.machines.suspend(rig.me, machine)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    await rig.settle()
    assert rig.state(machine) is State.SUSPENDED
    assert (await run(rig, machine, "echo $KEPT", timeout=30.0)).stdout == b"yes\n"


async def test_nothing_is_typed_into_a_machine_that_was_put_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await rig.launch()
    snapshot = await rig.plane.snapshots.create(rig.me, machine)
    running = await begun(rig, machine, "sleep 1000")
    typed, host = [], rig.plane.core.fleet.host.processes

    async def write(*its: Any) -> None:
        typed.append(its)

    monkeypatch.setattr(host, "write", write)
    monkeypatch.setattr(shells, "GRACE", 0.2)
    await rig.plane.machines.rollback(rig.me, machine, snapshot.id)
    with pytest.raises(errors.NotRunning):
        await running
    await rig.settle()
    assert not typed


async def test_what_is_no_name_wakes_nothing(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.machines.suspend(rig.me, machine)
    with pytest.raises(errors.Flawed):
        await run(rig, machine, "true", "a b")
    assert rig.state(machine) is State.SUSPENDED


async def test_lines_of_one_terminal_run_one_after_the_other(rig: Rig) -> None:
    machine = await rig.launch()
    done = await asyncio.gather(*(run(rig, machine, f"N=${{N-}}{n}; sleep 0.2; echo $N") for n in range(3)))
    assert sorted(len(it.stdout) for it in done) == [2, 3, 4]


async def test_a_line_that_ends_the_shell_ends_the_terminal(rig: Rig) -> None:
    machine = await rig.launch()
    done = await run(rig, machine, "LOST=yes; echo bye; exit 4")
    assert (done.stdout, done.exit.code) == (b"bye\n", 4)
    assert (await run(rig, machine, "echo new${LOST-}")).stdout == b"new\n"
    there = await rig.plane.terminals.list(rig.me, machine)
    assert [(it.name, it.exit is None) for it in there] == [("main", False), ("main", True)]


async def test_a_terminal_that_somebody_opened_takes_lines_too(rig: Rig) -> None:
    machine = await rig.launch()
    await rig.plane.terminals.open(rig.me, machine, Command(env=SH), "theirs")
    assert (await run(rig, machine, "echo here", "theirs")).stdout == b"here\n"


async def test_a_shell_outlives_the_service(rig: Rig) -> None:
    machine = await rig.launch()
    await run(rig, machine, "KEPT=yes")
    await rig.restart()
    assert (await run(rig, machine, "echo $KEPT")).stdout == b"yes\n"


async def test_much_output_is_cut(rig: Rig) -> None:
    machine = await rig.launch()
    command = Command(shell="head -c 3000000 /dev/zero | tr '\\0' x", timeout=LONG, env=SH)
    done = await rig.plane.shells.run(rig.me, machine, "main", command, keep=1000)
    assert (done.stdout_truncated, done.exit.code) == (True, 0)
    assert len(done.stdout) <= 1000


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "é"])
async def test_what_is_no_name_is_refused(rig: Rig, name: str) -> None:
    with pytest.raises(errors.Flawed) as refused:
        await run(rig, await rig.launch(), "true", name)
    assert refused.value.flaw == "invalid_session_id"


async def test_nothing_of_a_line_is_left_in_the_guest(rig: Rig) -> None:
    machine = await rig.launch()
    await run(rig, machine, "true")
    root = rig.world.machines[machine].root
    assert not list(root.glob("run/hutch/t/*"))
    await run(rig, machine, "exit")
    assert not list(root.glob("run/hutch/t/*"))


async def test_the_log_has_the_lines_with_their_times_and_what_was_run(rig: Rig) -> None:
    machine = await rig.launch()
    await run(rig, machine, "printf '\\033[31mred\\033[0m\\nab\\bc\\n'")
    terminal = await rig.plane.terminals.find(rig.me, machine, "main")
    log = await rig.plane.terminals.log(rig.me, terminal)
    texts = [line.text for line in log]
    assert not [text for text in texts if "/run/hutch" in text]
    assert texts[texts.index("red") - 1].startswith("$ printf ")
    assert texts[texts.index("red") + 1] == "ac"
    assert {line.at for line in log if line.text == "red"} == {rig.clock.now()}
    assert b"\x1b[31mred" in await rig.plane.terminals.screen(rig.me, terminal)
    await rig.restart()
    assert "red" in [line.text for line in await rig.plane.terminals.log(rig.me, terminal)]


async def test_who_may_not_run_commands_may_not_run_lines(rig: Rig) -> None:
    machine = await rig.launch()
    someone = await rig.someone("machine:read")
    with pytest.raises(errors.Forbidden):
        await rig.plane.shells.run(someone, machine, "main", Command(shell="true"))
    assert LIMIT
