"""A local process that stands for one in a guest: its own group, its output kept with offsets, its exit told last."""

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Awaitable, Callable
from typing import Any

from hutch.host.simulated.output import Kept
from hutch.model import errors, guest

DRAIN = 0.2
"""Seconds that are read on after the end of a process whose pipe somebody else holds."""

_CHUNK = 64 * 1024


class Process:
    """See `start`."""

    def __init__(self, id: str, spec: guest.ProcessSpec) -> None:
        self.id = id
        self.spec = spec
        self.exit: guest.Exit | None = None
        self.stdout = Kept(spec.overflow)
        self.stderr = Kept(spec.overflow)
        self.started_at = time.time()
        self._process: asyncio.subprocess.Process | None = None
        self._terminal: int | None = None
        self._changed = asyncio.Condition()
        self._timed_out = False
        self._watching: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    @property
    def info(self) -> guest.ProcessInfo:
        """As the agent tells of it."""
        pid = self._process.pid if self._process is not None else 0
        return guest.ProcessInfo(
            self.id, pid, self.spec.argv, self.started_at, self.stdout.end, self.stderr.end, self.exit
        )

    async def start(self, cwd: str, env: dict[str, str]) -> None:
        """Start it. Raises what `exec` raises."""
        if self.spec.terminal is None:
            stdin = asyncio.subprocess.PIPE if self.spec.stdin else asyncio.subprocess.DEVNULL
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.argv, stdin=stdin, stdout=pipe, stderr=pipe, cwd=cwd, env=env, start_new_session=True
            )
        else:
            await self._start_on_terminal(self.spec.terminal, cwd, env)
        self._watching = asyncio.create_task(self._watch())

    async def _start_on_terminal(self, size: guest.TerminalSize, cwd: str, env: dict[str, str]) -> None:
        ours, its = os.openpty()
        self._terminal = ours
        self.resize(size)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                stdin=its,
                stdout=its,
                stderr=its,
                cwd=cwd,
                env={"TERM": "xterm-256color", **env},
                start_new_session=True,
                preexec_fn=_take_terminal,
            )
        except BaseException:
            os.close(ours)
            self._terminal = None
            raise
        finally:
            os.close(its)
        os.set_blocking(ours, False)

    async def read(self, offsets: tuple[int, int], wait: float, limit: int) -> guest.Output:
        """A page, as soon as there is anything to tell."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait), self._changed:
                while self._is_empty(self._page(offsets, limit)):
                    await self._changed.wait()
        page = self._page(offsets, limit)
        await self._notify()
        return page

    def _page(self, offsets: tuple[int, int], limit: int) -> guest.Output:
        stdout_at, stdout = self.stdout.read(offsets[0], limit)
        stderr_at, stderr = self.stderr.read(offsets[1], limit)
        is_all = stdout_at + len(stdout) == self.stdout.end and stderr_at + len(stderr) == self.stderr.end
        return guest.Output(stdout, stdout_at, stderr, stderr_at, self.exit if is_all else None)

    def _is_empty(self, page: guest.Output) -> bool:
        return not page.stdout and not page.stderr and page.exit is None

    async def write(self, data: bytes, end: bool) -> None:
        """All of it, as to a pipe."""
        assert self._process is not None
        async with self._writing:
            if self._terminal is not None:
                await self._write_terminal(data)
            elif self._process.stdin is None or self._process.stdin.is_closing():
                raise errors.GuestError(f"process {self.id}: its stdin is closed")
            else:
                try:
                    self._process.stdin.write(data)
                    await self._process.stdin.drain()
                except ConnectionError:
                    raise errors.GuestError(f"process {self.id}: nobody reads its stdin any more") from None
                if end:
                    self._process.stdin.close()

    async def _write_terminal(self, data: bytes) -> None:
        while data and self._terminal is not None:
            try:
                data = data[os.write(self._terminal, data) :]
            except BlockingIOError:
                await _ready(asyncio.get_running_loop().add_writer, self._terminal)
                asyncio.get_running_loop().remove_writer(self._terminal)

    def signal(self, number: int) -> None:
        """To its group; nothing if that is gone."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def resize(self, size: guest.TerminalSize) -> None:
        """Its terminal's size."""
        if self._terminal is None:
            raise errors.GuestError(f"process {self.id} has no terminal")
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))

    async def end(self, grace: float = 0.0) -> None:
        """TERM, and KILL after the grace; returns when it is gone."""
        if self._watching is None:
            return
        if grace > 0 and self.exit is None:
            self.signal(signal.SIGTERM)
            await asyncio.wait([self._watching], timeout=grace)
        self.signal(signal.SIGKILL)
        self.stdout = Kept(guest.Overflow.DROP)  # nobody reads on: it must not wait for a reader
        self.stderr = Kept(guest.Overflow.DROP)
        await self._notify()
        await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        assert self._process is not None
        pumps = self._pumps()
        timer = self._timer()
        code = await self._process.wait()
        _, late = await asyncio.wait(pumps, timeout=DRAIN) if pumps else (set(), set())
        for pump in await self._patiently(late):
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        if timer is not None:
            timer.cancel()
        self._close()
        killed = -code if code < 0 else None
        self.exit = guest.Exit(None if killed else code, killed, self._timed_out)
        await self._notify()

    async def _patiently(self, pumps: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        """Those that wait for the end of a pipe; one that waits for its reader to make room is waited for."""
        waiting = pumps
        while waiting and not (self.stdout.has_room(_CHUNK) and self.stderr.has_room(_CHUNK)):
            async with self._changed:
                await self._changed.wait()
            _, waiting = await asyncio.wait(waiting, timeout=DRAIN)
        return waiting

    def _pumps(self) -> list[asyncio.Task[None]]:
        assert self._process is not None
        if self._terminal is not None:
            return [asyncio.create_task(self._pump(self._read_terminal, "stdout"))]
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        stdout, stderr = self._process.stdout, self._process.stderr
        return [
            asyncio.create_task(self._pump(lambda: stdout.read(_CHUNK), "stdout")),
            asyncio.create_task(self._pump(lambda: stderr.read(_CHUNK), "stderr")),
        ]

    async def _pump(self, read: Callable[[], Awaitable[bytes]], stream: str) -> None:
        while data := await read():
            async with self._changed:
                while not self._kept(stream).has_room(len(data)):
                    await self._changed.wait()
                self._kept(stream).add(data)
                self._changed.notify_all()

    def _kept(self, stream: str) -> Kept:
        return self.stdout if stream == "stdout" else self.stderr

    async def _read_terminal(self) -> bytes:
        loop = asyncio.get_running_loop()
        while self._terminal is not None:
            try:
                return os.read(self._terminal, _CHUNK)
            except BlockingIOError:
                try:
                    await _ready(loop.add_reader, self._terminal)
                finally:
                    loop.remove_reader(self._terminal)
            except OSError:
                return b""  # EIO: nobody holds the other side any more
        return b""

    def _timer(self) -> asyncio.TimerHandle | None:
        if self.spec.timeout is None:
            return None
        return asyncio.get_running_loop().call_later(self.spec.timeout, self._time_out)

    def _time_out(self) -> None:
        self._timed_out = True
        self.signal(signal.SIGKILL)

    def _close(self) -> None:
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()  # a daemon left behind may hold its pipes for ever

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def _ready(add: Callable[..., Any], descriptor: int) -> None:
    ready = asyncio.Event()
    add(descriptor, ready.set)
    await ready.wait()
