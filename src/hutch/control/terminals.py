"""Terminals: a shell on a pseudo-terminal, kept by the guest's agent, so that a client can leave it and come back.

Only the agent knows which there are: they outlive connections and this service, and end with their machine's memory.
A terminal nobody reads goes on; of its output the agent keeps the last 1 MiB. One may have a name, by which it is
found again, and by which lines are run in it (`shells.py`).
"""

import asyncio
import builtins
import dataclasses
import signal
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass, field

from hutch.control import commands, ending, follower, terminal_log, terminal_shell
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.commands import Command
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.records import Entry
from hutch.control.terminal_log import LogLine, Stamps
from hutch.model import errors, guest, ids
from hutch.model.guest import Exit, TerminalSize
from hutch.model.ids import MachineId, ProcessId
from hutch.model.states import State

PREFIX = "tty-"
"""What the ids of terminals' processes begin with; so they are told from others after a restart."""

DEFAULT_SIZE = TerminalSize(80, 24)

LOGIN = ("sh", "-c", '[ -x "$SHELL" ] && exec "$SHELL" -l; exec sh -l')
"""The user's shell as the guest's password file names it, which the agent tells in SHELL; else the image's `sh`."""

MOST = 64
"""Terminals that run in one machine at a time."""

BAD_NAME = "invalid_session_id"

KEPT = 2**20
"""Bytes of output that an agent keeps of one: a guest that has more to show is not an agent of ours."""

_KNOWN = 4096
_PAGES = 64  # that are read of one at once; four hold all that is kept


class TooManyTerminals(errors.NoCapacity):
    """There are as many terminals in the machine as may be."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """One terminal. `name` is its process's id where it was given none."""

    machine: MachineId
    process: ProcessId
    pid: int
    size: TerminalSize
    name: str
    started_at: float  # Unix seconds, by the guest's clock
    argv: tuple[str, ...] = field(default=(), compare=False)
    written: int = field(default=0, compare=False)  # bytes, when it was looked at
    exit: Exit | None = field(default=None, compare=False)


_Key = tuple[MachineId, ProcessId]  # a copy of a machine has terminals with the same ids


@dataclass(slots=True)
class _Known:
    """What only this service knows of a terminal."""

    size: TerminalSize = DEFAULT_SIZE
    stamps: Stamps = field(default_factory=Stamps)
    readers: int = 0


