"""A command in a machine as if it ran here: its output as it comes, our stdin as its own, its exit code as ours."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import typer

from hutch.cli import config, service
from hutch.cli.failure import Code

if TYPE_CHECKING:
    from hutch.client import Command, Hutch
    from hutch.client.models import ExecEvent

_PIECE = 64 * 1024


def has_stdin() -> bool:
    """Whether there is something to pass on: a pipe or a file. A terminal is not, as long as there is no remote one."""
    try:
        return not os.isatty(0)
    except OSError:
        return False


def _pieces() -> Iterator[bytes]:
    while piece := os.read(0, _PIECE):
        yield piece


def _pump(target: config.Config, machine: str, process: str) -> None:
    from hutch.client import Hutch, errors

    # A command may end without having read all of it.
    with suppress(errors.ClientError, OSError), Hutch(target.url, target.key) as hutch:
        hutch.processes.write(machine, process, _pieces(), end=True)


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
            arguments = (service.configured(), machine, process)
            threading.Thread(target=_pump, args=arguments, daemon=True).start()

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
