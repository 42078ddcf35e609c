"""The guest's serial console: read always, kept in a bounded tail: a guest that never stops writing fills nothing.

QEMU drops what is written while nobody is connected; a restarted service goes on with the file of the former one.
"""

import asyncio
import contextlib
import socket
from pathlib import Path

from hutch.host import sockets
from hutch.host.consoles import Kept
from hutch.model import ids

KEPT = 64 * 1024
_CHUNK = 16 * 1024


class Tail:
    """The end of one console, in memory and in a file of at most twice as much."""

    def __init__(self, path: Path, log: Path) -> None:
        self._log = log
        self._run = ids.random_id()
        self._kept = bytearray()
        with contextlib.suppress(OSError):
            self._kept += log.read_bytes()[-KEPT:]
        self._written = self._end = len(self._kept)
        self._socket: socket.socket | None = sockets.connect(path)
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

    @property
    def text(self) -> bytes:
        """What is kept."""
        return bytes(self._kept)

    @property
    def kept(self) -> Kept:
        """The same, and where it stands among all that came. Also when it is closed."""
        return Kept(self._run, self.text, self._end)

    def _on_readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._kept += data
        self._end += len(data)
        del self._kept[:-KEPT]
        with contextlib.suppress(OSError):  # a full disk must not end the machine
            self._keep_in_file(data)

    def _keep_in_file(self, data: bytes) -> None:
        self._written += len(data)
        if self._written > 2 * KEPT:
            self._log.write_bytes(self._kept)
            self._written = len(self._kept)
        else:
            with self._log.open("ab") as file:
                file.write(data)

    def drain(self) -> None:
        """Take what is waiting: after the process has ended its last words are still in the socket."""
        while self._socket is not None:
            before = len(self._kept)
            self._on_readable()
            if len(self._kept) == before or len(self._kept) == KEPT:
                return

    def close(self) -> None:
        """Stop reading."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
