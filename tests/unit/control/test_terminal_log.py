"""What a terminal has shown, as lines of plain text with their times; pure."""

import os
import time
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from hutch.control import terminal_log, terminal_shell
from hutch.control.terminal_log import MARKS, Stamps, lines
from hutch.control.terminal_shell import Scan

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (b"", []),
        (b"one\r\ntwo\r\n\r\n", ["one", "two"]),
        (b"\x1b[1;31mred\x1b[0m\x1b[K", ["red"]),
        (b"\x1b]0;title\x07text\x1b]133;C;x\x1b\\", ["text"]),
        (b"10%\r20%\r100%\r\n", ["100%"]),
        (b"ab\b\bcd\b \n", ["c "]),
        (b"a\x1b(Bb\x1b=c\x07\x00", ["abc"]),
        (b"\xff\xc3\xa9", ["\ufffdé"]),
        (terminal_shell.typed(f"{terminal_shell.HOME}/abc") + b"out\n", ["out"]),
        (b"\x1b]never ended", []),
    ],
)
def test_lines_are_plain(shown: bytes, expected: list[str]) -> None:
    assert [line.text for line in lines(shown, 0, Stamps())] == expected


def test_a_line_has_the_time_its_end_came() -> None:
    stamps = Stamps()
    stamps.note(4, 8, AT)
    stamps.note(8, 10, AT + timedelta(seconds=1))
    stamps.note(14, 16, AT + timedelta(seconds=2))
    told = lines(b"a\nb\nc\nddd\ne\nf\ng", 0, stamps)
    seconds = [None if line.at is None else (line.at - AT).seconds for line in told]
    assert seconds == [None, None, 0, 1, None, None, 2]


def test_of_many_lines_the_last_are_told() -> None:
    told = lines(b"x\n" * terminal_log.MOST + b"last", 0, Stamps())
    assert (len(told), told[-1].text) == (terminal_log.MOST, "last")


def test_what_is_read_again_keeps_its_time_and_times_are_few() -> None:
    stamps = Stamps()
    stamps.note(0, 10, AT)
    stamps.note(0, 10, AT + timedelta(seconds=1))
    assert stamps.at(5) == AT
    for number in range(3 * MARKS):
        stamps.note(10 + number, 11 + number, AT)
    assert stamps.at(0) is None
    assert stamps.at(9 + 3 * MARKS) == AT


def test_the_times_of_as_many_terminals_as_are_known_are_no_burden() -> None:
    stamps = [Stamps() for _ in range(16)]
    tracemalloc.start()
    for number in range(5000):
        for it in stamps:
            it.note(10**9 + number, 10**9 + number + 1, AT + timedelta(seconds=number))
    each = tracemalloc.get_traced_memory()[0] / len(stamps)
    tracemalloc.stop()
    assert each < 32 * 1024  # of 4096 terminals, 128 MiB
    assert stamps[0].at(10**9 + 4999) == AT + timedelta(seconds=4999)


@pytest.mark.parametrize("seed", [b"\x1b[A", b"\x1b]", b"\b", b"a\b", b"\r", b"\n\x1b[", b"x", b"\n \x1b[A\r", b"\xff"])
def test_a_mebibyte_of_anything_is_told_at_once(seed: bytes) -> None:
    began = time.process_time()
    lines((seed * 2**20)[: 2**20], 0, Stamps())
    assert time.process_time() - began < 30


def test_a_scan_finds_output_however_it_is_cut() -> None:
    shown = b"before \x1b]133;C;n7\x07out\r\n\x1b[31mput\x1b]133;D;5;other\x07\x1b]133;D;42;n7\x07after"
    for size in (1, 2, 3, 7, len(shown)):
        scan = Scan("n7", 1000)
        for start in range(0, len(shown), size):
            if scan.code is None:
                scan.feed(shown[start : start + size])
        assert (scan.code, scan.output()) == (42, b"out\n\x1b[31mput\x1b]133;D;5;other\x07")


def test_a_scan_that_missed_something_says_so() -> None:
    scan = Scan("n7", 4)
    scan.miss()
    scan.feed(os.urandom(3).hex().encode() + b"\x1b]133;D;0;n7\x07")
    assert (scan.code, scan.is_truncated, len(scan.output())) == (0, True, 4)


def test_a_scan_of_much_is_linear() -> None:
    scan, began = Scan("n7", 1000), time.process_time()
    scan.feed(b"\x1b]133;C;n7\x07")
    for _ in range(200):
        scan.feed(b"\x1b]133;D;" * 2**13)
    assert scan.code is None
    assert time.process_time() - began < 30


def test_a_name_is_found_in_the_command() -> None:
    argv = terminal_shell.named("main", ("sh", "-lc", "x"))
    assert (terminal_shell.name_of(argv), terminal_shell.unnamed(argv)) == ("main", ("sh", "-lc", "x"))
    assert (terminal_shell.name_of(("sh", "-c", "x")), terminal_shell.unnamed(("sh",))) == (None, ("sh",))
