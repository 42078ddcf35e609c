"""What the tests of the agent do again and again."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hutch.host.agent.client import Agent
from hutch.model import guest

LIMIT = 20.0


@dataclass(frozen=True)
class Serving:
    """An agent that serves a socket."""

    process: subprocess.Popen[bytes]
    socket: Path

    async def connect(self) -> Agent:
        return await Agent.connect(self.socket, LIMIT)


def serve(binary: Path, directory: Path, *arguments: str, user: int | None = None) -> Iterator[Serving]:
    """Run an agent; at the end it must still be there, and end in order."""
    socket = directory / "agent.sock"
    process = subprocess.Popen([binary, "--listen", socket, *arguments], user=user)
    try:
        yield Serving(process, socket)
        assert process.poll() is None, "the agent has ended"
        process.terminate()
        assert process.wait(LIMIT) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Result:
    stdout: bytes
    stderr: bytes
    exit: guest.Exit


async def finish(agent: Agent, p: str, limit: int = 512 << 10) -> Result:
    """Read a process to its end."""
    stdout, stderr = bytearray(), bytearray()
    async with asyncio.timeout(LIMIT):
        while True:
            page = await agent.processes.read(p, len(stdout), len(stderr), 5, limit)
            assert (page.stdout_at, page.stderr_at) == (len(stdout), len(stderr)), "bytes were lost"
            stdout += page.stdout
            stderr += page.stderr
            if page.exit is not None:
                return Result(bytes(stdout), bytes(stderr), page.exit)


async def run(agent: Agent, *argv: str, p: str = "run", **spec: object) -> Result:
    await agent.processes.start(p, guest.ProcessSpec(argv, **spec))  # type: ignore[arg-type]
    result = await finish(agent, p)
    await agent.processes.forget(p)
    return result


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, with a limit."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"not within {LIMIT} s: {what}"
        await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Where nobody reaps orphans a zombie is as dead as can be."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def peak_memory(pid: int) -> int:
    """The most bytes a process ever had in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def cpu_ticks(pid: int) -> int:
    """Hundredths of a second a process has run."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
