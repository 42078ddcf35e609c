"""Runs tools of this box (qemu-img, skopeo, mmdebstrap …): the one place that starts a command and waits for its end.

It owns what every caller would otherwise get wrong alone: a minimal environment, a process group that is killed whole
when time is up or the caller is cancelled, reaping, bounded output, and an error that carries the tool's own words.
A command also dies with the service (PDEATHSIG), so that a restarted one never meets the writers of its predecessor.
Secrets never go into an argv: it is logged, and every user of the box can read it. Long-running processes (QEMU
itself) are not started here.
"""

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from hutch.model import errors

log = structlog.get_logger(__name__)

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT: Mapping[str, str] = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/nonexistent"}
STDERR_KEPT = 64 * 1024
GONE_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class User:
    """Whom a command runs as: these ids, no supplementary groups and no privilege to gain any."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What the kernel and we allow a command; None means no limit of ours."""

    output: int = 16 * 1024 * 1024  # bytes of stdout; more is an error, never a silent cut
    memory: int | None = None  # bytes of address space
    file_size: int | None = None  # bytes of any one file it writes
    cpu_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: its whole stdout, and the end of its stderr."""

    argv: tuple[str, ...]
    code: int  # negative: minus the number of the signal that killed it
    stdout: bytes
    stderr: str
    seconds: float


class CommandFailed(errors.HutchError):
    """A tool of the host failed. The message names the tool only; its words are in `stderr` and in the log."""

    def __init__(self, message: str, argv: Sequence[str], stderr: str, code: int | None = None) -> None:
        super().__init__(message, command=shlex.join(argv), stderr=stderr[-4096:], code=code)
        self.stderr = stderr
        self.code = code


class CommandTimedOut(CommandFailed):
    """A tool of the host did not end in time and was killed, with all it had started."""


class CommandMissing(errors.Unsupported):
    """A program this host needs is not installed."""


async def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    user: User | None = None,
    limits: Limits = Limits(),
    descriptors: Sequence[int] = (),
    on_stderr_line: Callable[[str], None] | None = None,
    check: bool = True,
) -> Completed:
    """Run to the end. `timeout` in seconds; `env` is laid over `ENVIRONMENT`; besides only `descriptors` are inherited.

    Raises `CommandMissing`, `CommandTimedOut`, and `CommandFailed` for a code other than 0 (unless `check` is False)
    or too much output. Whatever the end is, no process of its group is left.
    """
    command = tuple(os.fspath(word) for word in argv)
    tool = Path(command[0]).name
    environment = {**ENVIRONMENT, **(env or {})}
    if shutil.which(command[0], path=environment["PATH"]) is None:
        raise CommandMissing(f"{tool} is not installed on this host: install it and try again")
    began = time.monotonic()
    conversation = _Conversation(limits.output, on_stderr_line)
    with _input(stdin) as descriptor:
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: conversation,
            *_wrapped(command, user, limits),
            env=environment,
            cwd=cwd,
            stdin=descriptor,
            pass_fds=descriptors,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(timeout):
            await conversation.ended
    except TimeoutError:
        raise CommandTimedOut(f"{tool} did not end within {timeout:g} s", command, conversation.error_text) from None
    except _TooMuchOutput:
        raise CommandFailed(f"{tool} wrote over {limits.output} bytes", command, conversation.error_text) from None
    finally:
        code = await _end(transport, conversation)
        seconds = time.monotonic() - began
        log.debug("command", command=shlex.join(command), cwd=cwd, code=code, seconds=round(seconds, 3))
    if check and code != 0:
        how = f"failed with code {code}" if code > 0 else f"was killed by signal {-code}"
        raise CommandFailed(f"{tool} {how}", command, conversation.error_text, code)
    return Completed(command, code, bytes(conversation.stdout), conversation.error_text, seconds)


def _wrapped(command: tuple[str, ...], user: User | None, limits: Limits) -> list[str]:
    """The command behind setpriv and prlimit: unlike a preexec_fn they are safe with threads and known to uvloop."""
    words = ["setpriv", "--pdeathsig", "KILL"]
    if user is not None:
        words += [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", "--no-new-privs"]
        words += ["--inh-caps=-all", "--bounding-set=-all"]
    words += ["--", "prlimit", "--core=0"]
    for option, value in (("as", limits.memory), ("fsize", limits.file_size), ("cpu", limits.cpu_seconds)):
        if value is not None:
            words.append(f"--{option}={value}")
    return [*words, "--", *command]


class _TooMuchOutput(Exception):
    pass


class _Conversation(asyncio.SubprocessProtocol):
    """What a command says, taken as it comes: stdout whole up to a limit, of stderr the last `STDERR_KEPT` bytes."""

    def __init__(self, limit: int, on_stderr_line: Callable[[str], None] | None) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()  # exited, and both streams are at their ends
        self.stdout = bytearray()
        self._stderr = bytearray()
        self._line = bytearray()
        self._limit = limit
        self._on_line = on_stderr_line

    @property
    def error_text(self) -> str:
        return self._stderr.decode(errors="replace").strip()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._stderr += data
            del self._stderr[:-STDERR_KEPT]
            self._tell(data)
        elif len(self.stdout) + len(data) <= self._limit:
            self.stdout += data
        elif not self.ended.done():
            self.ended.set_exception(_TooMuchOutput())

    def process_exited(self) -> None:
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _tell(self, data: bytes) -> None:
        if self._on_line is None:
            return
        *lines, rest = (self._line + data).replace(b"\r", b"\n").split(b"\n")
        self._line = rest[-STDERR_KEPT:]
        for line in lines:
            if line:
                self._on_line(line.decode(errors="replace"))


@contextlib.contextmanager
def _input(data: bytes | None) -> Iterator[int]:
    """A descriptor to read `data` from, to its end. A file in memory: uvloop does not always tell the end of a pipe."""
    if data is None:
        yield asyncio.subprocess.DEVNULL
        return
    with os.fdopen(os.memfd_create("stdin", os.MFD_CLOEXEC), "r+b") as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


async def _end(transport: asyncio.SubprocessTransport, conversation: _Conversation) -> int:
    """Kill what is left of the group, reap, and see it gone; a cancellation meanwhile takes effect afterwards."""
    group = transport.get_pid()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    cancelled = False
    for wait in (_exited(conversation), _gone(group)):
        task = asyncio.ensure_future(wait)
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                cancelled = True
    transport.close()
    if cancelled:
        raise asyncio.CancelledError
    code = transport.get_returncode()
    assert code is not None
    return code


async def _exited(conversation: _Conversation) -> None:
    await conversation.exited


async def _gone(group: int) -> None:
    """The leader is reaped, the others are dying, and their files are about to be removed. Zombies write nothing."""
    deadline = time.monotonic() + GONE_WITHIN
    while _has_living(group) and time.monotonic() < deadline:  # noqa: ASYNC110 — nobody tells of an orphan's end
        await asyncio.sleep(0.005)


def _has_living(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, its_group = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False
