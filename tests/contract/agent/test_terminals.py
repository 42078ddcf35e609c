"""Terminals: one stream, a size, and signals from keys."""

import asyncio
import signal
from pathlib import Path

import pytest

from contract.agent.support import LIMIT, Serving, cpu_ticks, finish, run
from hutch.host.agent.client import Agent
from hutch.model import errors, guest

SIZE = guest.TerminalSize(columns=101, rows=33)


async def expect(agent: Agent, p: str, text: bytes, at: int = 0) -> int:
    """Read until the text has come: the offset behind it."""
    seen = b""
    async with asyncio.timeout(LIMIT):
        while text not in seen:
            page = await agent.processes.read(p, at + len(seen), 0, 5)
            assert page.exit is None, seen
            seen += page.stdout
    return at + seen.index(text) + len(text)


async def test_all_three_are_the_terminal_and_it_has_the_size(agent: Agent) -> None:
    result = await run(
        agent, "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM >&2", terminal=SIZE
    )
    assert (result.stdout, result.stderr) == (b"33 101\r\nxterm-256color\r\n", b"")


async def test_it_is_the_controlling_terminal(agent: Agent) -> None:
    assert (await run(agent, "sh", "-c", "echo here > /dev/tty", terminal=SIZE)).stdout == b"here\r\n"


async def test_a_resize_is_seen_and_signalled(agent: Agent) -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done"
    await agent.processes.start("p", guest.ProcessSpec(("sh", "-c", script), terminal=SIZE))
    at = await expect(agent, "p", b"ready\r\n")
    await agent.processes.resize("p", guest.TerminalSize(columns=80, rows=24))
    page = await agent.processes.read("p", at, 0, 5)
    assert page.stdout.startswith(b"24 80")


async def test_input_is_echoed_and_read(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("cat",), terminal=SIZE))
    await agent.processes.write("p", b"hello\n")
    await expect(agent, "p", b"hello\r\nhello\r\n")
    await agent.processes.write("p", b"", end=True)
    assert (await finish(agent, "p")).exit == guest.Exit(code=0)


async def test_a_key_interrupts(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("cat",), terminal=SIZE))
    await agent.processes.write("p", b"hello\n")
    await expect(agent, "p", b"hello\r\nhello\r\n")
    await agent.processes.write("p", b"\x03")
    assert (await finish(agent, "p")).exit.signal == signal.SIGINT


async def test_much_input_to_a_terminal_nobody_reads_waits_and_ends_with_it(agent: Agent) -> None:
    await agent.processes.start(
        "p", guest.ProcessSpec(("sh", "-c", "stty raw -echo; echo ready; sleep 60"), terminal=SIZE)
    )
    await expect(agent, "p", b"ready")
    writing = asyncio.create_task(agent.processes.write("p", b"x" * 200_000))
    await agent.processes.list()
    assert not writing.done()
    await agent.processes.signal("p", signal.SIGKILL)
    with pytest.raises(errors.Conflict):
        await writing


async def test_much_output_of_a_terminal_comes_whole(agent: Agent) -> None:
    result = await run(agent, "sh", "-c", "stty -opost; seq 100000", terminal=SIZE)
    assert result.stdout == b"".join(b"%d\n" % number for number in range(1, 100_001))


async def test_a_terminal_all_have_closed_can_be_opened_again(agent: Agent, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = (
        f"tty=$(tty); exec 0<&- 1>&- 2>&-; while [ ! -e {go} ]; do sleep 0.01; done; exec >$tty; seq 100000; exit 5"
    )
    await agent.processes.start("p", guest.ProcessSpec(("sh", "-c", script), terminal=SIZE))
    page = await agent.processes.read("p", 0, 0, 0.2)
    assert (page.stdout, page.exit) == (b"", None)
    go.touch()
    result = await finish(agent, "p")
    assert (result.stdout.splitlines()[-1], result.exit) == (b"100000", guest.Exit(code=5))


async def test_a_terminal_nobody_has_open_costs_no_time(serving: Serving, agent: Agent) -> None:
    spec = guest.ProcessSpec(("sh", "-c", "exec 0<&- 1>&- 2>&-; exec sleep 60"), terminal=SIZE)
    await agent.processes.start("p", spec)
    await agent.processes.write("p", b"x" * 100)
    await agent.processes.read("p", 0, 0, 0.1)
    before = cpu_ticks(serving.process.pid)
    await agent.processes.read("p", 0, 0, 0.4)
    assert cpu_ticks(serving.process.pid) - before <= 2


async def test_a_process_without_a_terminal_cannot_be_resized(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("sleep", "60")))
    with pytest.raises(errors.GuestError, match="no terminal"):
        await agent.processes.resize("p", SIZE)
    await agent.processes.start("q", guest.ProcessSpec(("true",), terminal=SIZE))
    await finish(agent, "q")
    with pytest.raises(errors.Conflict, match="has ended"):
        await agent.processes.resize("q", SIZE)
