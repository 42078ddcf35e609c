"""The guest as a whole, as far as it can be asked for on a host."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.agent.support import LIMIT, Serving, run, serve
from hutch.host.agent.client import Agent
from hutch.model import errors


@pytest.fixture
def sandboxed(binary: Path, tmp_path: Path) -> Iterator[Serving]:
    """An agent that changes files below a directory, and nothing else."""
    (tmp_path / "root/etc").mkdir(parents=True)
    yield from serve(binary, tmp_path, "--root", str(tmp_path / "root"))


async def test_hello_tells_who_answers(agent: Agent, serving: Serving, binary: Path) -> None:
    version = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    assert (agent.hello.version, agent.hello.agent, agent.hello.pid) == (1, version, serving.process.pid)
    assert agent.hello.init == "agent"
    assert agent.hello.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def test_stats_are_plausible(agent: Agent) -> None:
    stats = await agent.stats()
    assert 0 < stats.memory_available < stats.memory_total
    assert 0 <= stats.disk_available < stats.disk_total
    assert 0 < stats.cpu_busy < stats.cpu_total
    assert stats.uptime > 0
    assert stats.processes > 1


async def test_what_would_change_the_host_is_refused(agent: Agent) -> None:
    for asking in (
        agent.restore(os.urandom(32)),
        agent.network("10.0.0.2/24", "10.0.0.1", []),
        agent.grow(),
        agent.shutdown(),
    ):
        with pytest.raises(errors.GuestError, match="would change the host"):
            await asking


async def test_a_restore_gives_names_and_environment(sandboxed: Serving, tmp_path: Path) -> None:
    agent = await sandboxed.connect()
    root = tmp_path / "root"
    (root / "etc/machine-id").symlink_to("/no/such")
    await agent.restore(
        os.urandom(64), machine_id="ab" * 16, hostname="first-name", instance_id="6f1d", env={"TOKEN": "a", "X": "1"}
    )
    assert (root / "etc/machine-id").read_text() == "ab" * 16 + "\n"
    assert (root / "etc/hostname").read_text() == "first-name\n"
    assert (root / "run/hutch/instance-id").read_text() == "6f1d\n"
    result = await run(agent, "sh", "-c", "echo $TOKEN $X", env={"X": "2"})
    assert result.stdout == b"a 2\n"
    await agent.restore(b"", hostname="short", env={})
    assert (root / "etc/hostname").read_text() == "short\n"
    assert (await run(agent, "sh", "-c", "echo $TOKEN")).stdout == b"\n"
    await agent.close()


async def test_an_environment_outlives_the_agent_and_is_roots_alone(
    binary: Path, sandboxed: Serving, tmp_path: Path
) -> None:
    agent = await sandboxed.connect()
    await agent.restore(b"", env={"TOKEN": "secret"})
    await agent.close()
    assert (tmp_path / "root/run/hutch/environment.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "again").mkdir()
    for again in serve(binary, tmp_path / "again", "--root", str(tmp_path / "root")):
        agent = await again.connect()
        assert (await run(agent, "sh", "-c", "echo $TOKEN")).stdout == b"secret\n"
        await agent.close()


@pytest.mark.parametrize(
    ("entropy", "arguments"),
    [
        (b"x" * 31, {}),
        (b"x" * 513, {}),
        (b"", {"machine_id": "ab"}),
        (b"", {"machine_id": "z" * 32}),
        (b"", {"hostname": ""}),
        (b"", {"hostname": "a/b"}),
        (b"", {"hostname": "x" * 65}),
        (b"", {"instance_id": "a\nb"}),
        (b"", {"time_ns": 2**63}),
        (b"", {"env": {"A=B": "c"}}),
    ],
)
async def test_a_restore_that_makes_no_sense_changes_nothing(
    sandboxed: Serving, tmp_path: Path, entropy: bytes, arguments: dict[str, object]
) -> None:
    agent = await sandboxed.connect()
    with pytest.raises(errors.GuestError):
        await agent.restore(entropy, **{"hostname": "name", **arguments})  # type: ignore[arg-type]
    assert not (tmp_path / "root/etc/hostname").exists()
    await agent.close()


async def test_resolvers_replace_a_dangling_link(sandboxed: Serving, tmp_path: Path) -> None:
    agent = await sandboxed.connect()
    path = tmp_path / "root/etc/resolv.conf"
    path.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    await agent.network("10.0.2.15/24", "10.0.2.2", ["10.0.2.3", "fe80::1"])
    assert not path.is_symlink()
    assert path.read_text() == "nameserver 10.0.2.3\nnameserver fe80::1\n"
    await agent.close()


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0/24", "10.0.0.1/33", "x/8", ""])
async def test_an_address_that_is_none_is_refused(sandboxed: Serving, address: str) -> None:
    agent = await sandboxed.connect()
    with pytest.raises(errors.GuestError, match="IPv4"):
        await agent.network(address, "10.0.0.2", [])
    with pytest.raises(errors.GuestError, match="name server"):
        await agent.network("10.0.0.1/24", None, ["nameserver"])
    await agent.close()


async def test_a_shutdown_is_answered_before_it_happens(binary: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([binary, "--listen", tmp_path / "sock", "--root", tmp_path])
    agent = await Agent.connect(tmp_path / "sock", LIMIT)
    await agent.shutdown()
    async with asyncio.timeout(LIMIT):
        await agent.closed.wait()
    assert await asyncio.to_thread(process.wait, LIMIT) == 0


async def test_an_agent_that_is_killed_is_noticed(binary: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([binary, "--listen", tmp_path / "sock"])
    agent = await Agent.connect(tmp_path / "sock", LIMIT)
    process.kill()
    process.wait()
    async with asyncio.timeout(LIMIT):
        await agent.closed.wait()
    with pytest.raises(errors.AgentUnavailable):
        await agent.stats()


async def test_connecting_waits_for_the_agent(binary: Path, tmp_path: Path) -> None:
    connecting = asyncio.create_task(Agent.connect(tmp_path / "agent.sock", LIMIT))
    await asyncio.sleep(0)
    for _serving in serve(binary, tmp_path):
        agent = await connecting
        await agent.sync()
        await agent.close()


async def test_connecting_to_nobody_ends_in_time(tmp_path: Path) -> None:
    with pytest.raises(errors.AgentUnavailable):
        await Agent.connect(tmp_path / "nobody", 0.1)
