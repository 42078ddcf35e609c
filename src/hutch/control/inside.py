"""Work in one machine on behalf of its owner: commands and files, for parts of the control plane that need both."""

import asyncio
import builtins
import contextlib
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

from hutch.control.commands import Chunk, Command, Kept, Started, Stream
from hutch.control.files import Files
from hutch.control.keys import Principal
from hutch.control.processes import Processes
from hutch.model import errors
from hutch.model.guest import Exit, FileStat
from hutch.model.ids import MachineId

KEPT = 1024 * 1024
"""Bytes of each output that are kept."""

TAIL = 4096
"""Bytes of the end of what a failing command wrote that its error tells."""

Tell = Callable[[bytes], None]


def tell_nobody(_: bytes) -> None:
    """The `Tell` of somebody who does not want to know."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended. `tail` is the end of both its outputs, as they came."""

    exit: Exit
    stdout: bytes
    stderr: bytes
    tail: str
    pid: int = 0  # in the guest, and its process group; 0 if it could not be started


class CommandFailed(errors.GuestError):
    """A command in the guest failed; the end of what it wrote is in the message."""

    def __init__(self, what: str, ran: Ran) -> None:
        how = "took too long" if ran.exit.timed_out else f"ended with code {ran.exit.shell_code}"
        super().__init__(f"{what} {how}:\n{ran.tail}" if ran.tail else f"{what} {how}")
        self.ran = ran


class Inside:
    """One machine. Every call wakes or starts it, is its use, and is made with its owner's key."""

    def __init__(self, processes: Processes, files: Files, principal: Principal, machine: MachineId) -> None:
        self._processes = processes
        self._files = files
        self._principal = principal
        self.machine = machine

    async def run(self, command: Command, tell: Tell = tell_nobody, stdin: AsyncIterator[bytes] | None = None) -> Ran:
        """Run it to its end; `tell` gets its output as it comes. Ended if the caller is cancelled.

        `stdin` is written as it is read; what it raises is raised once the command has ended, whose input ended there.
        """
        kept = {stream: Kept(KEPT) for stream in Stream}
        tail, end, pid = bytearray(), Exit(code=0), 0
        async with contextlib.AsyncExitStack() as feeding:
            if stdin is not None:
                command = replace(command, interactive=True)
            async for event in self._stream(command):
                match event:
                    case Started():
                        pid = event.pid
                        if stdin is not None:
                            feed = asyncio.create_task(self._feed(event, stdin))
                            feeding.push_async_callback(_end, feed)
                    case Chunk(stream, data):
                        kept[stream].add(data)
                        tail += data
                        del tail[:-TAIL]
                        tell(data)
                    case Exit():
                        end = event
        text = tail.decode(errors="replace").strip()
        return Ran(end, bytes(kept[Stream.STDOUT]), bytes(kept[Stream.STDERR]), text, pid)

    async def _feed(self, started: Started, stdin: AsyncIterator[bytes]) -> None:
        """A command that reads no more says itself why."""
        try:
            async for data in stdin:
                try:
                    await self._processes.write(self._principal, self.machine, started.process, data)
                except errors.GuestError:
                    return
        finally:
            with contextlib.suppress(errors.GuestError):
                await self._processes.write(self._principal, self.machine, started.process, b"", end=True)

    async def output(self, command: Command, what: str = "") -> AsyncGenerator[bytes, None]:
        """Its stdout, pulled: nothing is kept. At its end `CommandFailed` unless that is 0. Ended if closed early."""
        tail, pid = bytearray(), 0
        async with contextlib.aclosing(self._stream(command)) as events:
            async for event in events:
                match event:
                    case Started():
                        pid = event.pid
                    case Chunk(Stream.STDOUT, data):
                        yield data
                    case Chunk(_, data):
                        tail += data
                        del tail[:-TAIL]
                    case Exit() if event.code != 0:
                        text = tail.decode(errors="replace").strip()
                        raise _failed(command, what, Ran(event, b"", b"", text, pid))

    async def _stream(self, command: Command) -> AsyncGenerator[Started | Chunk | Exit, None]:
        events = self._processes.stream(self._principal, self.machine, command)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def check(
        self, command: Command, what: str = "", tell: Tell = tell_nobody, stdin: AsyncIterator[bytes] | None = None
    ) -> bytes:
        """The same as `run`, for its stdout. `CommandFailed` unless it ended with 0; `what` names it there."""
        ran = await self.run(command, tell, stdin)
        if ran.exit.code != 0:
            raise _failed(command, what, ran)
        return ran.stdout

    async def argv(self, *argv: str, timeout: float = 60.0, env: Mapping[str, str] | None = None) -> bytes:
        """`check` for a short command, as root, without a shell."""
        return await self.check(Command(argv=argv, timeout=timeout, user="root", cwd="/", env=env or {}))

    async def write(self, path: str, content: bytes, mode: int | None = None, owner: str | None = None) -> None:
        """Replace or make a file, with missing directories."""

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        await self._files.write(self._principal, self.machine, path, chunks(), mode)
        if owner is not None:
            await self._files.change(self._principal, self.machine, path, owner=owner)

    async def read(self, path: str, limit: int = KEPT) -> bytes:
        """A regular file's bytes. `GuestNotFound`; `GuestError` if there are more than `limit`."""
        stat, chunks = await self._files.read(self._principal, self.machine, path)
        content = bytearray()
        async for chunk in chunks:
            content += chunk
            if len(content) > limit:
                raise errors.GuestError(f"{path}: {stat.size} bytes, more than the {limit} that are read")
        return bytes(content)

    async def chunks(self, path: str) -> AsyncGenerator[bytes, None]:
        """A regular file's bytes, pulled."""
        _, chunks = await self._files.read(self._principal, self.machine, path)
        async for chunk in chunks:
            yield chunk

    async def make_directory(self, path: str) -> None:
        """Make it, and what is missing above it; no error if it is there."""
        await self._files.make_directory(self._principal, self.machine, path)

    async def stat(self, path: str) -> FileStat:
        """Of the path itself: symlinks are not followed. `GuestNotFound`."""
        return await self._files.stat(self._principal, self.machine, path)

    async def list(self, path: str) -> builtins.list[FileStat]:
        """What a directory holds, by name."""
        return await self._files.list(self._principal, self.machine, path)

    async def remove(self, path: str) -> None:
        """Remove a file, a symlink, or a directory with all in it; no error if it is not there."""
        with contextlib.suppress(errors.GuestNotFound):
            await self._files.remove(self._principal, self.machine, path, recursive=True)

    async def has(self, path: str) -> bool:
        """Whether there is anything at a path."""
        try:
            await self._files.stat(self._principal, self.machine, path)
        except errors.GuestNotFound:
            return False
        return True


def _failed(command: Command, what: str, ran: Ran) -> CommandFailed:
    return CommandFailed(what or command.shell or shlex.join(command.argv or ()), ran)


async def _end(feed: asyncio.Task[None]) -> None:
    """Nobody reads what it writes any more. Raises what it raised."""
    feed.cancel()
    await asyncio.wait([feed])
    if not feed.cancelled():
        feed.result()
