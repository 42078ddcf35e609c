"""One output stream of a simulated process, kept as the agent keeps it (guest/PROTOCOL.md, "Processes")."""

import copy

from hutch.model.guest import Overflow

KEPT = 1024 * 1024
"""Bytes of a stream that are kept."""


class Kept:
    """The last bytes of a stream, by their offset since the process began."""

    def __init__(self, overflow: Overflow) -> None:
        self._overflow = overflow
        self._data = bytearray()
        self._start = 0  # the offset of the first byte kept
        self._read = 0  # all before it has been read
        self._again = 0  # so many bytes that come next are here already

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self._start + len(self._data)

    def repeated(self) -> "Kept":
        """A copy for a process that begins anew, and so writes all of this once more."""
        other = copy.copy(self)
        other._data = bytearray(self._data)
        other._again = self.end
        return other

    def has_room(self, size: int) -> bool:
        """Whether so many bytes can be added without losing any that nobody has read."""
        new = max(size - self._again, 0)
        return self._overflow is Overflow.DROP or self.end - max(self._read, self._start) + new <= KEPT

    def add(self, data: bytes) -> None:
        """Add bytes; the oldest go."""
        known = min(self._again, len(data))
        self._again -= known
        self._data += data[known:]
        surplus = len(self._data) - KEPT
        if surplus > 0:
            del self._data[:surplus]
            self._start += surplus

    def read(self, at: int, limit: int) -> tuple[int, bytes]:
        """Bytes from `at` on, or from where they begin, and that offset."""
        self._read = max(self._read, min(at, self.end))
        at = min(max(at, self._start), self.end)
        first = at - self._start
        return at, bytes(self._data[first : first + limit])
