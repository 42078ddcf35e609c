"""What a terminal has shown, as lines of plain text with the time each came. Pure."""

import bisect
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hutch.control import terminal_shell

_ESCAPES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    rb"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # OSC, DCS and their like: titles, marks
    rb"|\x1b[ -/]*[0-~]"
)
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

MOST = 10_000
"""Lines that are told."""

MARKS = 1024
"""Times that are kept of one terminal, 16 bytes each."""

_NEVER = -1.0


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line. `at` is None where nobody was reading when it came."""

    text: str
    at: datetime | None


@dataclass(slots=True)
class Stamps:
    """When a terminal's output came, as far as it was read then."""

    _ends: "array[int]" = field(default_factory=lambda: array("Q"))  # offsets, growing
    _times: "array[float]" = field(default_factory=lambda: array("d"))  # Unix seconds, or _NEVER
    _read_to: int = 0  # what was there before anybody read has no time

    def note(self, start: int, end: int, at: datetime) -> None:
        """These bytes were read at that time, as they came."""
        if end <= max(start, self._read_to):
            return
        if start > self._read_to or not self._ends:
            self._add(start, _NEVER)
        self._add(end, at.timestamp())

    def _add(self, end: int, at: float) -> None:
        self._read_to = end
        self._ends.append(end)
        self._times.append(at)
        if len(self._ends) > MARKS:  # the oldest is told without a time then
            del self._ends[: MARKS // 2], self._times[: MARKS // 2]
            self._times[0] = _NEVER

    def at(self, offset: int) -> datetime | None:
        """When the byte at an offset came."""
        place = bisect.bisect_right(self._ends, offset)
        at = self._times[place] if place < len(self._ends) else _NEVER
        return None if at == _NEVER else datetime.fromtimestamp(at, UTC)


def lines(data: bytes, start: int, stamps: Stamps) -> Sequence[LogLine]:
    """The last lines of what was shown, from an offset on, each with the time its end came; no empty ones at the end.

    What a program has drawn over is gone, as far as it did so within a line; so is what was typed to run lines here.
    """
    found: list[LogLine] = []
    raws = data.split(b"\n")
    at = start + sum(len(raw) + 1 for raw in raws[:-MOST])
    for raw in raws[-MOST:]:
        text = _plain(raw)
        if not terminal_shell.is_typed(text):
            found.append(LogLine(text, stamps.at(at + len(raw))))
        at += len(raw) + 1
    while found and not found[-1].text:
        found.pop()
    return found


def _plain(raw: bytes) -> str:
    text = _ESCAPES.sub(b"", raw).decode("utf-8", "replace").rstrip("\r")
    text = text.rpartition("\r")[2]
    return _UNSEEN.sub("", _without_erased(text) if "\b" in text else text)


def _without_erased(text: str) -> str:
    left: list[str] = []
    for character in text:
        if character != "\b":
            left.append(character)
        elif left:
            left.pop()
    return "".join(left)
