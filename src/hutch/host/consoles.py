"""What a machine has written since a cursor: its console, and its own command behind it."""

import contextlib
from dataclasses import dataclass, replace

from hutch.host.interface import Console, Cursor, Processes
from hutch.model import errors, guest
from hutch.model.ids import MachineId

LIMIT = 64 * 1024
"""Bytes of each stream of the machine's own command that are told at once."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The end of what one process wrote to its console."""

    run: str  # of which process; another one has another
    data: bytes
    end: int  # bytes it has written in all

    def since(self, cursor: Cursor) -> Console:
        """What is kept of what came after it."""
        fresh = self.end - cursor.at if cursor.run == self.run else len(self.data)
        text = self.data[-fresh:] if fresh > 0 else b""
        return Console(text, replace(cursor, run=self.run, at=self.end))


async def with_command(told: Console, processes: Processes, machine: MachineId, main: str) -> Console:
    """The same, and what the machine's own command wrote, which is process `main`, if it is there and can be asked."""
    with contextlib.suppress(errors.HutchError):
        for info in await processes.list(machine):
            if info.id == main:
                return await _add(told, info, processes, machine)
    return told


async def _add(told: Console, info: guest.ProcessInfo, processes: Processes, machine: MachineId) -> Console:
    command, end = f"{info.pid} {info.started_at}", told.end
    if end.command == command:
        stdout, stderr = end.stdout, end.stderr
    else:
        stdout, stderr = max(0, info.stdout_bytes - LIMIT), max(0, info.stderr_bytes - LIMIT)
    page = await processes.read(machine, info.id, stdout, stderr, wait=0.0, limit=LIMIT)
    stdout, stderr = page.stdout_at + len(page.stdout), page.stderr_at + len(page.stderr)
    return Console(told.text + page.stdout + page.stderr, replace(end, command=command, stdout=stdout, stderr=stderr))
