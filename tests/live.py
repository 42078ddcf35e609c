"""A service on the simulated host in a process of its own, for tests of programs that talk to one.

Run as a program it is that process: `python tests/live.py SOCKET_FD PROXY_FD`, everything else from the environment.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop

from hutch import bootstrap, settings
from hutch.api import server
from hutch.cli import config, logs, up

READY_WITHIN = 60.0
ENDED_WITHIN = 15.0


@dataclass(frozen=True)
class Live:
    """A service that answers."""

    url: str
    key: str
    home: Path
    process: subprocess.Popen[bytes]
    log: Path
    proxy: str

    @property
    def environment(self) -> Mapping[str, str]:
        """For a CLI that is to find it by its home alone."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HUTCH_", "SMOL"))}
        return kept | {"HUTCH_HOME": str(self.home)}


@contextlib.contextmanager
def simulated(home: Path, **settings: str) -> Iterator[Live]:
    """A service with its state in `home`. We bind the socket, so that its first client just waits for its answer."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "service.log"
    with server.bind("127.0.0.1:0") as sock, server.bind("127.0.0.1:0") as proxied, log.open("ab") as output:
        url, proxy = server.url(sock), server.url(proxied)
        environment = {**os.environ, **settings, "HUTCH_HOME": str(home)}
        process = subprocess.Popen(
            [sys.executable, __file__, str(sock.fileno()), str(proxied.fileno())],
            pass_fds=[sock.fileno(), proxied.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        try:
            httpx.get(f"{url}/health", timeout=READY_WITHIN, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            raise AssertionError(f"the service did not start: {log.read_text()}") from error
        written = config.read(home)
        assert written is not None
        yield Live(url, written.key, home, process, log, proxy)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDED_WITHIN) == 0, log.read_text()


def main() -> None:
    """Serve."""
    its = settings.load()
    logs.configure(its.service.log_level, sys.stderr)
    with (
        socket.socket(fileno=int(sys.argv[1])) as sock,
        socket.socket(fileno=int(sys.argv[2])) as proxied,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        its = its.listening(proxied.getsockname()[1])
        runner.run(up.serve(bootstrap.build_simulated(its), its, sock, proxied))


if __name__ == "__main__":
    main()
