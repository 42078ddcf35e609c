"""Work in one machine on behalf of its owner: commands and files, for parts of the control plane that need both."""

import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from hutch.control.commands import Chunk, Command, Kept, Started, Stream
from hutch.control.files import Files
from hutch.control.keys import Principal
from hutch.control.processes import Processes
from hutch.model import errors
from hutch.model.guest import Exit
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

    async def run(self, command: Command, tell: Tell = tell_nobody) -> Ran:
        """Run it to its end; `tell` gets its output as it comes. Ended if the caller is cancelled."""
        kept = {stream: Kept(KEPT) for stream in Stream}
        tail, end = bytearray(), Exit(code=0)
        async for event in self._stream(command):
            match event:
                case Chunk(stream, data):
                    kept[stream].add(data)
                    tail += data
                    del tail[:-TAIL]
                    tell(data)
                case Exit():
                    end = event
        text = tail.decode(errors="replace").strip()
        return Ran(end, bytes(kept[Stream.STDOUT]), bytes(kept[Stream.STDERR]), text)

    async def _stream(self, command: Command) -> AsyncIterator[Started | Chunk | Exit]:
        events = self._processes.stream(self._principal, self.machine, command)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def check(self, command: Command, what: str = "", tell: Tell = tell_nobody) -> bytes:
        """The same, for its stdout. `CommandFailed` unless it ended with 0; `what` names it there."""
        ran = await self.run(command, tell)
        if ran.exit.code != 0:
            raise CommandFailed(what or command.shell or shlex.join(command.argv or ()), ran)
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

    async def has(self, path: str) -> bool:
        """Whether there is anything at a path."""
        try:
            await self._files.stat(self._principal, self.machine, path)
        except errors.GuestNotFound:
            return False
        return True
