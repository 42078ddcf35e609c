"""Exposed ports, through the proxy: what the document says a browser is told."""

import socket
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

import live

from .conftest import create, told

SERVER = "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]))"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def served(http: httpx.Client) -> Iterator[tuple[str, int]]:
    """A running machine that serves its files at an exposed port."""
    port = free_port()
    id = told(create(http, exposed_ports=[port]), 201)["id"]
    told(http.post(f"/machines/{id}/start"))
    line = {"command": [sys.executable, "-c", SERVER, str(port)], "background": True}
    assert http.post(f"/smol/v1/machines/{id}/exec", json=line).status_code == 200
    yield id, port
    http.delete(f"/smol/v1/machines/{id}")


def test_an_exposed_port_is_reached_without_a_key_and_no_other(
    service: live.Live, http: httpx.Client, served: tuple[str, int]
) -> None:
    id, port = served

    def visit(number: int) -> httpx.Response:
        return httpx.get(f"{service.proxy}/proxy/{id}/{number}/", trust_env=False, timeout=30)

    until = time.monotonic() + 30
    while visit(port).status_code != 200 and time.monotonic() < until:
        time.sleep(0.05)
    assert "Directory listing" in visit(port).text
    other = visit(1)
    assert (other.status_code, other.json()) == (403, {"error": "Port 1 is not exposed on this machine"})
    told(http.post(f"/machines/{id}/stop"))
    gone = visit(port)
    assert (gone.status_code, gone.json()["error"]) == (503, "Machine is not running")