class Terminals:
    """The terminals of all machines. All calls need `machine:exec` and count as activity while they last."""

    def __init__(self, fleet: Fleet, background: Background, clock: Clock) -> None:
        self._fleet = fleet
        self._host = fleet.host.processes
        self._background = background
        self._clock = clock
        self._known: dict[_Key, _Known] = {}
        self._opening: weakref.WeakValueDictionary[MachineId, asyncio.Lock] = weakref.WeakValueDictionary()

    async def open(
        self, principal: Principal, machine: MachineId, command: Command | None = None, name: str | None = None
    ) -> Terminal:
        """A new one; None: the user's login shell, 80 × 24. Starts or wakes the machine.

        A command without argv and shell is that shell too. `GuestNotFound`, `GuestError`: it could not be started.
        `Conflict` if one of this name runs, `Flawed` for what is no name, `TooManyTerminals`.
        """
        command = command or Command()
        if command.argv is None and command.shell is None:
            command = dataclasses.replace(command, argv=LOGIN)
        size = command.terminal or DEFAULT_SIZE
        spec = commands.make_spec(dataclasses.replace(command, terminal=size, background=True, interactive=True))
        if name is not None:
            check_name(name)
            spec = dataclasses.replace(spec, argv=terminal_shell.named(name, spec.argv))
        process = ProcessId(PREFIX + ids.random_id())
        lock = self._opening.setdefault(machine, asyncio.Lock())
        async with self._fleet.awake(self._entry(principal, machine)) as id, lock:
            self._check_room(name, await self._all(id))
            info = await self._host.start(id, process, spec)
            if command.stdin:
                await self._host.write(id, process, command.stdin)
        self._note(machine, process).size = size
        return self._terminal(machine, info)

    def _check_room(self, name: str | None, there: Sequence[Terminal]) -> None:
        running = [it for it in there if it.exit is None]
        if name is not None and any(it.name == name for it in running):
            raise errors.Conflict(f"there is a terminal {name} in the machine already")
        if len(running) >= MOST:
            raise TooManyTerminals(f"{MOST} terminals run in the machine: the most there may be")

    async def list(self, principal: Principal, machine: MachineId) -> builtins.list[Terminal]:
        """Those the agent knows, oldest first, also ended ones; none if the machine does not run. Looking."""
        entry = self._entry(principal, machine)
        return await self._all(entry.machine.id) if entry.machine.state is State.RUNNING else []

    async def _all(self, machine: MachineId) -> builtins.list[Terminal]:
        known = await self._host.list(machine)
        return [self._terminal(machine, info) for info in known if info.id.startswith(PREFIX)]

    def _terminal(self, machine: MachineId, info: guest.ProcessInfo) -> Terminal:
        process = ProcessId(info.id)
        known = self._known.get((machine, process))
        name = terminal_shell.name_of(info.argv) or info.id
        size = known.size if known is not None else DEFAULT_SIZE
        told = (info.started_at, info.argv, info.stdout_bytes, info.exit)
        return Terminal(machine, process, info.pid, size, name, *told)

    async def find(self, principal: Principal, machine: MachineId, named: str) -> Terminal:
        """One that was opened before, by its process's id or pid or its name, to come back to.

        Also after a restart of the service; its size is told as 80 × 24 then, if nobody has set it since. One that has
        ended is found for as long as the agent keeps its output. `NotFound`. Wakes a paused or suspended machine;
        `NotRunning` if nothing can run in it.
        """
        async with self._fleet.used(self._entry(principal, machine)) as id:
            there = await self._all(id)
        # The last of those that run, or else of those that have ended: names and pids are used again. A name of digits
        # is no pid.
        wanted = [it for it in there if named in (it.process, it.name)] or [it for it in there if named == str(it.pid)]
        if not wanted:
            raise errors.NotFound(f"machine {machine} has no such terminal")
        return max(enumerate(wanted), key=lambda it: (it[1].exit is None, it[0]))[1]

    def readers(self, terminal: Terminal) -> int:
        """How many read it at this moment, through this service."""
        known = self._known.get((terminal.machine, terminal.process))
        return known.readers if known is not None else 0

    async def screen(self, principal: Principal, terminal: Terminal) -> bytes:
        """All of its output that is kept, as a terminal can show it again. Wakes the machine, as `find` does."""
        return (await self._shown(principal, terminal))[0]

    async def log(self, principal: Principal, terminal: Terminal) -> Sequence[LogLine]:
        """The same as lines of plain text. A line has no time if nobody was reading when it came."""
        data, start = await self._shown(principal, terminal)
        return terminal_log.lines(data, start, self._note(terminal.machine, terminal.process).stamps)

    async def _shown(self, principal: Principal, terminal: Terminal) -> tuple[bytes, int]:
        """What is kept now, and where it begins."""
        async with self._fleet.used(self._entry(principal, terminal.machine)) as id:
            info = await ending.find_process(self._host, id, terminal.process)
            data, at, end = bytearray(), 0, 0 if info is None else info.stdout_bytes
            for _ in range(_PAGES):
                if at + len(data) >= end or len(data) >= KEPT:
                    break
                page = await self._host.read(id, terminal.process, at + len(data), 0, 0.0, follower.READ_LIMIT)
                if page.stdout_at != at + len(data):  # the oldest has gone meanwhile
                    data, at = bytearray(), page.stdout_at
                data += page.stdout
                if not page.stdout:
                    break
        return bytes(data), at

    def read(self, principal: Principal, terminal: Terminal, offset: int = 0) -> AsyncGenerator[bytes | Exit, None]:
        """Its output from an offset on (kept: the last 1 MiB), and at last its exit. Closing it leaves it running.

        While its machine is paused or suspended it waits, without waking it again. `NotRunning` when the machine has
        lost its processes, `GuestNotFound` if the agent does not know the terminal.
        """
        if offset < 0:
            raise errors.InvalidRequest("an offset is 0 or more")
        return self._read(self._entry(principal, terminal.machine), terminal, offset)

    async def _read(self, entry: Entry, terminal: Terminal, offset: int) -> AsyncGenerator[bytes | Exit, None]:
        known = self._note(terminal.machine, terminal.process)
        known.readers += 1
        try:
            async for told in self._pages(entry, terminal, offset):
                yield told
        finally:
            known.readers -= 1

    async def _pages(self, entry: Entry, terminal: Terminal, offset: int) -> AsyncGenerator[bytes | Exit, None]:
        async with self._fleet.used(entry) as id:
            rollbacks = entry.rollbacks

            def read() -> Awaitable[guest.Output]:
                return self._host.read(id, terminal.process, offset, 0, follower.READ_WAIT, follower.READ_LIMIT)

            while True:
                began = time.monotonic()
                page = await follower.read_on(entry, rollbacks, read)
                offset = page.stdout_at + len(page.stdout)
                if page.stdout:
                    self.note_read(terminal, page)
                    yield page.stdout
                elif page.exit is None and time.monotonic() - began < follower.QUICK:
                    await asyncio.sleep(follower.QUICK)  # a guest that answers nothing at once must not keep us busy
                if page.exit is not None:
                    yield page.exit
                    return

    async def write(self, principal: Principal, terminal: Terminal, data: bytes) -> None:
        """Type."""
        async with self._fleet.used(self._entry(principal, terminal.machine)) as id:
            await self._host.write(id, terminal.process, data)

    async def resize(self, principal: Principal, terminal: Terminal, size: TerminalSize) -> None:
        """Tell its program another size."""
        commands.check_terminal(size)
        async with self._fleet.used(self._entry(principal, terminal.machine)) as id:
            await self._host.resize(id, terminal.process, size)
        self._note(terminal.machine, terminal.process).size = size

    async def close(self, principal: Principal, terminal: Terminal) -> Exit | None:
        """Hang up, and forget it with what it has shown. Its exit, if that is known."""
        entry = self._entry(principal, terminal.machine)
        return await self._background.finish(self._close(entry, terminal))

    async def _close(self, entry: Entry, terminal: Terminal) -> Exit | None:
        async with self._fleet.used(entry) as id:
            info = await ending.end_process(self._host, id, terminal.process, signal.SIGHUP)
            await self._host.forget(id, terminal.process)
        self._known.pop((terminal.machine, terminal.process), None)
        return None if info is None else info.exit

    async def end(self, principal: Principal, terminal: Terminal) -> None:
        """Hang up: HUP, then KILL. Returns when it has ended; also done if the caller goes away."""
        entry = self._entry(principal, terminal.machine)
        await self._background.finish(self._end(entry, terminal))

    async def _end(self, entry: Entry, terminal: Terminal) -> None:
        async with self._fleet.used(entry) as id:
            await ending.end_process(self._host, id, terminal.process, signal.SIGHUP)

    def note_read(self, terminal: Terminal, page: guest.Output) -> None:
        """This page of its output has been read: what came after it was looked at, came now."""
        start = max(page.stdout_at, terminal.written)
        known = self._note(terminal.machine, terminal.process)
        known.stamps.note(start, page.stdout_at + len(page.stdout), self._clock.now())

    def _note(self, machine: MachineId, process: ProcessId) -> _Known:
        known = self._known.pop((machine, process), None) or _Known()
        self._known[machine, process] = known
        if len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        return known

    def _entry(self, principal: Principal, machine: MachineId) -> Entry:
        return self._fleet.entry(principal, machine, "machine:exec")


def check_name(name: str) -> None:
    """What a terminal may be called. `Flawed`."""
    if terminal_shell.NAME.fullmatch(name) is None:
        raise errors.Flawed("a terminal's name has 1 to 64 letters, digits, dots, hyphens and underscores", BAD_NAME)
