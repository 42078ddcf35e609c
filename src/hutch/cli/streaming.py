"""A command in a machine as if it ran here: its output as it comes, our stdin as its own, its exit code as ours."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import typer

from hutch.cli import config, service
from hutch.cli.failure import Code, Failure

if TYPE_CHECKING:
    from hutch.client import Command, Hutch
    from hutch.client.models import ExecEvent

_PIECE = 64 * 1024
_NOT_FOUND = 127
"""A shell's exit code for a program that is not there, and the service's own."""


def has_stdin() -> bool:
    """Whether there is something to pass on: a pipe or a file. A terminal is not, as long as there is no remote one."""
    try:
        return not os.isatty(0)
    except OSError:
        return False


def _pieces() -> Iterator[bytes]:
    while piece := os.read(0, _PIECE):
        yield piece


def _pump(target: config.Config, machine: str, process: str, pieces: Iterator[bytes]) -> None:
    from hutch.client import Hutch, errors

    # A command may end without having read all of it.
    with suppress(errors.ClientError, OSError, Failure), Hutch(target.url, target.key) as hutch:
        hutch.processes.write(machine, process, pieces, end=True)


def _feed(machine: str, process: str, pieces: Iterator[bytes]) -> None:
    arguments = (service.configured(), machine, process, pieces)
    threading.Thread(target=_pump, args=arguments, daemon=True).start()


class Told:
    """A command's stdout, to be read as a file is. `pack` makes its stdin."""

    def __init__(
        self, hutch: "Hutch", machine: str, command: "Command", pack: Callable[[], Iterator[bytes]] | None = None
    ) -> None:
        self._events = hutch.processes.stream(machine, command)
        self._machine = machine
        self._pack = pack
        self._data = bytearray()
        self._errors = bytearray()
        self._exit: int | None = None

    def read(self, size: int) -> bytes:
        """As many bytes, fewer only at its end."""
        while len(self._data) < size and self._exit is None:
            self._take(next(self._events))
        piece = bytes(self._data[:size])
        del self._data[:size]
        return piece

    def close(self) -> None:
        """End the command, if it runs."""
        self._events.close()  # type: ignore[attr-defined]

    def read_all(self) -> None:
        """To its end; what it writes is not wanted."""
        while self.read(_PIECE):
            pass

    def check(self, what: str) -> None:
        """`Failure`, with the command's own words, unless it ended well."""
        if self._exit:
            words = self._errors.decode(errors="replace").strip().splitlines()
            hint = "the machine has no sh or no tar" if self._exit == _NOT_FOUND else ""
            raise Failure(f"{what}: {words[-1] if words else f'exit code {self._exit}'}", hint)

    def _take(self, event: "ExecEvent") -> None:
        from hutch.client import models

        match event:
            case models.Started() if self._pack is not None:
                _feed(self._machine, event.process, self._pack())
            case models.Output(stream="stdout"):
                self._data += event.data
            case models.Output():
                self._errors = (self._errors + event.data)[-_PIECE:]
            case models.Exited():
                self._exit = event.exit_code


def write(stream: str, data: bytes) -> None:
    """To our stdout or stderr, exactly and at once."""
    target = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
    try:
        target.write(data)
        target.flush()
    except BrokenPipeError:
        # Whoever read our output has gone: end as if the signal had come, and do not complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())
        raise typer.Exit(Code.READER_LEFT) from None


def run(hutch: "Hutch", machine: str, command: "Command") -> int:
    """Run it and return its exit code. Interrupted, it ends the command before it passes the interruption on."""

    def feed(process: str) -> None:
        if command.interactive:
            _feed(machine, process, _pieces())

    return show(hutch.processes.stream(machine, command), feed)


def show(stream: "Iterator[ExecEvent]", on_start: Callable[[str], None] = lambda _: None) -> int:
    """Write out what a command tells, and return its exit code. `on_start` is told what it is called."""
    from hutch.client import models

    code = 0
    with closing(stream) as told:  # type: ignore[type-var]
        for event in told:
            match event:
                case models.Started():
                    on_start(event.process)
                case models.Output():
                    write(event.stream, event.data)
                case models.Exited():
                    code = event.exit_code
    return code
