"""Processes: what they are started with, and how they end."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from contract.agent.support import finish, is_alive, run, until
from hutch.host.agent.client import Agent
from hutch.model import errors, guest


async def test_a_short_command_is_one_round_trip(agent: Agent) -> None:
    spec = guest.ProcessSpec(("sh", "-c", "echo out; echo err >&2; exit 3"))
    pid, page = await agent.processes.start_and_read("p", spec, 5)
    assert pid > 0
    assert page == guest.Output(b"out\n", 0, b"err\n", 0, guest.Exit(code=3))


async def test_arguments_arrive_as_they_are(agent: Agent) -> None:
    arguments = ["", " ", "a b", "$HOME", "'\"", "ü\n", "-e"]
    script = "import sys; sys.stdout.write(repr(sys.argv[1:]))"
    result = await run(agent, "python3", "-c", script, *arguments)
    assert result.stdout.decode() == repr(arguments)


async def test_its_environment_is_the_logins_and_the_callers_and_nothing_else(agent: Agent) -> None:
    result = await run(agent, "env", env={"A": "1", "HOME": "/nowhere"})
    names = {line.partition("=")[0] for line in result.stdout.decode().splitlines()}
    assert names == {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "A"}
    assert b"HOME=/nowhere\n" in result.stdout


async def test_it_inherits_three_descriptors_and_no_more(agent: Agent) -> None:
    result = await run(agent, "sh", "-c", "ls /proc/$$/fd", stdin=True)
    assert result.stdout.split() == [b"0", b"1", b"2"]


async def test_it_begins_with_default_signals_in_a_session_of_its_own(agent: Agent) -> None:
    result = await run(agent, "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    assert {line.split()[1] for line in result.stdout.splitlines()} == {b"0" * 16}
    result = await run(agent, "sh", "-c", "cut -d' ' -f1,5,6 /proc/$$/stat; umask")
    ids, umask = result.stdout.decode().splitlines()
    assert len(set(ids.split())) == 1
    assert umask == "0022"


async def test_a_working_directory_is_entered(agent: Agent, tmp_path: Path) -> None:
    assert (await run(agent, "pwd")).stdout == b"/\n"
    assert (await run(agent, "pwd", cwd=str(tmp_path))).stdout.decode() == f"{tmp_path}\n"
    with pytest.raises(errors.GuestNotFound, match="/no/such"):
        await run(agent, "pwd", cwd="/no/such")


async def test_a_user_is_become_by_root_and_by_nobody_else(agent: Agent) -> None:
    if os.geteuid() == 0:
        result = await run(agent, "sh", "-c", "id -un; id -u; id -g; echo $HOME", user="nobody")
        assert result.stdout.split()[:2] == [b"nobody", b"65534"]
        result = await run(agent, "sh", "-c", "id -u; id -g", user="1234:5678")
        assert result.stdout.split() == [b"1234", b"5678"]
    else:
        with pytest.raises(errors.GuestError, match="not permitted"):
            await run(agent, "id", user="nobody")


async def test_an_unknown_user_is_told(agent: Agent) -> None:
    with pytest.raises(errors.GuestError, match="user 'who-is-this'"):
        await run(agent, "id", user="who-is-this")


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "./no-such-program", ""])
async def test_a_missing_program_is_told_in_the_words_callers_know(agent: Agent, program: str) -> None:
    with pytest.raises(errors.GuestNotFound) as caught:
        await run(agent, program)
    message = f"executable file '{program}' not found in $PATH: No such file or directory"
    assert caught.value.message == message


async def test_a_program_that_cannot_be_executed_is_an_error_of_another_kind(agent: Agent, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no program at all")
    with pytest.raises(errors.GuestError, match="Permission denied") as caught:
        await run(agent, str(script))
    assert not isinstance(caught.value, errors.GuestNotFound)
    script.chmod(0o755)
    with pytest.raises(errors.GuestError, match="Exec format error"):
        await run(agent, str(script))


async def test_a_program_is_looked_up_in_the_new_processs_path(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\necho mine")
    (tmp_path / "mine").chmod(0o755)
    assert (await run(agent, "mine", env={"PATH": f"/no/such:{tmp_path}:/bin"})).stdout == b"mine\n"


async def test_input_is_read_to_its_end(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("cat",), stdin=True))
    data = os.urandom(700_000)
    await agent.processes.write("p", b"")
    writing = agent.processes.write("p", data, end=True)
    reading = finish(agent, "p")
    _, result = await asyncio.gather(writing, reading)
    assert result.stdout == data


async def test_without_input_it_reads_the_end_at_once(agent: Agent) -> None:
    assert (await run(agent, "cat")).exit == guest.Exit(code=0)
    await agent.processes.start("p", guest.ProcessSpec(("sleep", "60")))
    with pytest.raises(errors.Conflict, match="nobody reads"):
        await agent.processes.write("p", b"x")


async def test_writing_to_a_process_that_reads_no_more_is_a_conflict(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("sh", "-c", "exec 0<&-; echo closed; sleep 60"), stdin=True))
    page = await agent.processes.read("p", 0, 0, 5)
    assert page.stdout == b"closed\n"
    with pytest.raises(errors.Conflict, match="nobody reads"):
        await agent.processes.write("p", b"x" * 200_000)


async def test_a_write_that_waits_ends_when_the_process_does(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("sleep", "60"), stdin=True))
    writing = asyncio.create_task(agent.processes.write("p", b"x" * 500_000))
    await agent.processes.list()
    await agent.processes.signal("p", signal.SIGKILL)
    with pytest.raises(errors.Conflict, match="nobody reads"):
        await writing
    assert (await finish(agent, "p")).exit == guest.Exit(signal=signal.SIGKILL)


async def test_a_timeout_kills_the_whole_group(agent: Agent) -> None:
    result = await run(agent, "sh", "-c", "sleep 60 & echo $!; wait", timeout=0.3)
    assert result.exit == guest.Exit(signal=signal.SIGKILL, timed_out=True)
    child = int(result.stdout)
    await until(lambda: not is_alive(child), "the child is gone")


async def test_a_process_that_ends_in_time_is_not_timed_out(agent: Agent) -> None:
    assert (await run(agent, "true", timeout=30)).exit == guest.Exit(code=0)


async def test_a_signal_reaches_the_whole_group(agent: Agent) -> None:
    script = "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.05; done"
    await agent.processes.start("p", guest.ProcessSpec(("sh", "-c", script)))
    assert (await agent.processes.read("p", 0, 0, 5)).stdout == b"ready\n"
    await agent.processes.signal("p", signal.SIGUSR1)
    result = await finish(agent, "p")
    assert (result.stdout, result.exit) == (b"ready\ngot it\n", guest.Exit(code=7))
    await agent.processes.signal("p", signal.SIGUSR1)


@pytest.mark.parametrize("number", [0, 65, 1000])
async def test_a_number_that_is_no_signal_is_refused(agent: Agent, number: int) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("sleep", "60")))
    with pytest.raises(errors.GuestError, match="signal"):
        await agent.processes.signal("p", number)


async def test_an_id_is_taken_until_it_is_forgotten(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("true",)))
    with pytest.raises(errors.Conflict, match="'p'"):
        await agent.processes.start("p", guest.ProcessSpec(("true",)))
    await agent.processes.forget("p")
    assert (await run(agent, "true", p="p")).exit.code == 0


async def test_forgetting_a_running_process_kills_it(agent: Agent) -> None:
    pid = await agent.processes.start("p", guest.ProcessSpec(("sleep", "60")))
    await agent.processes.forget("p")
    await until(lambda: not is_alive(pid), "the process is gone")
    with pytest.raises(errors.GuestNotFound):
        await agent.processes.read("p", 0, 0, 0)


async def test_forgetting_ends_a_read_that_waits(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("sleep", "60")))
    reading = asyncio.create_task(agent.processes.read("p", 0, 0, 30))
    await agent.processes.list()
    await agent.processes.forget("p")
    with pytest.raises(errors.GuestNotFound):
        await reading


async def test_the_list_tells_all_oldest_first(agent: Agent) -> None:
    for number in range(5):
        await agent.processes.start(f"p{number}", guest.ProcessSpec(("sh", "-c", f"echo {number}; exit {number}")))
        await finish(agent, f"p{number}")
    await agent.processes.start("long", guest.ProcessSpec(("sleep", "60")))
    found = await agent.processes.list()
    assert [info.id for info in found] == ["p0", "p1", "p2", "p3", "p4", "long"]
    assert [info.exit.code for info in found[:5] if info.exit] == [0, 1, 2, 3, 4]
    assert (found[3].stdout_bytes, found[3].argv) == (2, ("sh", "-c", "echo 3; exit 3"))
    assert found[5].exit is None


async def test_a_list_longer_than_one_answer_goes_on(agent: Agent) -> None:
    for number in range(60):
        await agent.processes.start(f"p{number}", guest.ProcessSpec(("true", "x" * 3000)))
    assert [info.id for info in await agent.processes.list()] == [f"p{number}" for number in range(60)]


async def test_only_the_last_256_ended_processes_are_kept(agent: Agent) -> None:
    for number in range(300):
        await agent.processes.start_and_read(f"p{number}", guest.ProcessSpec(("/bin/true",)), 5)
    found = [info.id for info in await agent.processes.list()]
    assert found == [f"p{number}" for number in range(44, 300)]


async def test_long_arguments_run_and_are_listed_shortened(agent: Agent) -> None:
    result = await run(agent, "sh", "-c", "echo ${#1}", "sh", "é" * 50_000, p="a")
    assert result.stdout in (b"50000\n", b"100000\n")
    await agent.processes.start("b", guest.ProcessSpec(("sleep", "60", *["y" * 100] * 100)))
    assert sum(map(len, (await agent.processes.list())[0].argv)) < 5000


async def test_too_long_an_argument_list_is_an_error(agent: Agent) -> None:
    with pytest.raises(errors.GuestError, match="Argument list too long"):
        await run(agent, "true", "x" * 200_000)
    with pytest.raises(errors.InvalidRequest, match="too long"):
        await run(agent, "true", *["x" * 100_000] * 11)
    assert (await run(agent, "true")).exit.code == 0


@pytest.mark.parametrize("name", ["", "x" * 65])
async def test_an_id_has_1_to_64_bytes(agent: Agent, name: str) -> None:
    with pytest.raises(errors.GuestError, match="1 to 64"):
        await agent.processes.start(name, guest.ProcessSpec(("true",)))
