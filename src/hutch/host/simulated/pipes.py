"""One end of a pipe or terminal, read and written without blocking.

Our own, because asyncio's child processes are not told of as ended before all who hold their pipes have let go.
"""

import asyncio
import os


class Pipe:
    """Owns its descriptor, and never touches its number after `close`: it may be somebody else's by then."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.is_closed = False
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()

    async def read(self, limit: int) -> bytes:
        """Some bytes; none at the end."""
        while not self.is_closed:
            try:
                return os.read(self.descriptor, limit)
            except BlockingIOError:
                self._loop.add_reader(self.descriptor, self._ready.set)
                await self._wait()
            except OSError:
                break  # EIO: nobody holds the other side of a terminal any more
        return b""

    def read_now(self, limit: int) -> bytes:
        """What there is, without waiting."""
        try:
            return b"" if self.is_closed else os.read(self.descriptor, limit)
        except OSError:  # nothing there, or nobody at the other side
            return b""

    async def write(self, data: bytes) -> None:
        """All of it. Raises what `write` raises."""
        rest = memoryview(data)
        while rest:
            if self.is_closed:
                raise BrokenPipeError(32, "Broken pipe")
            try:
                rest = rest[os.write(self.descriptor, rest) :]
            except BlockingIOError:
                self._loop.add_writer(self.descriptor, self._ready.set)
                await self._wait()

    async def _wait(self) -> None:
        self._ready.clear()
        try:
            await self._ready.wait()
        finally:
            self._forget()

    def _forget(self) -> None:
        if not self.is_closed:
            self._loop.remove_reader(self.descriptor)
            self._loop.remove_writer(self.descriptor)

    def close(self) -> None:
        """No error if it is closed."""
        if not self.is_closed:
            self._forget()
            self.is_closed = True
            os.close(self.descriptor)
            self._ready.set()
