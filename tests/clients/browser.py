"""Debian's chromium, headless, spoken to over its own protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

LIMIT = 120.0


class Page:
    """One page."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        told = self._call("Page.navigate", url=url)
        assert "errorText" not in told, told
        self._wait(lambda it: it.get("method") == "Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """What a script, or the promise it is, comes to."""
        told = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        session = {} if self._session is None else {"sessionId": self._session}
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters, **session}))
        told = self._wait(lambda it: it.get("id") == number)
        assert "error" not in told, told
        result: dict[str, Any] = told["result"]
        return result

    def _wait(self, is_it: Any) -> dict[str, Any]:
        end = time.monotonic() + LIMIT
        while True:
            told: dict[str, Any] = json.loads(self._socket.recv(max(0.0, end - time.monotonic())))
            if is_it(told):
                return told


@contextlib.contextmanager
def page() -> Iterator[Page]:
    """A page of a browser of its own; nothing of it is left."""
    # Not in the test's directory: the browser makes sockets below, and their paths may have 107 letters.
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as home, _page(Path(home)) as it:
        yield it


@contextlib.contextmanager
def _page(home: Path) -> Iterator[Page]:
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    words += ["--disable-background-networking", "--no-proxy-server", "--remote-debugging-port=0"]
    with (home / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["chromium", *words, f"--user-data-dir={home / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(home), "TMPDIR": str(home)},
            start_new_session=True,
        )
    try:
        with connect(_address(home, process), max_size=None, proxy=None, open_timeout=LIMIT) as socket:
            yield Page(socket)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(LIMIT)


def _address(home: Path, process: subprocess.Popen[bytes]) -> str:
    """Where it listens, which it writes when it does."""
    written, end = home / "profile" / "DevToolsActivePort", time.monotonic() + LIMIT
    while time.monotonic() < end and process.poll() is None:
        if written.exists() and len(lines := written.read_text().splitlines()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.02)
    raise AssertionError(f"chromium did not start: {(home / 'chromium.log').read_text()[-2000:]}")
