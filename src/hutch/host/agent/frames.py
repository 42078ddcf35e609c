"""Bytes to answers and back: the framing of guest/PROTOCOL.md, without any I/O.

What comes from a guest is not to be trusted: every length is checked before memory is taken for it, and at most one
frame is held. Large frames are read straight into a buffer of their own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SYNC = b"\0\0HUTCH-SYNC-1\r\n"
BODY_LIMIT = 1 << 20
HEADER_LIMIT = 64 << 10  # of an answer
REQUEST_HEADER_LIMIT = 1 << 20
FRAME_LIMIT = (1 << 20) + (64 << 10)  # of all that follows the first length
NOISE_LIMIT = 8 << 20  # what may come before the first sync: answers a former host did not take

_COLLECT = 64 << 10
_SMALL = 32 << 10  # frames up to this size are cut out of what was collected


class TooLong(Exception):
    """A request does not fit into a frame."""


class Malformed(Exception):
    """What the guest sent is no frame. Nothing after it can be understood."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One answer as it came: a JSON object and raw bytes."""

    header: dict[str, Any]
    body: bytes


def encode(header: Mapping[str, object], body: bytes | bytearray | memoryview = b"", seal: bytes = b"") -> bytes:
    """A request's frame, ending with the conversation's seal.

    Raises `TooLong`, and `ValueError` for what JSON or UTF-8 cannot say.
    """
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    head = len(text)
    if head > REQUEST_HEADER_LIMIT or len(body) > BODY_LIMIT or 4 + head + len(body) + len(seal) > FRAME_LIMIT:
        raise TooLong
    length = 4 + head + len(body) + len(seal)
    return b"".join((length.to_bytes(4, "little"), head.to_bytes(4, "little"), text, body, seal))


class Decoder:
    """Give it room to be filled, tell how much came, and ask for frames until there is none."""

    def __init__(self) -> None:
        self._collected = bytearray(_COLLECT)
        self._view = memoryview(self._collected)
        self._start = 0
        self._end = 0
        self._large: bytearray | None = None
        self._filled = 0
        self._is_synced = False
        self._noise = 0  # bytes discarded in search of the sync
        self._last = 0  # bytes of the last frame

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._large is not None:
            return memoryview(self._large)[self._filled :]
        if self._start == self._end:
            self._start = self._end = 0
        elif _COLLECT - self._end < _SMALL:
            count = self._end - self._start
            self._view[:count] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, count
        return self._view[self._end :]

    def filled(self, count: int) -> None:
        """So many bytes were put into `space`."""
        if self._large is not None:
            self._filled += count
        else:
            self._end += count

    def resync(self) -> None:
        """Discard what comes until the next sync: the last frame was said to somebody before us."""
        self._is_synced = False
        self._noise += self._last

    def next(self) -> Frame | None:
        """The next whole frame of what came. Raises `Malformed`."""
        if not self._is_synced and not self._find_sync():
            return None
        if self._large is not None:
            if self._filled < len(self._large):
                return None
            large, self._large = self._large, None
            return _frame(memoryview(large))
        if self._end - self._start < 4:
            return None
        length = int.from_bytes(self._view[self._start : self._start + 4], "little")
        if not 4 <= length <= FRAME_LIMIT:
            raise Malformed("a frame's length is out of bounds")
        total = self._last = 4 + length
        if self._end - self._start >= total:
            begin = self._start
            self._start += total
            return _frame(self._view[begin : begin + total])
        if total > _SMALL:
            self._begin_large(total)
        return None

    def _begin_large(self, total: int) -> None:
        self._large = bytearray(total)
        self._filled = self._end - self._start
        self._large[: self._filled] = self._view[self._start : self._end]
        self._start = self._end = 0

    def _find_sync(self) -> bool:
        at = self._collected.find(SYNC, self._start, self._end)
        # The beginning of a sync may be the last thing that came.
        keep = at if at >= 0 else max(self._start, self._end - len(SYNC) + 1)
        self._noise += keep - self._start
        self._start = keep
        if self._noise > NOISE_LIMIT:
            raise Malformed("there is no agent at the other end")
        if at >= 0:
            self._is_synced = True
            self._start += len(SYNC)
        return self._is_synced


def _frame(view: memoryview) -> Frame:
    head = int.from_bytes(view[4:8], "little")
    if head > HEADER_LIMIT or head > len(view) - 8 or len(view) - 8 - head > BODY_LIMIT:
        raise Malformed("a header's length is out of bounds")
    try:
        header = parse(bytes(view[8 : 8 + head]))
    except (ValueError, RecursionError) as error:
        raise Malformed("a header is not JSON") from error
    if not isinstance(header, dict):
        raise Malformed("a header is no JSON object")
    return Frame(header, bytes(view[8 + head :]))


def parse(data: bytes) -> Any:
    """JSON whose texts are Unicode: none holds half a character, which could be neither stored nor answered.

    Raises `ValueError`, `RecursionError`.
    """
    value = json.loads(data.decode())
    if b"\\ud" in data.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value
