"""What a running build tells: its phases, and the end of what its commands write, for any number of readers.

Phases are in the store before anybody is told of them. Output is kept while the build runs, and nowhere else.
"""

import asyncio
from collections.abc import AsyncGenerator

from hutch.control.clock import Clock
from hutch.model import ids
from hutch.model.builds import Phase
from hutch.model.ids import BuildId, SnapshotId
from hutch.store.interface import Store

KEPT = 64 * 1024
"""Bytes of output that are kept for who comes later, or reads slowly."""


class Chronicle:
    """Of one build."""

    def __init__(self, build: BuildId, store: Store, clock: Clock) -> None:
        self._build = build
        self._store = store
        self._clock = clock
        self._phases: list[tuple[int, Phase]] = []  # and how much had been written when it began
        self._output = bytearray()  # the end of it
        self._written = 0  # bytes in all
        self._is_ended = False
        self._news = asyncio.Event()

    async def phase(self, name: str, snapshot: SnapshotId | None = None) -> None:
        """It has begun this."""
        phase = Phase(ids.new_phase_id(), self._build, name, self._clock.now(), snapshot)
        await self._store.add_phase(phase)
        self._phases.append((self._written, phase))
        self._tell()

    def tell(self, data: bytes) -> None:
        """A command of it has written this."""
        self._output += data
        del self._output[:-KEPT]
        self._written += len(data)
        self._tell()

    def last(self, most: int) -> str:
        """The name of what it has begun last, and the end of what was written since: at most so many bytes."""
        begun, name = (self._phases[-1][0], self._phases[-1][1].name) if self._phases else (0, "the beginning")
        text = self._between(begun, self._written)[-most:].decode(errors="replace").strip()
        return f"{name}:\n{text}" if text else name

    def end(self) -> None:
        """There is nothing more to tell."""
        self._is_ended = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def follow(self) -> AsyncGenerator[Phase | bytes, None]:
        """All there is, then what comes, in order, until the end. Who is slow misses output, never a phase."""
        at = seen = 0
        while True:
            news = self._news
            while seen < len(self._phases):
                begun, phase = self._phases[seen]
                if data := self._between(at, begun):
                    yield data
                at, seen = max(at, begun), seen + 1
                yield phase
            if data := self._between(at, self._written):
                at = self._written
                yield data
            elif self._is_ended:
                return
            elif seen == len(self._phases):
                await news.wait()

    def _between(self, start: int, end: int) -> bytes:
        kept_from = self._written - len(self._output)
        return bytes(self._output[max(start - kept_from, 0) : max(end - kept_from, 0)])
