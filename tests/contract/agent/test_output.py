"""Output: kept, resumed, bounded, and told with the exit only at its very end."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from contract.agent.support import LIMIT, Serving, finish, run, until
from hutch.host.agent.client import Agent
from hutch.model import errors, guest

MIB = 1 << 20


def numbers(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


async def stalled(agent: Agent, p: str) -> int:
    """Bytes of stdout when the process has written all it can without being read."""
    before = -1
    async with asyncio.timeout(LIMIT):
        while (found := (await agent.processes.list())[0].stdout_bytes) < MIB or found != before:
            before = found
    return found


async def test_ten_megabytes_come_whole_to_a_slow_reader(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("seq", "1500000")))
    assert await stalled(agent, "p") == MIB
    page = await agent.processes.read("p", 0, 0, 5, 1000)
    assert (page.stdout, page.exit) == (numbers(1000)[:1000], None)
    result = await finish(agent, "p", 64 << 10)
    assert len(result.stdout) > 10 * MIB
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(numbers(1_500_000)).digest()


async def test_with_drop_nothing_waits_and_the_oldest_goes(agent: Agent) -> None:
    spec = guest.ProcessSpec(("seq", "500000"), overflow=guest.Overflow.DROP)
    await agent.processes.start("p", spec)
    whole = numbers(500_000)
    async with asyncio.timeout(LIMIT):
        while (await agent.processes.list())[0].exit is None:
            await asyncio.sleep(0)
    page = await agent.processes.read("p", 0, 0, 5)
    assert page.stdout_at == len(whole) - MIB
    rest = await agent.processes.read("p", page.stdout_at + len(page.stdout), 0, 5)
    assert page.stdout + rest.stdout == whole[-MIB:]
    assert rest.exit == guest.Exit(code=0)


async def test_what_was_read_can_be_read_again(agent: Agent) -> None:
    result = await run_kept(agent, "p", "seq", "1000")
    for offset in (0, 17, len(result)):
        page = await agent.processes.read("p", offset, 0, 0)
        assert page.stdout == result[offset:]
        assert page.exit == guest.Exit(code=0)


async def run_kept(agent: Agent, p: str, *argv: str) -> bytes:
    await agent.processes.start(p, guest.ProcessSpec(argv))
    return (await finish(agent, p)).stdout


async def test_two_readers_both_get_everything(agent: Agent) -> None:
    spec = guest.ProcessSpec(("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do seq 1000; sleep 0.02; done"))
    await agent.processes.start("p", spec)
    first, second = await asyncio.gather(finish(agent, "p", 1000), finish(agent, "p"))
    assert first == second
    assert first.stdout == numbers(1000) * 8


async def test_the_exit_comes_only_with_the_last_bytes(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("sh", "-c", "seq 20000; seq 3 >&2")))
    out = err = 0
    exits = []
    while not exits or exits[-1] is None:
        page = await agent.processes.read("p", out, err, 5, 10_000)
        out, err = out + len(page.stdout), err + len(page.stderr)
        exits.append(page.exit)
    assert len(exits) > 10
    assert exits[:-1] == [None] * (len(exits) - 1)
    assert (out, err) == (len(numbers(20000)), 6)


async def test_a_read_waits_for_bytes_and_no_longer_than_asked(agent: Agent) -> None:
    await agent.processes.start("p", guest.ProcessSpec(("cat",), stdin=True))
    assert await agent.processes.read("p", 0, 0, 0.05) == guest.Output(b"", 0, b"", 0)
    reading = asyncio.create_task(agent.processes.read("p", 0, 0, LIMIT))
    await agent.processes.write("p", b"x")
    assert (await reading).stdout == b"x"


async def test_both_streams_are_told_apart(agent: Agent) -> None:
    result = await run(agent, "sh", "-c", "seq 30000 & seq 40000 >&2; wait")
    assert (result.stdout, result.stderr) == (numbers(30000), numbers(40000))


async def test_a_daemon_left_behind_keeps_nobody_waiting_and_lives_on(agent: Agent, tmp_path: Path) -> None:
    go, survived = tmp_path / "go", tmp_path / "survived"
    script = f"(while [ ! -e {go} ]; do sleep 0.02; done; seq 100000; seq 10 >&2; touch {survived}) & echo started"
    async with asyncio.timeout(30):
        result = await run(agent, "sh", "-c", script)
    assert (result.stdout, result.exit) == (b"started\n", guest.Exit(code=0))
    go.touch()
    await until(survived.exists, "the daemon has survived writing")


async def test_what_a_daemon_writes_right_after_the_end_is_still_told(agent: Agent) -> None:
    result = await run(agent, "sh", "-c", "(sleep 0.05; echo late) & echo early")
    assert result.stdout == b"early\nlate\n"


async def test_output_goes_on_at_an_offset_after_a_reconnect(serving: Serving) -> None:
    first = await serving.connect()
    await first.processes.start("p", guest.ProcessSpec(("cat",), stdin=True))
    await first.processes.write("p", numbers(1000))
    page = await first.processes.read("p", 0, 0, 5)
    at = len(page.stdout) // 2
    await first.close()
    second = await serving.connect()
    await second.processes.write("p", b"more", end=True)
    rest = bytearray()
    while True:
        page = await second.processes.read("p", at + len(rest), 0, 5)
        rest += page.stdout
        if page.exit is not None:
            break
    assert bytes(rest) == (numbers(1000) + b"more")[at:]
    await second.close()


async def test_a_lost_conversation_ends_what_waits_and_no_process(serving: Serving) -> None:
    first = await serving.connect()
    await first.processes.start("p", guest.ProcessSpec(("cat",), stdin=True))
    reading = asyncio.create_task(first.processes.read("p", 0, 0, 30))
    await first.processes.list()
    await first.close()
    with pytest.raises(errors.AgentUnavailable):
        await reading
    assert first.closed.is_set()
    second = await serving.connect()
    assert [info.exit for info in await second.processes.list()] == [None]
    await second.close()


async def test_many_processes_at_once_all_tell_all(agent: Agent) -> None:
    async def one(number: int) -> bytes:
        return (await run(agent, "seq", str(number * 500), p=f"p{number}")).stdout

    outputs = await asyncio.gather(*(one(number) for number in range(1, 41)))
    assert outputs == [numbers(number * 500) for number in range(1, 41)]


async def test_output_nobody_reads_stays_within_a_budget(agent: Agent) -> None:
    for number in range(60):
        await agent.processes.start(f"p{number}", guest.ProcessSpec(("seq", "300000")))
    async with asyncio.timeout(LIMIT):
        while True:
            before = sum(info.stdout_bytes for info in await agent.processes.list())
            after = sum(info.stdout_bytes for info in await agent.processes.list())
            if before == after and after > 30 * MIB:
                break
    assert after < 40 * MIB
    for number in range(60):
        assert (await finish(agent, f"p{number}")).stdout == numbers(300_000)
        await agent.processes.forget(f"p{number}")
