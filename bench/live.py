"""A real service in a process of its own, for measurements and for tests of what survives it."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

HUTCH = Path(sys.executable).parent / "hutch"
READY_LIMIT = 120.0


class Live:
    """One `hutch up` on a free loopback port."""

    def __init__(self, home: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.listen = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{self.listen}"
        self.environment = {**os.environ, **environment, "HUTCH_HOME": str(home), "HUTCH_URL": self.url}
        self.environment.setdefault("HUTCH_PROXY_LISTEN", "127.0.0.1:0")
        self.home = home
        self.log = home / "service.log"
        home.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start it (again) and wait until it is ready."""
        with self.log.open("a") as log:
            command = [HUTCH, "up", "--listen", self.listen]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        end = time.monotonic() + READY_LIMIT
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the service did not get ready:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)

    @functools.cached_property
    def key(self) -> str:
        """An admin key of its own."""
        return self.cli("key", "create").strip()

    def cli(self, *words: str) -> str:
        """What the command line client prints."""
        command = [HUTCH, *words]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def kill(self) -> None:
        """As a crash would."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """In order."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@contextlib.contextmanager
def live_service(home: Path) -> Iterator[tuple[str, str]]:
    """Its URL and a key."""
    live = Live(home)
    try:
        yield live.url, live.key
    finally:
        live.stop()
