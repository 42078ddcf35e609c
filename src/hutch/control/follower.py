"""One command followed from its start to its end, or to the moment its caller goes away.

However it is left, nothing stays behind in the guest: a command that has ended is forgotten, one that runs is ended
first (TERM to its group, KILL after a grace). Both happen after the caller has been answered.

A machine may be paused or suspended meanwhile. The command is then followed on, at the offset that was reached, when
somebody else has woken it; the time until then does not count.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

from hutch.control.background import Background
from hutch.control.commands import Chunk, Stream
from hutch.control.records import Entry
from hutch.host.interface import Processes
from hutch.model import errors, guest, ids
from hutch.model.guest import Exit
from hutch.model.ids import ProcessId
from hutch.model.machine import Machine
from hutch.model.states import State

READ_WAIT = 20.0
"""Seconds one read of a running command's output waits for any."""

READ_LIMIT = 256 * 1024
"""Bytes of each stream in one read."""

TIMEOUT_SLACK = 15.0
"""Seconds the guest has to end a command whose time is over, by our own clock."""

QUICK = 0.01
"""Seconds: an empty page that comes sooner than this has not been waited for."""

END_GRACE = 5.0
"""Seconds between TERM and KILL for a command whose caller has gone away."""


async def read_on(
    entry: Entry, rollbacks: int, read: Callable[[], Awaitable[guest.Output]], until: float | None = None
) -> guest.Output:
    """Read; if that is cut short because the machine is paused or suspended, again as soon as it is back.

    `TimeoutError` if it is not back by `until` (monotonic), `NotRunning` if it lost its processes.
    """
    while True:
        before = entry.interruptions
        try:
            return await read()
        except (errors.NotRunning, errors.AgentUnavailable):
            if not entry.was_interrupted(before):
                raise
        async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
            await entry.wait_back(rollbacks)


class Follower:
    """Use as a context manager: leaving it tidies up, unless `keep` was called."""

    def __init__(self, host: Processes, background: Background, entry: Entry) -> None:
        self.process = ProcessId(ids.random_id())
        self.exit: Exit | None = None
        self._host = host
        self._background = background
        self._entry = entry
        self._machine = entry.machine.id
        self._rollbacks = entry.rollbacks
        self._away_since: float | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._first: asyncio.Task[guest.Output] | None = None  # the first page, asked for together with the start
        self._is_kept = False
        self._is_cut_off = False  # from the rest of its stdin
        self._give_up_at: float | None = None
        self._stdout_at = 0
        self._stderr_at = 0

    def __enter__(self) -> "Follower":
        self._entry.watchers.append(self._note_absence)
        return self

    def __exit__(self, *_: object) -> None:
        self._entry.watchers.remove(self._note_absence)
        if self._first is not None:
            self._first.cancel()
            self._first = None
        if self._is_kept:
            return
        if self._feeding is not None:
            self._feeding.cancel()
        if self._is_away:
            self._entry.watchers.append(self._tidy_when_back)
        else:
            self._background.go_on("tidying up a command", self._tidy())

    def _note_absence(self, machine: Machine) -> None:
        """While it does not run, the command's time stands still."""
        now = time.monotonic()
        if machine.state is not State.RUNNING:
            self._away_since = self._away_since or now
        elif self._away_since is not None:
            if self._give_up_at is not None:
                self._give_up_at += now - self._away_since
            self._away_since = None

    @property
    def _is_away(self) -> bool:
        """Whether it is paused or suspended, and the command with it."""
        return self._entry.machine.state is not State.RUNNING and self._keeps_command

    @property
    def _keeps_command(self) -> bool:
        return self._entry.keeps_processes and self._entry.rollbacks == self._rollbacks

    def _tidy_when_back(self, machine: Machine) -> None:
        if self._is_away:
            return
        self._entry.watchers.remove(self._tidy_when_back)
        if self._keeps_command:
            self._background.go_on("tidying up a command", self._tidy())

    def read_ahead(self) -> None:
        """Ask for the first page in the same breath as for the start that follows at once.

        A short command then costs one way to the guest and back.
        """
        self._first = asyncio.create_task(self._page(READ_WAIT))
        self._first.add_done_callback(lambda first: first.cancelled() or first.exception())  # nobody may want it

    async def start(self, spec: guest.ProcessSpec, stdin: bytes | None, end: bool = True) -> guest.ProcessInfo:
        """Start it; `stdin` is written while its output is read, and then closed if `end`."""
        self._give_up_at = None if spec.timeout is None else time.monotonic() + spec.timeout + TIMEOUT_SLACK
        try:
            info = await self._host.start(self._machine, self.process, spec)
        except errors.GuestError:
            self.keep()  # nothing has begun: there is nothing to tidy up
            raise
        if stdin is not None:
            self._feeding = self._background.go_on("writing a command's stdin", self._feed(stdin, end))
        return info

    def keep(self) -> None:
        """Let it run on, and keep it, after this is left."""
        self._is_kept = True

    async def read(self, wait: float = READ_WAIT) -> list[Chunk]:
        """What it has written since the last time, waiting for any; `exit` is set with the last of it."""
        began = time.monotonic()
        page = await self._first_page(wait) if self._first is not None else await self._page(wait)
        if self._is_cut_off and page.exit is None:
            raise errors.NotRunning(f"machine {self._machine} was suspended before the command had all its input")
        if self._give_up_at is not None and page.exit is None and time.monotonic() > self._give_up_at:
            raise errors.AgentUnavailable("the guest did not end a command whose time was over")
        if not page.stdout and not page.stderr and page.exit is None and time.monotonic() - began < QUICK:
            await asyncio.sleep(QUICK)  # a guest that answers nothing at once must not keep us busy
        self._stdout_at = page.stdout_at + len(page.stdout)
        self._stderr_at = page.stderr_at + len(page.stderr)
        self.exit = page.exit
        pages = ((Stream.STDOUT, page.stdout, page.stdout_at), (Stream.STDERR, page.stderr, page.stderr_at))
        return [Chunk(stream, data, at) for stream, data, at in pages if data]

    async def _page(self, wait: float) -> guest.Output:
        def read() -> Awaitable[guest.Output]:
            at = (self._stdout_at, self._stderr_at)
            return self._host.read(self._machine, self.process, *at, wait=wait, limit=READ_LIMIT)

        return await read_on(self._entry, self._rollbacks, read)

    async def _first_page(self, wait: float) -> guest.Output:
        assert self._first is not None
        first, self._first = self._first, None
        try:
            return await first
        except errors.GuestNotFound:  # it got there before the start
            return await self._page(wait)

    async def _feed(self, data: bytes, end: bool) -> None:
        before = self._entry.interruptions
        try:
            await self._host.write(self._machine, self.process, data, end)
        except (errors.NotRunning, errors.AgentUnavailable):
            if self._entry.was_interrupted(before):  # nobody knows how much of it has arrived
                self._is_cut_off = True
            raise

    async def _tidy(self) -> None:
        if self.exit is None:
            await self._end()
        await self._host.forget(self._machine, self.process)

    async def _end(self) -> None:
        await self._host.signal(self._machine, self.process, signal.SIGTERM)
        try:
            async with asyncio.timeout(END_GRACE):
                while self.exit is None:
                    await self.read(wait=1.0)
        except TimeoutError:
            pass  # to forget it is to kill it
