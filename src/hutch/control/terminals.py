"""Terminals: a shell on a pseudo-terminal, kept by the guest's agent, so that a client can leave it and come back.

Only the agent knows which there are: they outlive connections and this service, and end with their machine's memory.
A terminal nobody reads goes on; of its output the agent keeps the last 1 MiB.
"""

import asyncio
import dataclasses
import signal
import time
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass

from hutch.control import commands, ending, follower
from hutch.control.background import Background
from hutch.control.commands import Command
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.records import Entry
from hutch.model import errors, guest, ids
from hutch.model.guest import Exit, TerminalSize
from hutch.model.ids import MachineId, ProcessId

PREFIX = "tty-"
"""What the ids of terminals' processes begin with; so they are told from others after a restart."""

DEFAULT_SIZE = TerminalSize(80, 24)

LOGIN = ("sh", "-c", '[ -x "$SHELL" ] && exec "$SHELL" -l; exec sh -l')
"""The user's shell as the guest's password file names it, which the agent tells in SHELL; else the image's `sh`."""

_SIZES_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Terminal:
    """One terminal."""

    machine: MachineId
    process: ProcessId
    pid: int
    size: TerminalSize


class Terminals:
    """The terminals of all machines. All calls need `machine:exec` and count as activity while they last."""

    def __init__(self, fleet: Fleet, background: Background) -> None:
        self._fleet = fleet
        self._host = fleet.host.processes
        self._background = background
        self._sizes: dict[ProcessId, TerminalSize] = {}  # as far as they were set here

    async def open(self, principal: Principal, machine: MachineId, command: Command | None = None) -> Terminal:
        """A new one; None: the user's login shell, 80 × 24. Starts or wakes the machine.

        A command without argv and shell is that shell too. `GuestNotFound`, `GuestError`: it could not be started.
        """
        command = command or Command()
        if command.argv is None and command.shell is None:
            command = dataclasses.replace(command, argv=LOGIN)
        size = command.terminal or DEFAULT_SIZE
        spec = commands.make_spec(dataclasses.replace(command, terminal=size, background=True, interactive=True))
        process = ProcessId(PREFIX + ids.random_id())
        async with self._fleet.awake(self._entry(principal, machine)) as id:
            info = await self._host.start(id, process, spec)
            if command.stdin:
                await self._host.write(id, process, command.stdin)
        self._note_size(process, size)
        return Terminal(machine, process, info.pid, size)

    async def find(self, principal: Principal, machine: MachineId, id_or_pid: str) -> Terminal:
        """One that was opened before, by its process's id or pid, to come back to.

        Also after a restart of the service; its size is told as 80 × 24 then, if nobody has set it since. One that has
        ended is found for as long as the agent keeps its output. `NotFound`. Wakes a paused or suspended machine;
        `NotRunning` if nothing can run in it.
        """
        async with self._fleet.used(self._entry(principal, machine)) as id:
            known = [info for info in await self._host.list(id) if info.id.startswith(PREFIX)]
        wanted = [info for info in known if id_or_pid in (info.id, str(info.pid))]
        if not wanted:
            raise errors.NotFound(f"machine {machine} has no such terminal")
        info = min(wanted, key=lambda it: it.exit is not None)  # a pid may have been used again
        process = ProcessId(info.id)
        return Terminal(machine, process, info.pid, self._sizes.get(process, DEFAULT_SIZE))

    def read(self, principal: Principal, terminal: Terminal, offset: int = 0) -> AsyncGenerator[bytes | Exit, None]:
        """Its output from an offset on (kept: the last 1 MiB), and at last its exit. Closing it leaves it running.

        While its machine is paused or suspended it waits, without waking it again. `NotRunning` when the machine has
        lost its processes, `GuestNotFound` if the agent does not know the terminal.
        """
        if offset < 0:
            raise errors.InvalidRequest("an offset is 0 or more")
        return self._read(self._entry(principal, terminal.machine), terminal, offset)

    async def _read(self, entry: Entry, terminal: Terminal, offset: int) -> AsyncGenerator[bytes | Exit, None]:
        async with self._fleet.used(entry) as id:
            rollbacks = entry.rollbacks

            def read() -> Awaitable[guest.Output]:
                return self._host.read(id, terminal.process, offset, 0, follower.READ_WAIT, follower.READ_LIMIT)

            while True:
                began = time.monotonic()
                page = await follower.read_on(entry, rollbacks, read)
                offset = page.stdout_at + len(page.stdout)
                if page.stdout:
                    yield page.stdout
                elif page.exit is None and time.monotonic() - began < follower.QUICK:
                    await asyncio.sleep(follower.QUICK)  # a guest that answers nothing at once must not keep us busy
                if page.exit is not None:
                    self._sizes.pop(terminal.process, None)
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
        self._note_size(terminal.process, size)

    async def end(self, principal: Principal, terminal: Terminal) -> None:
        """Hang up: HUP, then KILL. Returns when it has ended; also done if the caller goes away."""
        entry = self._entry(principal, terminal.machine)
        await self._background.finish(self._end(entry, terminal))

    async def _end(self, entry: Entry, terminal: Terminal) -> None:
        async with self._fleet.used(entry) as id:
            await ending.end_process(self._host, id, terminal.process, signal.SIGHUP)
        self._sizes.pop(terminal.process, None)

    def _note_size(self, process: ProcessId, size: TerminalSize) -> None:
        self._sizes.pop(process, None)
        self._sizes[process] = size
        if len(self._sizes) > _SIZES_KEPT:
            del self._sizes[next(iter(self._sizes))]

    def _entry(self, principal: Principal, machine: MachineId) -> Entry:
        return self._fleet.entry(principal, machine, "machine:exec")
