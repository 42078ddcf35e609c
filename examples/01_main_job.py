"""The main job, through the HTTP API: one machine from nothing to gone, each step with its time.

Starts a service of its own on a free loopback port (state in HUTCH_HOME, by default .hutch in this checkout), or uses
the one at HUTCH_URL with HUTCH_KEY. Ends with a status other than 0 if any step fails, and leaves no machine behind.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
HUTCH = Path(sys.executable).parent / "hutch"
READY_LIMIT = 300.0

out = Console(highlight=False)


@contextlib.contextmanager
def service() -> Iterator[httpx.Client]:
    """A client of a live service."""
    if url := os.environ.get("HUTCH_URL"):
        with connect(url, os.environ["HUTCH_KEY"]) as client:
            yield client
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    env = {"HUTCH_HOME": str(ROOT / ".hutch"), "HUTCH_PROXY_LISTEN": "127.0.0.1:0", **os.environ}
    home = Path(env["HUTCH_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    with (home / "demo.log").open("w") as log:
        process = subprocess.Popen([HUTCH, "up", "--listen", listen], env=env, stdout=log, stderr=log)
    try:
        wait_until_ready(f"http://{listen}", process, home / "demo.log")
        env["HUTCH_URL"] = f"http://{listen}"
        key = subprocess.run([HUTCH, "key", "create"], env=env, check=True, capture_output=True, text=True).stdout
        with connect(env["HUTCH_URL"], key.strip()) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def connect(url: str, key: str) -> httpx.Client:
    """A first boot may take minutes where guests are emulated, so the time limit is generous."""
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=600)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until /health answers 200."""
    end = time.monotonic() + READY_LIMIT
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the service was not ready after {READY_LIMIT:g} s; see {log}")


class Steps:
    """Runs steps and prints each with its time."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, title: str, work: Callable[[], str | None]) -> None:
        """One step; an exception ends the demo."""
        at = time.monotonic()
        with out.status(f"{title} …") if out.is_terminal else contextlib.nullcontext():
            note = work() or ""
        seconds = time.monotonic() - at
        first, *rest = note.rstrip().splitlines() or [""]
        out.print(f"[green]✓[/] {title:<34} [bold]{1000 * seconds:>9.1f} ms[/]  [dim]{first}[/]")
        for line in rest:
            out.print(" " * 51 + f"[dim]{line}[/]")


def expect(response: httpx.Response, status: int = 200) -> httpx.Response:
    """The response, if it has this status."""
    if response.status_code != status:
        raise RuntimeError(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
        )
    return response


def main_job(client: httpx.Client, step: Steps) -> None:
    """Create, start, run, stream, copy, stop, start again, delete."""
    machine: dict[str, str] = {}

    def create() -> str:
        body = {"source": {"type": "image", "reference": "debian"}, "resources": {"cpus": 1, "memoryMb": 512}}
        machine.update(expect(client.post("/v1/machines", json=body), 201).json())
        return f"{machine['name']}  ({machine['id']})"

    def at(path: str = "") -> str:
        return f"/v1/machines/{machine['id']}{path}"

    def run(command: str | list[str], wanted: str) -> str:
        result = expect(client.post(at("/exec"), json={"command": command})).json()
        if result["exitCode"] != 0 or wanted not in result["stdout"]:
            raise RuntimeError(f"{command}: {result}")
        return str(result["stdout"])

    def snippet() -> str:
        code = "import platform; print('python', platform.python_version(), sum(range(100)))"
        result = expect(client.post(at("/code"), json={"language": "python", "code": code})).json()
        if "4950" not in result["stdout"]:
            raise RuntimeError(str(result))
        return str(result["stdout"])

    def stream() -> str:
        command = "for i in 1 2 3; do echo tick $i; sleep 0.3; done"
        seen: list[str] = []
        began = time.monotonic()
        with client.stream("POST", at("/exec"), json={"command": command, "stream": True}) as response:
            event = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event == "stdout" and line[6:]:
                    seen.append(f"{line[6:]} after {1000 * (time.monotonic() - began):.0f} ms")
                elif line.startswith("data: ") and event == "exit" and json.loads(line[6:])["exitCode"] != 0:
                    raise RuntimeError(line)
        if len(seen) != 3:
            raise RuntimeError(f"expected three lines, got {seen}")
        return ", ".join(seen)

    payload = os.urandom(8 * 2**20)

    def put() -> str:
        expect(client.put(at("/files/workspace/payload.bin"), content=payload), 204)
        return "8 MiB of random bytes"

    def get() -> str:
        if expect(client.get(at("/files/workspace/payload.bin"))).content != payload:
            raise RuntimeError("the file came back different")
        return "the same bytes"

    def delete() -> None:
        expect(client.delete(at()), 204)
        machine.clear()

    try:
        step("create a Debian machine", create)
        step("start it (from its template)", lambda: expect(client.post(at("/start"))).json()["state"])
        step("uname -a", lambda: run("uname -a", "Linux"))
        step("a Python snippet", snippet)
        step("stream a slow command", stream)
        step("put a file", put)
        step("get it back", get)
        step("stop", lambda: expect(client.post(at("/stop"))).json()["state"])
        step("start again (from its own disk)", lambda: expect(client.post(at("/start"))).json()["state"])
        step("its disk kept the file", lambda: run("wc -c < /workspace/payload.bin", str(len(payload))))
        step("delete", delete)
    finally:
        if machine:
            client.delete(at())


def main() -> int:
    """The exit status."""
    step = Steps()
    try:
        with service() as client:
            health = client.get("/health").json()
            accelerator = health.get("accelerator", "?")
            ready = time.monotonic() - step.began
            out.print(f"[bold]Hutch[/] ready in {ready:.1f} s, running guests with [bold]{accelerator}[/]\n")
            main_job(client, step)
    except Exception as error:
        out.print(f"[red]✗ {error}[/]")
        return 1
    out.print(f"\n[bold green]done[/] in {time.monotonic() - step.began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
