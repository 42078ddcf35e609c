"""What the proxy adds to a request and how much it carries, and how soon a request wakes its machine.

The first two with a server of this box for the machine's port (a simulated host's ports are the box's), the server and
the proxy each in a process of its own, straight and through the proxy in turns. The last on a real machine.
"""

import asyncio
import http.client
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.types import Receive, Scope, Send

from bench import floor, freezing, service
from bench import floor_freezing as bare
from hutch import bootstrap, settings
from hutch.api import server
from hutch.api.proxy.app import Proxy
from hutch.api.proxy.listener import Listener
from hutch.cli import logs
from hutch.control.machines import MachineRequest
from hutch.model.network import PublishedPort

MIB = 2**20
REQUESTS = 1000
CARRIED_MIB = 1024
WAKES = 5
LIMIT = 60.0
PORT = 8000
"""In the machine that is woken."""

SERVER = f"""use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => {PORT}, Listen => 64, ReuseAddr => 1) or die;
while ($c = $s->accept) {{
  while (<$c>) {{ last if /^\\r/ }}
  print $c "HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"; close $c
}}"""
"""As small as the floor's first command: it is the wake that is measured, not an interpreter in emulation."""

Figures = dict[str, list[float]]


def measure() -> dict[str, Figures]:
    """Straight (the floor) and through the proxy: milliseconds of a small request, MiB/s down and up."""
    with ExitStack() as stack:
        upstream = stack.enter_context(_process("upstream"))
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="hutch-bench-"))
        through = stack.enter_context(_process("proxy", str(upstream[0]), home))
        ways = {"floor": Way(upstream[0], "/"), "hutch": Way(through[0], through[1])}
        figures: dict[str, Figures] = {
            side: {"request_ms": [], "get_big_mib_s": [], "put_big_mib_s": []} for side in ways
        }
        for turn in range(REQUESTS + 50):
            for side, way in ways.items():
                took = way.small_ms()
                if turn >= 50:
                    figures[side]["request_ms"].append(took)
        for _ in range(5):
            for side, way in ways.items():
                figures[side]["get_big_mib_s"].append(way.get_mib_s())
                figures[side]["put_big_mib_s"].append(way.put_mib_s())
    straight = figures["floor"]["request_ms"]
    added = [ours - theirs for ours, theirs in zip(figures["hutch"]["request_ms"], straight, strict=True)]
    figures["hutch"]["proxy_adds_ms"] = added
    return figures


