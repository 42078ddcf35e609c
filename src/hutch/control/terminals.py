"""Terminals: a shell on a pseudo-terminal, kept by the guest's agent, so that a client can leave it and come back."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from hutch.control.commands import Command
from hutch.control.keys import Principal
from hutch.model.guest import Exit, TerminalSize
from hutch.model.ids import MachineId, ProcessId


@dataclass(frozen=True, slots=True)
class Terminal:
    """One terminal."""

    machine: MachineId
    process: ProcessId
    pid: int
    size: TerminalSize


class Terminals:
    """The terminals of all machines. All calls need `machine:exec` and count as activity while they last."""

    async def open(self, principal: Principal, machine: MachineId, command: Command | None = None) -> Terminal:
        """A new one; None: the user's login shell, 80 × 24. Starts or wakes the machine."""
        raise NotImplementedError

    def find(self, principal: Principal, machine: MachineId, id_or_pid: str) -> Terminal:
        """One that was opened before, by its process's id or pid, to come back to. `NotFound`."""
        raise NotImplementedError

    def read(self, principal: Principal, terminal: Terminal, offset: int = 0) -> AsyncGenerator[bytes | Exit, None]:
        """Its output from an offset on (kept: the last 1 MiB), and at last its exit. Closing it leaves it running."""
        raise NotImplementedError

    async def write(self, principal: Principal, terminal: Terminal, data: bytes) -> None:
        """Type."""
        raise NotImplementedError

    async def resize(self, principal: Principal, terminal: Terminal, size: TerminalSize) -> None:
        """Tell its program another size."""
        raise NotImplementedError

    async def end(self, principal: Principal, terminal: Terminal) -> None:
        """Hang up: HUP, then KILL."""
        raise NotImplementedError
