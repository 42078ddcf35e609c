"""A local process that stands for one in a guest: its own group, its output kept with offsets, its exit told last.

A process of this box cannot be copied with its memory. So one that comes out of a saved state begins anew, is given
the same input again, and what it had written is not told twice: a command that depends on its input alone goes on
where the saved one stood. Signals are not given again, and what it did to files it does once more.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hutch.host.simulated.output import KEPT, Kept
from hutch.host.simulated.pipes import Pipe
from hutch.model import errors, guest

DRAIN = 0.2
"""Seconds that are read on after the end of a process whose pipe somebody else holds."""

TASK = "simulated guest"
"""The name of tasks that are no part of the service: a test that kills one leaves them alone."""

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class SavedProcess:
    """A process in a saved state."""

    id: str
    spec: guest.ProcessSpec
    cwd: str
    env: Mapping[str, str]
    pid: int
    started_at: float
    exit: guest.Exit | None
    stdout: Kept
    stderr: Kept
    stdin: bytes  # all it had been given; of much, the first MiB
    is_stdin_ended: bool
    size: guest.TerminalSize | None
    left: float | None  # seconds until its timeout


class Process:
    """See `start` and `revive`."""

    def __init__(self, id: str, spec: guest.ProcessSpec) -> None:
        self.id = id
        self.spec = spec
        self.pid = 0  # in its guest
        self.exit: guest.Exit | None = None
        self.stdout = Kept(spec.overflow)
        self.stderr = Kept(spec.overflow)
        self.started_at = time.time()
        self.is_still = False
        self._cwd = "."
        self._env: Mapping[str, str] = {}
        self._size = spec.terminal
        self._left = spec.timeout
        self._timer: asyncio.TimerHandle | None = None
        self._given = bytearray()
        self._is_given_all = False
        self._process: asyncio.subprocess.Process | None = None
        self._stdin: Pipe | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._timed_out = False

    @property
    def info(self) -> guest.ProcessInfo:
        """As the agent tells of it."""
        return guest.ProcessInfo(
            self.id, self.pid, self.spec.argv, self.started_at, self.stdout.end, self.stderr.end, self.exit
        )

    async def start(self, root: Path, cwd: str, env: Mapping[str, str]) -> None:
        """Start it in the directory `cwd` of a guest whose `/` is `root`. Raises what `exec` raises."""
        self._cwd, self._env = cwd, env
        if self._size is not None:
            await self._start_on_terminal(self._size, root / cwd, {"TERM": "xterm-256color", **env})
        else:
            await self._start_on_pipes(root / cwd, env)
        assert self._process is not None
        self.pid = self.pid or self._process.pid
        self._watching = asyncio.create_task(self._watch(), name=TASK)
        self._arm()

    @staticmethod
    async def revive(saved: SavedProcess, root: Path) -> "Process":
        """What was saved goes on, in a guest whose `/` is `root`."""
        it = Process(saved.id, saved.spec)
        it.pid, it.started_at, it.exit = saved.pid, saved.started_at, saved.exit
        it.stdout, it.stderr = saved.stdout.repeated(), saved.stderr.repeated()
        it._size, it._left, it._cwd, it._env = saved.size, saved.left, saved.cwd, saved.env
        it._given, it._is_given_all = bytearray(saved.stdin), saved.is_stdin_ended
        if it.exit is None:
            (root / it._cwd).mkdir(parents=True, exist_ok=True)
            await it.start(root, it._cwd, it._env)
            it._feeding = asyncio.create_task(it._feed(), name=TASK)
        return it

    def save(self) -> SavedProcess:
        """As it is now."""
        left = self._timer.when() - asyncio.get_running_loop().time() if self._timer is not None else self._left
        return SavedProcess(
            self.id,
            self.spec,
            self._cwd,
            self._env,
            self.pid,
            self.started_at,
            self.exit,
            self.stdout.repeated(),
            self.stderr.repeated(),
            bytes(self._given),
            self._is_given_all,
            self._size,
            left,
        )

    def stand_still(self) -> None:
        """Its whole group does nothing from now on, and its time does not pass."""
        self.signal(signal.SIGSTOP)
        if self._timer is not None:
            self._left = max(self._timer.when() - asyncio.get_running_loop().time(), 0)
            self._timer.cancel()
            self._timer = None

    def go_on(self) -> None:
        """As if nothing had been."""
        self.is_still = False
        self.signal(signal.SIGCONT)
        self._arm()

    async def turn_away(self) -> None:
        """Readers that wait are told that it stands still."""
        self.is_still = True
        await self._notify()

    async def _start_on_pipes(self, cwd: Path, env: Mapping[str, str]) -> None:
        with contextlib.ExitStack() as its, contextlib.ExitStack() as ours:
            pipes = []
            for _ in range(3 if self.spec.stdin else 2):
                pipes.append(os.pipe())
            out, err, *rest = pipes
            stdin = rest[0][0] if rest else os.open(os.devnull, os.O_RDONLY)
            for descriptor in (stdin, out[1], err[1]):
                its.callback(os.close, descriptor)
            for descriptor in (out[0], err[0], *(pipe[1] for pipe in rest)):
                ours.callback(os.close, descriptor)
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.argv, stdin=stdin, stdout=out[1], stderr=err[1], cwd=cwd, env=env, start_new_session=True
            )
            ours.pop_all()
        self._stdin = Pipe(rest[0][1]) if rest else None
        self._pump(Pipe(out[0]), "stdout")
        self._pump(Pipe(err[0]), "stderr")

    async def _start_on_terminal(self, size: guest.TerminalSize, cwd: Path, env: Mapping[str, str]) -> None:
        terminal, its = os.openpty()
        _set_size(terminal, size)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                stdin=its,
                stdout=its,
                stderr=its,
                cwd=cwd,
                env=env,
                start_new_session=True,
                preexec_fn=lambda: _take_terminal(its),
            )
        except BaseException:
            os.close(terminal)
            raise
        finally:
            os.close(its)
        self._stdin = Pipe(terminal)
        self._pump(Pipe(os.dup(terminal)), "stdout")

    async def read(self, offsets: tuple[int, int], wait: float, limit: int) -> guest.Output:
        """A page, as soon as there is anything to tell. `NotRunning` if it is made to stand still meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait), self._changed:
                while not self.is_still and _is_empty(self._page(offsets, limit)):
                    await self._changed.wait()
        if self.is_still:
            raise errors.NotRunning("the machine runs no more")
        page = self._page(offsets, limit)
        await self._notify()
        return page

    def _page(self, offsets: tuple[int, int], limit: int) -> guest.Output:
        stdout_at, stdout = self.stdout.read(offsets[0], limit)
        stderr_at, stderr = self.stderr.read(offsets[1], limit)
        is_all = stdout_at + len(stdout) == self.stdout.end and stderr_at + len(stderr) == self.stderr.end
        return guest.Output(stdout, stdout_at, stderr, stderr_at, self.exit if is_all else None)

    async def write(self, data: bytes, end: bool) -> None:
        """All of it, as to a pipe."""
        if self._feeding is not None:
            await asyncio.wait([self._feeding])
        async with self._writing:
            if self._stdin is None or self._stdin.is_closed:
                raise errors.GuestError(f"process {self.id}: its stdin is closed")
            self._given += data[: max(KEPT - len(self._given), 0)]
            self._is_given_all = end and self.spec.terminal is None
            try:
                await self._stdin.write(data)
            except OSError as error:
                raise errors.GuestError(f"process {self.id}: {error.strerror}") from None
            if self._is_given_all:
                self._stdin.close()

    async def _feed(self) -> None:
        """Its input once more."""
        if self._stdin is not None:
            with contextlib.suppress(OSError):
                await self._stdin.write(bytes(self._given))
            if self._is_given_all:
                self._stdin.close()

    def signal(self, number: int) -> None:
        """To its group; nothing if that is gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def resize(self, size: guest.TerminalSize) -> None:
        """Its terminal's size."""
        if self.spec.terminal is None or self._stdin is None:
            raise errors.GuestError(f"process {self.id} has no terminal")
        self._size = size
        if not self._stdin.is_closed:
            _set_size(self._stdin.descriptor, size)

    async def end(self, grace: float = 0.0) -> None:
        """TERM, and KILL after the grace; returns when it is gone."""
        if self._watching is None:
            return
        if self._feeding is not None:
            self._feeding.cancel()
        if grace > 0 and self.exit is None:
            self.signal(signal.SIGTERM)
            await asyncio.wait([self._watching], timeout=grace)
        self.signal(signal.SIGKILL)
        for pump in self._pumps:
            pump.cancel()
        await asyncio.wait([self._watching])

    def _pump(self, pipe: Pipe, stream: str) -> None:
        kept = self.stdout if stream == "stdout" else self.stderr
        self._pumps.add(asyncio.create_task(self._take_all(pipe, kept), name=TASK))

    async def _take_all(self, pipe: Pipe, kept: Kept) -> None:
        try:
            while data := await pipe.read(_CHUNK):
                async with self._changed:
                    while not kept.has_room(len(data)):
                        await self._changed.wait()
                    kept.add(data)
                    self._changed.notify_all()
        except asyncio.CancelledError:
            if kept.has_room(_CHUNK):
                kept.add(pipe.read_now(_CHUNK))  # on a busy box it may have come with the end of the time
            raise
        finally:
            pipe.close()

    async def _watch(self) -> None:
        assert self._process is not None
        code = await self._process.wait()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._drain(self._pumps)
        if self._stdin is not None:
            self._stdin.close()
        killed = -code if code < 0 else None
        self.exit = guest.Exit(None if killed else code, killed, self._timed_out)
        await self._notify()

    async def _drain(self, pumps: Iterable[asyncio.Task[None]]) -> None:
        """Read what is left; a descendant that holds a pipe is not waited for, a reader who is to make room is."""
        late = set(pumps)
        while late:
            ended, late = await asyncio.wait(late, timeout=DRAIN)
            if not ended and self.stdout.has_room(_CHUNK) and self.stderr.has_room(_CHUNK):
                break
        for pump in late:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    def _arm(self) -> None:
        if self._left is not None and self.exit is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._left, self._time_out)

    def _time_out(self) -> None:
        self._timed_out = True
        self.signal(signal.SIGKILL)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _is_empty(page: guest.Output) -> bool:
    return not page.stdout and not page.stderr and page.exit is None


def _set_size(terminal: int, size: guest.TerminalSize) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))


def _take_terminal(its: int) -> None:
    with contextlib.suppress(PermissionError):
        os.setsid()  # asyncio has done so already, uvloop does later
    fcntl.ioctl(its, termios.TIOCSCTTY, 0)
