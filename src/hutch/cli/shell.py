"""shell: a terminal in a machine, as if it were here.

Our own terminal is put into raw mode, so that every key goes to the machine, and is put back however this ends. One
thread reads what is typed; a change of size wakes it through a pipe: a signal's handler must not use the socket.
"""

import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import options, service, streaming
from hutch.cli.failure import Code

if TYPE_CHECKING:
    from hutch.client._sync.terminals import Terminal

_PIECE = 64 * 1024
_INPUT, _OUTPUT = 0, 1


@contextmanager
def raw(file: int) -> Iterator[None]:
    """A terminal in raw mode while this lasts; nothing is done to what is none."""
    if not os.isatty(file):
        yield
        return
    before = termios.tcgetattr(file)
    try:
        tty.setraw(file, termios.TCSADRAIN)  # what was typed ahead is kept
        yield
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)


@contextmanager
def resized() -> Iterator[int]:
    """A descriptor that has a byte to read whenever our terminal's size has changed."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def note(*_: object) -> None:
        with suppress(BlockingIOError):
            os.write(writer, b"x")

    before = signal.signal(signal.SIGWINCH, note)
    try:
        yield reader
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(writer)
        os.close(reader)


def _size() -> tuple[int, int]:
    """Our terminal's own; COLUMNS and LINES, which may be of another one, count only where there is none."""
    try:
        size = os.get_terminal_size(_OUTPUT)
    except OSError:
        size = shutil.get_terminal_size()
    return size.columns or 80, size.lines or 24


def _type(terminal: "Terminal", changed: int) -> None:
    """What is typed here, and our size, until our input or the terminal ends."""
    from websockets.exceptions import ConnectionClosed

    with suppress(ConnectionClosed, OSError, ValueError):
        inputs = [_INPUT, changed]
        while True:
            ready, _, _ = select.select(inputs, [], [])
            if changed in ready:
                os.read(changed, _PIECE)
                terminal.resize(*_size())
            if _INPUT in ready:
                data = os.read(_INPUT, _PIECE)
                terminal.write(data or b"\x04")  # the end of our input is a Ctrl-D there
                if not data:
                    inputs.remove(_INPUT)


def _show(terminal: "Terminal") -> int:
    while isinstance(told := terminal.read(), bytes):
        streaming.write("stdout", told)
    return told.exit_code


@contextmanager
def _joined(machine: str, words: list[str], surroundings: options.Place, attach: str | None) -> "Iterator[Terminal]":
    with service.connect(Code.NOT_RUN) as hutch:
        id = service.machine_id(hutch, machine)
        if attach is not None:
            with hutch.terminals.attach(id, attach) as terminal:
                yield terminal
            return
        with hutch.terminals.open(id, words, _size(), surroundings.workdir, surroundings.user) as terminal:
            yield terminal


@options.flat
def shell(
    machine: options.MachineRef,
    surroundings: options.Place,
    words: Annotated[list[str] | None, typer.Argument(metavar="CMD", help="Instead of the user's login shell.")] = None,
    attach: Annotated[
        str | None, typer.Option(metavar="PROCESS", help="Come back to a terminal that was left, by its process's id.")
    ] = None,
) -> None:
    """Open a terminal in a machine; a stopped one is started first. Exits with the shell's code."""
    with _joined(machine, words or [], surroundings, attach) as terminal, raw(_INPUT), resized() as changed:
        if attach is not None:
            terminal.resize(*_size())
        threading.Thread(target=_type, args=(terminal, changed), daemon=True).start()
        code = _show(terminal)
    sys.stdout.flush()
    raise typer.Exit(code)
