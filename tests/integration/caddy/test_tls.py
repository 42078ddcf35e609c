"""Real Caddy with the deployed configuration, its own CA, and real TLS: only names of ours get a certificate."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

import dns_server
import live

ROOT = Path(__file__).resolve().parents[3]
CADDYFILE = ROOT / "deploy" / "caddy" / "Caddyfile"
NAME = "shop.example"
LIMIT = 60.0
"""Seconds that Caddy may take to be there, and each handshake: these machines are busy."""

LIES = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-IP", "Forwarded")
"""Headers in which only a front may say who asks."""


@pytest.fixture
async def zone() -> AsyncIterator[dns_server.Zone]:
    async with dns_server.serving() as zone:
        yield zone


@pytest.fixture
def service(tmp_path: Path, zone: dns_server.Zone, monkeypatch: pytest.MonkeyPatch) -> Iterator[live.Live]:
    monkeypatch.setenv("HUTCH_PROXY_RESOLVER", zone.address)
    monkeypatch.setenv("HUTCH_PROXY_URL", "https://hutch.localhost")
    with live.simulated(tmp_path / "home") as running:
        yield running


@dataclass(frozen=True)
class Front:
    """Caddy: where it is, and whom it has its certificates from."""

    port: int
    root: Path

    async def get(self, name: str, path: str = "/") -> bytes:
        """The whole answer, over TLS that is checked for this name."""
        trust = ssl.create_default_context(cafile=self.root)
        async with asyncio.timeout(LIMIT):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=trust, server_hostname=name)
            try:
                lies = "".join(f"{it}: spoofed\r\n" for it in LIES)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n{lies}Connection: close\r\n\r\n".encode())
                return await reader.read()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def say(self, name: str, message: str) -> str | bytes:
        """What a WebSocket answers, over the same TLS."""
        trust = ssl.create_default_context(cafile=self.root)
        where: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "ssl": trust, "server_hostname": name}
        async with asyncio.timeout(LIMIT), connect(f"wss://{name}/", proxy=None, open_timeout=LIMIT, **where) as socket:
            await socket.send(message)
            return await socket.recv()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def front(service: live.Live, tmp_path: Path) -> AsyncIterator[Front]:
    caddy = shutil.which("caddy")
    assert caddy is not None, "deploy/setup-host installs caddy"
    port, data = _free_port(), tmp_path / "caddy"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HUTCH_", "CADDY"))}
    environment = {
        **kept,
        "HOME": str(data),
        "XDG_DATA_HOME": str(data),
        "XDG_CONFIG_HOME": str(data),
        "HUTCH_CADDY_ADMIN": "off",
        "HUTCH_CADDY_BIND": "bind 127.0.0.1",
        "HUTCH_CADDY_HTTP_PORT": str(_free_port()),
        "HUTCH_CADDY_HTTPS_PORT": str(port),
        "HUTCH_CADDY_ISSUER": "internal",
        "HUTCH_CADDY_API": service.url.removeprefix("http://"),
        "HUTCH_CADDY_PROXY": service.proxy.removeprefix("http://"),
    }
    log = tmp_path / "caddy.log"
    with log.open("wb") as output:
        command = [caddy, "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        root = data / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        async with asyncio.timeout(LIMIT):
            while not (root.exists() and await _listens(port)):
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(0.05)
        yield Front(port, root)
    finally:
        process.terminate()
        process.wait(LIMIT)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


@pytest.fixture
async def page() -> AsyncIterator[int]:
    """The port of a web server that tells what it was asked. On the simulated host a machine's ports are this box's."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(head) + head)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a WebSocket server that says what it hears."""

    async def answer(client: ServerConnection) -> None:
        async for message in client:
            await client.send(message)

    async with serve(answer, "127.0.0.1", 0) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def test_only_names_of_ours_get_a_certificate_and_lead_to_their_machines(
    service: live.Live, zone: dns_server.Zone, front: Front, page: int, echo: int
) -> None:
    headers = {"authorization": f"Bearer {service.key}"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, trust_env=False, timeout=LIMIT) as http:
        source = {"type": "image", "reference": "debian"}
        machine = (await http.post("/v1/machines", json={"source": source})).json()["id"]
        assert (await http.post(f"/v1/machines/{machine}/start")).status_code == 200
        claim = await http.post("/v1/domains", json={"name": NAME, "machine": machine, "port": page})
        own = f"{machine.removeprefix('mach-')}-{page}.hutch.localhost"
        for name in (NAME, own, "other.example", "hutch.localhost"):
            with pytest.raises(ssl.SSLError):
                await front.get(name)

        record = claim.json()["record"]
        zone.texts[record["name"]] = [record["value"]]
        verified = await http.post(f"/v1/domains/{NAME}/verify")
        assert (verified.status_code, verified.json()["verified"]) == (200, True)
        assert b" 403 " in (await front.get(NAME)).split(b"\r\n")[0]  # the port is not published

        ports = [{"port": port, "public": True} for port in (page, echo)]
        published = await http.put(f"/v1/machines/{machine}/ports", json={"ports": ports})
        assert published.status_code == 200, published.text
        for name in (NAME, own):
            told = (await front.get(name, "/a?b=c")).lower()
            assert told.startswith(b"http/1.1 200 ")
            assert b"get /a?b=c http/1.1" in told
            assert f"x-forwarded-host: {name}".encode() in told
            assert b"x-forwarded-proto: https" in told
            assert b"x-forwarded-for: 127.0.0.1" in told
            assert b"spoofed" not in told
        with pytest.raises(ssl.SSLError):
            await front.get("other.example")
        assert await front.say(own.replace(f"-{page}.", f"-{echo}."), "hello") == "hello"
