"""Running commands in machines: buffered, streamed, or left running and read by offset.

All are one thing, a process the guest's agent keeps (`hutch.host.interface.Processes`). Every call needs
`machine:exec`, feeds the idle timer and wakes a paused or suspended machine; those that run something start a stopped
one too. A command that cannot be started (no such program, cwd or user) is not an error of ours: it ends with code
255 and the agent's words on stderr, as under a container runtime.
"""

import asyncio
import builtins
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable

from hutch import settings
from hutch.control import commands, follower
from hutch.control.background import Background
from hutch.control.commands import Chunk as Chunk
from hutch.control.commands import Command as Command
from hutch.control.commands import Completed as Completed
from hutch.control.commands import Kept
from hutch.control.commands import Started as Started
from hutch.control.commands import Stream as Stream
from hutch.control.fleet import Fleet
from hutch.control.follower import Follower
from hutch.control.keys import Principal
from hutch.control.metering import Meter
from hutch.control.records import Entry
from hutch.model import errors, guest
from hutch.model.guest import Exit
from hutch.model.ids import MachineId, ProcessId
from hutch.model.states import State


class Processes:
    """Commands in machines."""

    def __init__(self, fleet: Fleet, background: Background, limits: settings.Machines, meter: Meter) -> None:
        self._fleet = fleet
        self._meter = meter
        self._host = fleet.host.processes
        self._background = background
        self._limits = limits
        self.is_released = False

    def release(self) -> None:
        """From now on a command whose caller goes away runs on: the first thing to be said when the service ends."""
        self.is_released = True

    async def run(
        self, principal: Principal, machine: MachineId, command: Command, keep: int | None = None, wakes: bool = True
    ) -> Completed:
        """Run it to its end. If the caller is cancelled the command is ended.

        Of each stream the first `keep` bytes are kept (None: `settings.machines.exec_output_limit`).
        With `background` it is only started: the process's id and pid are told, and its exit is 0.
        Unless it `wakes`, `NotRunning` of a machine that does not run.
        """
        return await self.collect(self._events(principal, machine, command, wakes), keep)

    async def collect(self, events: AsyncGenerator[Started | Chunk | Exit, None], keep: int | None = None) -> Completed:
        """Follow a stream to its end, and tell it as a whole."""
        began = time.monotonic()
        limit = self._limits.exec_output_limit if keep is None else keep
        kept = {stream: Kept(limit) for stream in Stream}
        started, end = Started(ProcessId(""), 0), Exit(code=0)
        async with contextlib.aclosing(events):
            async for event in events:
                match event:
                    case Started():
                        started = event
                    case Chunk(stream, data):
                        kept[stream].add(data)
                    case Exit():
                        end = event
        stdout, stderr = kept[Stream.STDOUT], kept[Stream.STDERR]
        return Completed(
            started.process,
            started.pid,
            bytes(stdout),
            bytes(stderr),
            stdout.is_truncated,
            stderr.is_truncated,
            end,
            duration=time.monotonic() - began,
        )

    def stream(
        self, principal: Principal, machine: MachineId, command: Command
    ) -> AsyncGenerator[Started | Chunk | Exit, None]:
        """Run it and tell its output as it comes: `Started`, any number of `Chunk`, and at last its `Exit`.

        What goes wrong before it runs (`NotFound`, `Forbidden`, `NoCapacity`…) is raised instead of `Started`: take
        the first item before answering 200. Closing the iterator early ends the command (its group gets TERM, then
        KILL): wrap it in `contextlib.aclosing`. With `background` nothing follows `Started`.
        """
        return self._events(principal, machine, command)

    async def _events(
        self, principal: Principal, machine: MachineId, command: Command, wakes: bool = True
    ) -> AsyncGenerator[Started | Chunk | Exit, None]:
        spec = commands.make_spec(command)
        async with self._following(principal, machine, wakes) as process:
            if not command.background:
                process.read_ahead()
            try:
                info = await process.start(spec, command.stdin, end=not command.interactive)
            except errors.GuestError as error:
                yield Started(process.process, 0)
                yield Chunk(Stream.STDERR, f"{error.message}\n".encode(), 0)
                yield commands.NOT_STARTED
                return
            if command.background:
                process.keep()
            yield Started(process.process, info.pid)
            while process.exit is None and not command.background:
                for chunk in await process.read():
                    yield chunk
            if process.exit is not None:
                yield process.exit

    @contextlib.asynccontextmanager
    async def _following(self, principal: Principal, machine: MachineId, wakes: bool = True) -> AsyncIterator[Follower]:
        entry = self._entry(principal, machine)
        if not wakes and entry.machine.state is not State.RUNNING:
            raise errors.NotRunning(f"machine {machine} is {entry.machine.state}: start it first")
        async with self._fleet.awake(entry):
            with Follower(self._host, self._background, entry) as process:
                began = time.monotonic()
                try:
                    yield process
                finally:
                    self._meter.count_exec(entry.machine, time.monotonic() - began)
                    if self.is_released and process.exit is None:
                        process.keep()

    async def start(self, principal: Principal, machine: MachineId, command: Command) -> guest.ProcessInfo:
        """Start it and return. Unlike `run` it raises `GuestNotFound` or `GuestError` if it cannot be started."""
        spec = commands.make_spec(command)
        async with self._following(principal, machine) as process:
            info = await process.start(spec, command.stdin, end=not command.interactive)
            process.keep()
            return info

    async def output(
        self,
        principal: Principal,
        machine: MachineId,
        process: str,
        offsets: tuple[int, int] = (0, 0),
        wait: float = 0.0,
        limit: int = follower.READ_LIMIT,
    ) -> guest.Output:
        """A page of its output from `(stdout, stderr)` offsets on, at most `limit` bytes of each.

        Waits up to `wait` seconds for any. Works on after a restart of the service. Wakes a paused or suspended
        machine, but does not start a stopped one: `NotRunning`.
        """
        if min(*offsets, limit, wait) < 0:
            raise errors.InvalidRequest("offsets, limit and wait are 0 or more")
        wait, limit = min(wait, follower.READ_WAIT), min(limit, follower.READ_LIMIT)
        entry = self._entry(principal, machine)
        async with self._fleet.used(entry) as id:
            until = time.monotonic() + wait

            def read() -> Awaitable[guest.Output]:
                left = max(0.0, until - time.monotonic())
                return self._host.read(id, process, *offsets, wait=left, limit=limit)

            try:
                return await follower.read_on(entry, entry.rollbacks, read, until)
            except TimeoutError:
                return guest.Output(b"", offsets[0], b"", offsets[1])

    def follow(
        self, principal: Principal, machine: MachineId, process: str, offsets: tuple[int, int] = (0, 0)
    ) -> AsyncGenerator[Chunk | Exit, None]:
        """What a process that runs already writes, from these offsets on, and at last its exit.

        Closing it leaves the process running. While its machine is paused or suspended it waits, without waking it
        again. `NotRunning` when the machine has lost its processes, `GuestNotFound` if the agent does not know it.
        """
        return self._follow(self._entry(principal, machine), process, offsets)

    async def _follow(self, entry: Entry, process: str, offsets: tuple[int, int]) -> AsyncGenerator[Chunk | Exit, None]:
        async with self._fleet.used(entry) as id:
            rollbacks, at = entry.rollbacks, offsets

            def read() -> Awaitable[guest.Output]:
                return self._host.read(id, process, *at, wait=follower.READ_WAIT, limit=follower.READ_LIMIT)

            while True:
                began = time.monotonic()
                page = await follower.read_on(entry, rollbacks, read)
                for stream, data, start in (
                    (Stream.STDOUT, page.stdout, page.stdout_at),
                    (Stream.STDERR, page.stderr, page.stderr_at),
                ):
                    if data:
                        yield Chunk(stream, data, start)
                if page.exit is not None:
                    yield page.exit
                    return
                at = (page.stdout_at + len(page.stdout), page.stderr_at + len(page.stderr))
                if at == offsets and time.monotonic() - began < follower.QUICK:
                    await asyncio.sleep(follower.QUICK)  # a guest that answers nothing at once must not keep us busy
                offsets = at

    async def write(
        self, principal: Principal, machine: MachineId, process: str, data: bytes, end: bool = False
    ) -> None:
        """Write all of `data` to its stdin, waiting as a pipe would; `end` closes it."""
        async with self._fleet.used(self._entry(principal, machine)) as id:
            await self._host.write(id, process, data, end)

    async def signal(self, principal: Principal, machine: MachineId, process: str, number: int) -> None:
        """Send a signal to its whole process group; no error if it has ended."""
        if not 1 <= number <= 64:
            raise errors.InvalidRequest(f"signal {number}: signals are 1 to 64")
        async with self._fleet.used(self._entry(principal, machine)) as id:
            await self._host.signal(id, process, number)

    async def resize(self, principal: Principal, machine: MachineId, process: str, size: guest.TerminalSize) -> None:
        """Resize its terminal."""
        commands.check_terminal(size)
        async with self._fleet.used(self._entry(principal, machine)) as id:
            await self._host.resize(id, process, size)

    async def forget(self, principal: Principal, machine: MachineId, process: str) -> None:
        """Drop it and its output; a running one is killed first. No error if it is not there."""
        async with self._fleet.used(self._entry(principal, machine)) as id:
            await self._host.forget(id, process)

    async def list(self, principal: Principal, machine: MachineId) -> builtins.list[guest.ProcessInfo]:
        """All the agent knows, oldest first; none if the machine is not running. Looking: no activity."""
        entry = self._entry(principal, machine)
        return await self._host.list(entry.machine.id) if entry.machine.state is State.RUNNING else []

    def _entry(self, principal: Principal, machine: MachineId) -> Entry:
        return self._fleet.entry(principal, machine, "machine:exec")
