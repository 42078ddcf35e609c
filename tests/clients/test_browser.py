"""A browser opens a page of a suspended machine by a link; the page talks with its machine over a WebSocket."""

import socket
import uuid
from collections.abc import Iterator
from typing import Protocol

import pytest

from clients import browser
from hutch.client import Command, Hutch, NewMachine
from hutch.client.models import Port

SERVER = r"""
import base64, hashlib, http.server
PAGE = b'''<!doctype html><title>page</title><body><script>
window.answered = new Promise((resolve, reject) => {
  const socket = new WebSocket(`ws://${location.host}/ws`, ["chat"]);
  socket.onopen = () => socket.send("hello");
  socket.onmessage = it => resolve(it.data + " " + socket.protocol + " " + location.search + document.cookie);
  socket.onerror = () => reject(new Error("no socket"));
});
</script>'''
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path != "/ws":
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)
            return
        key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        self.send_header("sec-websocket-protocol", "chat")
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        head = self.rfile.read(2)
        mask = self.rfile.read(4)
        said = bytes(it ^ mask[at % 4] for at, it in enumerate(self.rfile.read(head[1] & 127)))
        told = b"machine heard " + said
        self.wfile.write(bytes((0x81, len(told))) + told)
        self.rfile.read()
http.server.ThreadingHTTPServer(("", PORT), Handler).serve_forever()
"""


class Service(Protocol):
    """All that a client is told."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


@pytest.fixture
def hutch(service: Service) -> Iterator[Hutch]:
    with Hutch(service.url, service.key) as hutch:
        yield hutch


@pytest.fixture
def port() -> int:
    """One that nothing has, on this box too: a simulated guest's ports are the box's own."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def machine(hutch: Hutch, port: int) -> Iterator[str]:
    """Suspended, with a server on a private port."""
    it = hutch.machines.create(NewMachine("debian", name=f"web-{uuid.uuid4().hex[:8]}", memory_mb=256)).id
    hutch.machines.start(it)
    hutch.ports.publish(it, [Port(port)])
    hutch.processes.start(it, Command(["python3", "-c", SERVER.replace("PORT", str(port))]))
    probe = f"import socket,time\nwhile socket.socket().connect_ex(('127.0.0.1', {port})): time.sleep(0.05)"
    hutch.processes.run(it, Command(["timeout", "60", "python3", "-c", probe]))
    hutch.machines.suspend(it)
    yield it
    hutch.machines.delete(it)


def test_a_browser_loads_a_page_with_a_websocket_from_a_suspended_machine(
    hutch: Hutch, machine: str, port: int
) -> None:
    link = hutch.ports.link(machine, port)
    with browser.page() as page:
        page.open(link.url)
        # The address has lost its token, and the cookie that has it now is not for scripts.
        assert page.evaluate("window.answered") == "machine heard hello chat "
        assert page.evaluate("document.title") == "page"
