"""up: what it says of its proxy, and what it never says."""

import contextlib
import socket
from pathlib import Path

import httpx
from websockets import exceptions
from websockets.sync.client import connect

import live

from .conftest import LIMIT, Cli


def test_the_proxy_answers_where_it_says(tmp_path: Path) -> None:
    with live.simulated(tmp_path) as service:
        told = httpx.get(service.proxy, trust_env=False, timeout=LIMIT)
        assert (told.status_code, told.json()) == (404, {"error": "Machine not found"})
        assert f"proxy     {service.proxy}; published ports at MACHINE-PORT.hutch.localhost" in service.log.read_text()


def test_no_token_is_logged(service: live.Live) -> None:
    path = f"/proxy/{'a' * 20}/80/?hutch_token=htt_secret"
    httpx.get(f"{service.proxy}{path}", headers={"x-hutch-traffic-token": "htt_secret"}, trust_env=False, timeout=LIMIT)
    with contextlib.suppress(exceptions.InvalidStatus):
        connect(f"ws{service.proxy.removeprefix('http')}{path}", proxy=None, open_timeout=LIMIT)
    log = service.log.read_text()
    assert '"event": "proxied"' in log
    assert "htt_secret" not in log


def test_a_proxys_port_that_is_taken_is_told_before_anything_is_touched(hutch: Cli, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        home = tmp_path / "other"
        done = hutch("up", "--listen", "127.0.0.1:0", code=1, HUTCH_HOME=str(home), HUTCH_PROXY_LISTEN=listen)
    assert f"cannot listen on {listen}".encode() in done.stderr
    assert not home.exists()
