"""Shells kept by name: lines run in a terminal that lives on, with its directory, variables, functions and jobs.

A terminal is opened when it is first named. What a line writes is shown there, to all who look, and told to its caller
with its exit code (`terminal_shell.py` says how the two are told apart from all else). Lines of one terminal run one
after the other. One whose time is over, or whose caller goes away, is interrupted as a person would (^C), then killed;
the terminal stays, unless its shell itself will not end the line. A line that ends the shell (`exit`) ends the
terminal; its name then means a new one.
"""

import asyncio
import contextlib
import signal
import time
import weakref
from collections.abc import AsyncIterator, Awaitable

import structlog

from hutch.control import commands, ending, follower, terminal_shell, terminals
from hutch.control.background import Background
from hutch.control.commands import Command, Completed
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.metering import Meter
from hutch.control.processes import Processes
from hutch.control.records import Entry
from hutch.control.terminal_shell import Scan
from hutch.control.terminals import Terminal, Terminals
from hutch.model import errors, guest, ids
from hutch.model.guest import Exit, ProcessSpec
from hutch.model.ids import MachineId
from hutch.model.machine import Machine
from hutch.model.states import State

log = structlog.get_logger(__name__)

WAIT = 600.0
"""Seconds a line without a limit of its own waits for those before it."""

INTERRUPTS = 5
"""How often ^C is typed within `GRACE`."""

GRACE = 5.0
"""Seconds between ^C and KILL."""

PATIENCE = 10.0
"""Seconds its shell has to go on after that, before the terminal is ended."""


class Shells:
    """Lines in the terminals of all machines."""

    def __init__(
        self, fleet: Fleet, terminals: Terminals, processes: Processes, background: Background, meter: Meter
    ) -> None:
        self._fleet = fleet
        self._terminals = terminals
        self._processes = processes
        self._background = background
        self._meter = meter
        self._turns: weakref.WeakValueDictionary[tuple[MachineId, str], asyncio.Lock] = weakref.WeakValueDictionary()

    async def run(
        self, principal: Principal, machine: MachineId, name: str, command: Command, keep: int = 1024 * 1024
    ) -> Completed:
        """Run `command.shell` in the terminal of this name, and tell what it wrote, as stdout, and its exit.

        The first `keep` bytes are told. The user, environment, size and directory are those of a terminal that is
        opened for it. Needs `machine:exec`; starts or wakes the machine. An exit with `timed_out` after
        `command.timeout` seconds, which also count while it waits for its turn.
        """
        began = time.monotonic()
        spec = commands.make_spec(command)  # what is wrong with it is told before anything is opened
        terminals.check_name(name)
        until = None if spec.timeout is None else began + spec.timeout
        turn = self._turns.setdefault((machine, name), asyncio.Lock())
        entry = self._fleet.entry(principal, machine, "machine:exec")
        async with self._fleet.awake(entry):
            if not await _took(turn, WAIT if until is None else until - began):
                return _completed(None, None, began)
            terminal = line = None
            try:
                terminal = await self._terminal(principal, machine, name, command)
                line = _Line(self._fleet, self._terminals, entry, terminal, keep)
                async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
                    await line.run(command.shell or "")
            except TimeoutError:
                pass
            finally:
                self._meter.count_exec(entry.machine, time.monotonic() - began)
                if line is None or line.is_done or self._processes.is_released:
                    turn.release()
                else:
                    self._leave(principal, entry, line, turn)
        return _completed(terminal, line, began)

    async def _terminal(self, principal: Principal, machine: MachineId, name: str, command: Command) -> Terminal:
        there = await self._terminals.list(principal, machine)
        running = [it for it in there if it.name == name and it.exit is None]
        opened = Command(env=command.env, cwd=command.cwd, user=command.user, terminal=command.terminal)
        return running[-1] if running else await self._terminals.open(principal, machine, opened, name)

    def _leave(self, principal: Principal, entry: Entry, line: "_Line", turn: asyncio.Lock) -> None:
        """Have it interrupted, as soon as its machine runs: none is woken for that."""

        def look(_: Machine) -> None:
            if not line.is_away:
                entry.watchers.remove(look)
                self._background.go_on("interrupting a line", self._interrupt(principal, line, turn))

        entry.watchers.append(look)
        look(entry.machine)

    async def _interrupt(self, principal: Principal, line: "_Line", turn: asyncio.Lock) -> None:
        try:
            if not await line.interrupt():
                log.info("a shell did not go on: its terminal is ended", machine=line.terminal.machine)
                await self._terminals.end(principal, line.terminal)
        finally:
            turn.release()


