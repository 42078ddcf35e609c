"""What running a command takes and tells. The nouns of `processes.py`, and the rules about a command's fields. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hutch.control import requests
from hutch.model import guest
from hutch.model.errors import InvalidRequest
from hutch.model.guest import Exit
from hutch.model.ids import ProcessId

MAX_TIMEOUT = 30 * 86400.0
NOT_STARTED = Exit(code=255)


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
    pid: int  # in the guest; 0 if it could not be started


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one output, and where they begin (bytes since the process began)."""

    stream: Stream
    data: bytes
    at: int


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended (or, with `background`, one that has begun: exit code 0 and no output).

    Of each stream the beginning is kept. `duration` is in seconds.
    """

    process: ProcessId
    pid: int  # in the guest; 0 if it could not be started
    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    exit: Exit
    duration: float


class Kept:
    """The beginning of a stream, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self.is_truncated = False

    def add(self, data: bytes) -> None:
        """Keep what there is room for."""
        room = self._limit - len(self._data)
        self._data += data[:room]
        self.is_truncated = self.is_truncated or len(data) > room

    def __bytes__(self) -> bytes:
        return bytes(self._data)


def make_spec(command: Command) -> guest.ProcessSpec:
    """What the agent is asked to start. `InvalidRequest` names the field that makes no sense."""
    return guest.ProcessSpec(
        argv=_argv(command),
        env=_checked_env(command.env),
        cwd=_checked_cwd(command.cwd),
        user=_checked_user(command.user),
        timeout=_checked_timeout(command.timeout),
        terminal=_checked_terminal(command.terminal),
        stdin=command.interactive or command.stdin is not None,
        overflow=guest.Overflow.DROP if command.background else guest.Overflow.BLOCK,
    )


def _argv(command: Command) -> tuple[str, ...]:
    if (command.argv is None) == (command.shell is None):
        raise InvalidRequest("command: give either a list of arguments or a line for the shell")
    if command.shell is not None and not command.shell.strip():
        raise InvalidRequest("command is empty: name a program")
    argv = command.argv if command.argv is not None else ("sh", "-lc", command.shell or "")
    requests.check_argv("command", argv)
    return argv


def _checked_env(env: Mapping[str, str]) -> Mapping[str, str]:
    requests.check_env(env)
    return env


def _checked_cwd(cwd: str | None) -> str | None:
    if cwd is not None:
        requests.check_path("cwd", cwd)
    return cwd


def _checked_user(user: str | None) -> str | None:
    if user is not None and (not user or len(user) > 256 or "\0" in user):
        raise InvalidRequest("user: give a name, a number, or NAME:GROUP")
    return user


def _checked_timeout(timeout: float | None) -> float | None:
    if timeout is not None and not 0 < timeout <= MAX_TIMEOUT:
        raise InvalidRequest(f"timeout is {timeout:g} s: more than 0 s, at most {MAX_TIMEOUT:g} s, or leave it out")
    return timeout


def _checked_terminal(size: guest.TerminalSize | None) -> guest.TerminalSize | None:
    if size is not None and not (0 < size.columns < 65536 and 0 < size.rows < 65536):
        raise InvalidRequest(f"terminal of {size.columns} × {size.rows}: columns and rows are 1 to 65535")
    return size


check_terminal = _checked_terminal