class Way:
    """A kept connection on which requests are made."""

    def __init__(self, port: int, root: str) -> None:
        self._root = root
        self._socket = socket.create_connection(("127.0.0.1", port), LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(MIB)

    def small_ms(self) -> float:
        """One small request."""
        began = time.perf_counter()
        self._ask("GET", "small")
        self._answer(2)
        return 1000 * (time.perf_counter() - began)

    def get_mib_s(self) -> float:
        """A large answer."""
        began = time.perf_counter()
        self._ask("GET", "big")
        self._answer(CARRIED_MIB * MIB)
        return CARRIED_MIB / (time.perf_counter() - began)

    def put_mib_s(self) -> float:
        """A large request."""
        began = time.perf_counter()
        self._ask("PUT", "small", CARRIED_MIB * MIB)
        for _ in range(CARRIED_MIB):
            self._socket.sendall(self._buffer)
        self._answer(2)
        return CARRIED_MIB / (time.perf_counter() - began)

    def _ask(self, method: str, what: str, length: int = 0) -> None:
        head = f"{method} {self._root}{what} HTTP/1.1\r\nHost: bench\r\nContent-Length: {length}\r\n\r\n"
        self._socket.sendall(head.encode())

    def _answer(self, length: int) -> None:
        got, head = self._socket.recv_into(self._buffer), b""
        while True:
            head += self._buffer[:got]
            start, end, body = head.partition(b"\r\n\r\n")
            if end:
                break
            got = self._socket.recv_into(self._buffer)
        assert start.startswith(b"HTTP/1.1 200 "), start
        left = length - len(body)
        while left:
            left -= self._socket.recv_into(self._buffer)


@contextmanager
def _process(*words: str) -> Iterator[tuple[int, str]]:
    """This module as a program: its port and the path requests begin with, which it prints when it is ready."""
    command = [sys.executable, "-m", "bench.proxy", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        port, root = process.stdout.readline().split()
        yield int(port), root
    finally:
        process.kill()
        process.wait(30)


async def _upstream(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI: two bytes, or many."""
    while (await receive()).get("more_body", False):
        pass
    size = CARRIED_MIB if scope["path"].endswith("big") else 0
    length = str(size * MIB or 2).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    for _ in range(size):
        await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
    await send({"type": "http.response.body", "body": b"" if size else b"ok"})


def _run_upstream() -> None:
    with server.bind("127.0.0.1:0") as sock:
        print(sock.getsockname()[1], "/", flush=True)
        config = uvicorn.Config(_upstream, http="httptools", loop="uvloop", lifespan="off", log_config=None)
        uvicorn.Server(config).run(sockets=[sock])


async def _run_proxy(port: int, home: str) -> None:
    with server.bind("127.0.0.1:0") as sock:
        its = settings.load({"HUTCH_HOME": home}).listening(sock.getsockname()[1])
        plane = bootstrap.build_simulated(its)
        await plane.open()
        key = await plane.keys.bootstrap()
        assert key is not None
        caller = plane.keys.authenticate(key)
        machine = (await plane.machines.create(caller, MachineRequest("debian"))).id
        await plane.machines.start(caller, machine)
        await plane.exposure.publish(caller, machine, [PublishedPort(port, True)])
        async with Listener(Proxy(plane.exposure, plane.keys, its.proxy), sock, its.proxy.idle_timeout).serving():
            print(sock.getsockname()[1], f"/proxy/{machine}/{port}/", flush=True)
            await asyncio.Event().wait()


def wake(hutch: service.Service, template: floor.Template, work: Path) -> dict[str, Figures]:
    """From a request to a suspended machine to the first byte of the answer; the floor's first command after a wake."""
    figures: dict[str, Figures] = {"floor": {}, "hutch": {}}
    for _ in range(WAKES):
        freezing.add(figures["floor"], ("wake_by_request_ms", bare.suspend_and_wake(template, work)[1]))
        freezing.add(figures["hutch"], ("wake_by_request_ms", _wake_ms(hutch)))
        service.settle()
    return figures


def _wake_ms(hutch: service.Service) -> float:
    machine = freezing.source(hutch)
    hutch.post(f"/v1/machines/{machine}/exec", command=["perl", "-e", SERVER], background=True)
    told = hutch.http.put(f"/v1/machines/{machine}/ports", json={"ports": [{"port": PORT, "public": True}]})
    told.raise_for_status()
    link = urlsplit(str(hutch.post(f"/v1/machines/{machine}/links", port=PORT)["url"]))
    _wait_until_it_answers(link.port or 80, str(link.hostname))
    hutch.post(f"/v1/machines/{machine}/suspend")
    took = _request_ms(link.port or 80, str(link.hostname))
    freezing.check(hutch, machine)
    hutch.delete(machine)
    return took


def _request_ms(port: int, host: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    began = time.perf_counter()
    connection.request("HEAD", "/", headers={"host": host})
    status = connection.getresponse().status
    took = 1000 * (time.perf_counter() - began)
    connection.close()
    if status != 200:
        raise ConnectionError(f"answered {status}")
    return took


def _wait_until_it_answers(port: int, host: str) -> None:
    end = time.monotonic() + LIMIT
    while True:
        try:
            _request_ms(port, host)
        except ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def main() -> None:
    """One of the processes that are measured, or the figures that need no machine."""
    if sys.argv[1:2] == ["upstream"]:
        _run_upstream()
    elif sys.argv[1:2] == ["proxy"]:
        import uvloop

        logs.configure("info", sys.stderr)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run_proxy(int(sys.argv[2]), sys.argv[3]))
    else:
        import statistics

        for side, figures in measure().items():
            print(side, {name: round(statistics.median(values), 3) for name, values in figures.items()})


if __name__ == "__main__":
    main()