class _Line:
    """One line in a terminal, from its being typed to its end."""

    def __init__(self, fleet: Fleet, terminals: Terminals, entry: Entry, terminal: Terminal, keep: int) -> None:
        self.terminal = terminal
        self.exit: Exit | None = None
        self._fleet = fleet
        self._terminals = terminals
        self._entry = entry
        self._rollbacks = entry.rollbacks
        self._host = fleet.host
        self._id = entry.machine.id
        self._script = f"{terminal_shell.HOME}/{ids.random_id()[:8]}"
        self._number = ids.random_id()
        self.scan = Scan(self._number, keep)
        self._at = terminal.written

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left in the terminal."""
        return self.exit is not None

    @property
    def is_away(self) -> bool:
        """Whether its machine is paused or suspended, and the terminal with it."""
        return self._entry.machine.state is not State.RUNNING and self._entry.keeps_processes and not self._is_lost

    @property
    def _is_lost(self) -> bool:
        """Whether the machine was put back to a snapshot: what is in its terminals now is not this line."""
        return self._entry.rollbacks != self._rollbacks

    async def run(self, line: str) -> None:
        """Type it, and follow it to its end."""
        await self._put(line)
        await self._host.processes.write(self._id, self.terminal.process, terminal_shell.typed(self._script))
        await self._follow()
        await self._remove()

    async def _remove(self) -> None:
        with contextlib.suppress(errors.GuestNotFound):
            await self._host.files.remove(self._id, self._script)

    async def _put(self, line: str) -> None:
        """Where only who the shell runs as may read it."""
        files = self._host.files
        await files.make_directory(self._id, terminal_shell.HOME, 0o755)
        await files.write(self._id, self._script, _once(terminal_shell.script(self._number, line)), 0o600)
        try:
            shell = await files.stat(self._id, f"/proc/{self.terminal.pid}")
        except errors.GuestNotFound:  # it has just ended, or its processes are not listed there
            return
        if shell.uid:
            await files.change(self._id, self._script, None, f"{shell.uid}:{shell.gid}")

    async def _follow(self, to_its_beginning: bool = False) -> None:
        while self.exit is None and not (to_its_beginning and self.scan.has_begun):
            page = await follower.read_on(self._entry, self._rollbacks, self._read)
            if page.stdout_at > self._at:
                self.scan.miss()
            self._at = page.stdout_at + len(page.stdout)
            self._terminals.note_read(self.terminal, page)
            self.scan.feed(page.stdout)
            if self.scan.code is not None:
                self.exit = Exit(code=self.scan.code)
            elif page.exit is not None:
                self.exit = page.exit
            if not page.stdout and self.exit is None:
                await asyncio.sleep(follower.QUICK)  # a guest that answers nothing at once must not keep us busy

    def _read(self) -> Awaitable[guest.Output]:
        wanted = (self._id, self.terminal.process, self._at, 0)
        return self._host.processes.read(*wanted, follower.READ_WAIT, follower.READ_LIMIT)

    async def interrupt(self) -> bool:
        """End it: ^C, then KILL to what is in the foreground. False if its shell still does not go on."""
        if self._is_lost:
            return True
        async with self._fleet.used(self._entry):
            await self._remove()  # a shell that has not read it yet never will; one that has tells so at once
            if not await self._gets(PATIENCE, to_its_beginning=True):
                return True
            for _ in range(INTERRUPTS):  # bash takes no notice of one that comes just when a command has ended
                await self._host.processes.write(self._id, self.terminal.process, terminal_shell.INTERRUPT)
                if await self._gets(GRACE / INTERRUPTS):
                    return True
            await self._kill_foreground()
            return await self._gets(PATIENCE)

    async def _gets(self, patience: float, to_its_beginning: bool = False) -> bool:
        """Whether it comes to its end within so many seconds, or only to its beginning."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._follow(to_its_beginning)
        return self.is_done or (to_its_beginning and self.scan.has_begun)

    async def _kill_foreground(self) -> None:
        process = ids.random_id()
        script = terminal_shell.KILL.format(pid=self.terminal.pid)
        spec = ProcessSpec(("sh", "-c", script), cwd="/", user="root", timeout=PATIENCE)
        await self._host.processes.start(self._id, process, spec)
        await self._host.processes.read(self._id, process, 0, 0, PATIENCE)
        await ending.end_process(self._host.processes, self._id, process, signal.SIGKILL)
        await self._host.processes.forget(self._id, process)


async def _took(turn: asyncio.Lock, patience: float) -> bool:
    try:
        async with asyncio.timeout(patience):
            return await turn.acquire()
    except TimeoutError:
        return False


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _completed(terminal: Terminal | None, line: _Line | None, began: float) -> Completed:
    end = line.exit if line is not None and line.exit is not None else Exit(signal=2, timed_out=True)
    stdout, is_truncated = (line.scan.output(), line.scan.is_truncated) if line is not None else (b"", False)
    process, pid = (terminal.process, terminal.pid) if terminal is not None else (ids.ProcessId(""), 0)
    return Completed(process, pid, stdout, b"", is_truncated, False, end, time.monotonic() - began)
