"""shell: a real terminal on our side too."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .conftest import HUTCH, LIMIT, Cli


@dataclass
class Screen:
    """Our side of a terminal with `hutch` on it."""

    file: int
    process: subprocess.Popen[bytes]
    told: bytes = b""

    def until(self, text: bytes) -> None:
        end = time.monotonic() + LIMIT
        while text not in self.told:
            assert time.monotonic() < end, self.told
            if not select.select([self.file], [], [], 0.5)[0]:
                continue
            try:
                self.told += os.read(self.file, 4096)
            except OSError:  # its last writer has gone
                assert text in self.told, self.told
                return

    def type(self, data: bytes) -> None:
        os.write(self.file, data)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.file)[3] & termios.ICANON


@contextmanager
def screen(hutch: Cli, *words: str) -> Iterator[Screen]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [*HUTCH, "shell", *words], env=hutch.environment, stdin=theirs, stdout=theirs, stderr=theirs, process_group=0
    )
    try:
        yield Screen(ours, process)
    finally:
        process.kill()
        process.wait(LIMIT)
        os.close(ours)
        os.close(theirs)


def test_a_shell_is_as_if_it_were_here(hutch: Cli, machine: str) -> None:
    with screen(hutch, machine) as it:
        it.type(b"echo $((6*7))-$(stty size)\n")
        it.until(b"42-24 100")
        assert it.is_raw()
        it.type(b"exit 5\n")
        assert it.process.wait(LIMIT) == 5
        assert not it.is_raw()


def test_its_size_follows_ours(hutch: Cli, machine: str) -> None:
    with screen(hutch, machine, "sh", "-c", "echo ready; read x; stty size") as it:
        it.until(b"ready")
        it.resize(90, 30)
        os.kill(it.process.pid, signal.SIGWINCH)  # which a terminal of one's own session sends by itself
        time.sleep(0.2)
        it.type(b"\n")
        it.until(b"30 90")
        assert it.process.wait(LIMIT) == 0


def test_an_interrupt_is_the_commands_own(hutch: Cli, machine: str) -> None:
    with screen(
        hutch, machine, "sh", "-c", "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    ) as it:
        it.until(b"ready")
        it.type(b"\x03")
        it.until(b"caught")
        assert it.process.wait(LIMIT) == 9


def test_without_a_terminal_it_is_a_pipe(hutch: Cli, machine: str) -> None:
    done = hutch("shell", machine, stdin=b"echo $((6*7)); exit 3\n", code=3)
    assert b"42" in done.stdout


def test_a_terminal_that_was_ended_with_its_machine_is_told(hutch: Cli, machine: str) -> None:
    with screen(hutch, machine, "sh", "-c", "echo ready; sleep 100") as it:
        it.until(b"ready")
        hutch("rm", machine)
        assert it.process.wait(LIMIT) in (125, 137)
        assert not it.is_raw()


def test_what_cannot_be_opened_is_said(hutch: Cli, machine: str) -> None:
    assert b"there is no machine" in hutch("shell", "no-such-machine", code=125).stderr
    assert b"not found" in hutch("shell", machine, "no-such-program", "x", code=125).stderr
