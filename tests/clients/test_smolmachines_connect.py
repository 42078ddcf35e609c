"""The real smolmachines client (PyPI), unmodified: requests, WebSockets and tunnels to published ports."""

import asyncio
import contextlib
import socket
import uuid
from collections.abc import Iterator
from typing import Protocol

import pytest
from smol import ConnectOptions, ExecOptions, Machine, MachineConfig, ResourceSpec, SmolError
from smol.tunnel import open_tunnel

LIMIT = 60.0

SERVER = """
import http.server
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        told = f"{self.command} {self.path} {self.headers.get('authorization')} ".encode() + body
        self.send_response(200)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)
    do_POST = do_GET
http.server.ThreadingHTTPServer(("", PORT), Echo).serve_forever()
"""


class Service(Protocol):
    """All that a client is told."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


@pytest.fixture
def port() -> int:
    """One that nothing has, on this box too: a simulated guest's ports are the box's own."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def machine(service: Service, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with a server."""
    monkeypatch.setenv("NO_PROXY", "*")
    cloud = ConnectOptions(target="cloud", base_url=service.url, api_key=service.key)
    shape = ResourceSpec(cpus=1, memory_mb=256)
    made = Machine.create(
        MachineConfig(name=f"smol-{uuid.uuid4().hex[:8]}", image="debian", network=True, resources=shape), cloud
    )
    made.exec(["python3", "-c", SERVER.replace("PORT", str(port))], ExecOptions(background=True))
    made.publish(port)
    made.wait_until_ready(LIMIT, 0.1)
    yield made
    with contextlib.suppress(SmolError):
        made.delete()


def test_a_request_reaches_the_machine_without_the_key(machine: Machine, port: int) -> None:
    assert machine.request(port) == b"GET / None "
    assert machine.request(port, "/a/b?x=1", "POST", b"body") == b"POST /a/b?x=1 None body"


def test_a_request_wakes_a_suspended_machine(machine: Machine, port: int) -> None:
    machine.pause()
    assert machine.request(port, "/x", timeout_s=LIMIT) == b"GET /x None "


def test_a_port_that_is_not_published_is_404(machine: Machine, port: int) -> None:
    machine.unpublish(guest=port)
    with pytest.raises(SmolError) as caught:
        machine.request(port)
    assert caught.value.status == 404


async def test_a_tunnel_carries_connections(machine: Machine, port: int) -> None:
    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(end.host, end.port)
        writer.write(b"GET /t HTTP/1.0\r\n\r\n")
        heard = await asyncio.wait_for(reader.read(), LIMIT)
        writer.close()
        return heard

    async with open_tunnel(machine, port) as end:
        for answer in await asyncio.gather(*(ask() for _ in range(8))):
            assert answer.endswith(b"GET /t None ")
