"""Running commands in machines: buffered, streamed, or left running and read by offset.

All are one thing, a process the guest's agent keeps (`hutch.host.interface.Processes`). Every call starts a stopped
machine first, feeds the idle timer, and needs `machine:exec`. A command that cannot be started (no such program, cwd
or user) is not an error of ours: it ends with code 255 and the agent's words on stderr, as under a container runtime.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hutch.control.keys import Principal
from hutch.model import guest
from hutch.model.guest import Exit
from hutch.model.ids import MachineId, ProcessId


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: exactly one of `argv` and `shell`, the latter a line for `sh -lc`.

    `cwd` and `user` None mean the machine's workdir and the image's user. `timeout` is in seconds. `stdin` None
    means end of file at once, unless `interactive` keeps it open for `Processes.write`.
    `background` is not waited for, and its oldest output is dropped when nobody reads it.
    """

    argv: tuple[str, ...] | None = None
    shell: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    user: str | None = None
    timeout: float | None = None
    stdin: bytes | None = None
    interactive: bool = False
    background: bool = False
    terminal: guest.TerminalSize | None = None


class Stream(StrEnum):
    """Which of a process's two outputs."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class Started:
    """The first thing a stream tells: from here on the command runs, and can be reached by this id."""

    process: ProcessId
    pid: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one output, and where they begin (bytes since the process began)."""

    stream: Stream
    data: bytes
    at: int


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended (or, with `background`, one that has begun: exit code 0 and no output).

    Of each stream the first `settings.machines.exec_output_limit` bytes are kept. `duration` is in seconds.
    """

    process: ProcessId
    pid: int  # in the guest; 0 if it could not be started
    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    exit: Exit
    duration: float


class Processes:
    """Commands in machines."""

    async def run(self, principal: Principal, machine: MachineId, command: Command) -> Completed:
        """Run it to its end. If the caller is cancelled the command is ended."""
        raise NotImplementedError

    def stream(
        self, principal: Principal, machine: MachineId, command: Command
    ) -> AsyncGenerator[Started | Chunk | Exit, None]:
        """Run it and tell its output as it comes: `Started`, any number of `Chunk`, and at last its `Exit`.

        What goes wrong before it runs (`NotFound`, `Forbidden`, `NoCapacity`…) is raised instead of `Started`: take the
        first item before answering 200. Closing the iterator early ends the command (its group gets TERM, then KILL):
        wrap it in `contextlib.aclosing`.
        """
        raise NotImplementedError

    async def start(self, principal: Principal, machine: MachineId, command: Command) -> guest.ProcessInfo:
        """Start it and return. Unlike `run` it raises `GuestNotFound` or `GuestError` if it cannot be started."""
        raise NotImplementedError

    async def output(
        self,
        principal: Principal,
        machine: MachineId,
        process: str,
        offsets: tuple[int, int] = (0, 0),
        wait: float = 0.0,
        limit: int = 256 * 1024,
    ) -> guest.Output:
        """A page of its output from `(stdout, stderr)` offsets on, at most `limit` bytes of each.

        Waits up to `wait` seconds for any. Works on after a restart of the service. Does not start a
        machine: `NotRunning`.
        """
        raise NotImplementedError

    async def write(
        self, principal: Principal, machine: MachineId, process: str, data: bytes, end: bool = False
    ) -> None:
        """Write all of `data` to its stdin, waiting as a pipe would; `end` closes it."""
        raise NotImplementedError

    async def signal(self, principal: Principal, machine: MachineId, process: str, number: int) -> None:
        """Send a signal to its whole process group; no error if it has ended."""
        raise NotImplementedError

    async def resize(self, principal: Principal, machine: MachineId, process: str, size: guest.TerminalSize) -> None:
        """Resize its terminal."""
        raise NotImplementedError

    async def list(self, principal: Principal, machine: MachineId) -> list[guest.ProcessInfo]:
        """All the agent knows, oldest first; none if the machine is not running."""
        raise NotImplementedError

    async def forget(self, principal: Principal, machine: MachineId, process: str) -> None:
        """Drop it and its output; a running one is killed first. No error if it is not there."""
        raise NotImplementedError
