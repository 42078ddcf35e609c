"""Unix sockets at paths of any length. An address holds 108 bytes; through its directory's descriptor any path fits."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path


def connect(path: Path) -> socket.socket:
    """A non-blocking connection to a socket that is listening. Raises `OSError`."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)  # before connecting: it would wait while the other's backlog is full
    try:
        with _short(path) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def listening(*paths: Path) -> Iterator[list[socket.socket]]:
    """Sockets that listen at `paths` (replaced if there), only for our own user; closed at the end here."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for path in paths:
            path.unlink(missing_ok=True)
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            with _short(path) as address:
                sock.bind(address)
            path.chmod(0o600)
            sock.listen(4)
            sockets.append(sock)
        yield sockets


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
