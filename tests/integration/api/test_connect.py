"""`connect` and `tunnel`: published ports through the API's own port."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from websockets import exceptions
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from .conftest import Machine

LIMIT = 60


@contextlib.contextmanager
def tcp(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server whose every connection `answer` has; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held, _ = listener.accept()
                    threading.Thread(target=one, args=(held,), daemon=True).start()

        def one(held: socket.socket) -> None:
            with held, contextlib.suppress(OSError):
                held.settimeout(LIMIT)
                answer(held)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(LIMIT)


def request_of(held: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := held.recv(65536)):
            raise ConnectionResetError("it was only looked whether somebody listens")
        data += piece
    return data


def mirror(held: socket.socket) -> None:
    """Answers with the request it got."""
    seen = request_of(held)
    held.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen), seen))


def echo(held: socket.socket) -> None:
    """Says what it hears, and `end` when it hears no more."""
    while data := held.recv(65536):
        held.sendall(data)
    held.sendall(b"end")


def publish(machine: Machine, *ports: int) -> None:
    told = machine.http.put(f"{machine.path}/ports", json={"ports": [{"port": port} for port in ports]})
    assert told.is_success, told.text


def websocket(machine: Machine, what: str, **options: Any) -> contextlib.AbstractContextManager[ClientConnection]:
    url = f"ws{str(machine.http.base_url).removeprefix('http').rstrip('/')}{machine.path}/{what}"
    headers = {"authorization": machine.http.headers["authorization"]}
    return connect(url, additional_headers=headers, proxy=None, max_size=None, **options)


@pytest.mark.parametrize("rest", ["", "/", "/a//b%2Fc", "/x?y=1&z=%20"])
def test_a_request_reaches_the_port_whatever_its_path(running: Machine, rest: str) -> None:
    with tcp(mirror) as port:
        publish(running, port)
        told = running.http.get(f"{running.path}/connect/{port}{rest}")
    assert told.status_code == 200
    wanted = rest if rest.startswith("/") else f"/{rest}"
    assert told.text.startswith(f"GET {wanted} HTTP/1.1\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_any_method_is_passed_on_without_the_key(running: Machine, method: str) -> None:
    with tcp(mirror) as port:
        publish(running, port)
        told = running.http.request(method, f"/smol{running.path}/connect/{port}/p", content=b"")
    assert told.text.startswith(f"{method} /p HTTP/1.1\r\n")
    assert "authorization" not in told.text.lower()
    assert f"x-forwarded-prefix: /smol{running.path}/connect/{port}" in told.text


def test_what_cannot_be_reached_is_told_in_the_documented_statuses(machine: Machine) -> None:
    publish(machine, 1)
    assert machine.http.get(f"{machine.path}/connect/2").status_code == 404
    asleep = machine.http.get(f"{machine.path}/connect/1")
    assert (asleep.status_code, asleep.headers["retry-after"]) == (503, "5")
    machine.post("start")
    assert machine.http.get(f"{machine.path}/connect/1").status_code == 502
    assert machine.http.get(f"{machine.path}/connect/x").status_code == 400
    assert machine.http.get(f"{machine.path}/tunnel/1").status_code == 426
    assert httpx.get(f"{machine.http.base_url}{machine.path}/connect/1", trust_env=False).status_code == 401


def test_a_key_needs_the_scope_and_the_tenant(running: Machine) -> None:
    def key(**fields: object) -> dict[str, str]:
        made = running.http.post("/v1/apikeys", json=fields)
        assert made.is_success, made.text
        return {"authorization": f"Bearer {made.json()['key']}"}

    tenant = running.http.post("/v1/tenants", json={"name": f"other-{running.id[-8:]}"}).json()["id"]
    with tcp(mirror) as port:
        publish(running, port)
        for what in (f"connect/{port}", f"connect/{port}/x"):
            weak = running.http.get(f"{running.path}/{what}", headers=key(scopes=["machine:read"]))
            assert (weak.status_code, weak.text) == (403, "missing scope: machine:exec")
            other = running.http.get(f"{running.path}/{what}", headers=key(tenantId=tenant))
            assert (other.status_code, other.text) == (404, "machine not found")


def test_a_websocket_passes(running: Machine) -> None:
    def talk(there: ServerConnection) -> None:
        for message in there:
            there.send(message)

    with serve(talk, "127.0.0.1", 0) as guest:
        thread = threading.Thread(target=guest.serve_forever, daemon=True)
        thread.start()
        port = guest.socket.getsockname()[1]
        publish(running, port)
        with websocket(running, f"connect/{port}/chat") as here:
            here.send("hello")
            assert here.recv(LIMIT) == "hello"
        guest.shutdown()
        thread.join(LIMIT)


def test_a_tunnel_carries_bytes_in_messages_its_client_takes(running: Machine) -> None:
    data = bytes(range(256)) * 4096
    with tcp(echo) as port:
        publish(running, port)
        with websocket(running, f"tunnel/{port}") as here:
            for at in range(0, len(data), 32768):
                here.send(data[at : at + 32768])
            heard = b""
            while len(heard) < len(data):
                message = here.recv(LIMIT)
                assert isinstance(message, bytes)
                assert len(message) <= 65536
                heard += message
            assert heard == data
            here.send(b"")
            assert here.recv(LIMIT) == b"end"
            with pytest.raises(exceptions.ConnectionClosedOK):
                here.recv(LIMIT)


def test_a_tunnel_takes_no_text(running: Machine) -> None:
    with tcp(echo) as port:
        publish(running, port)
        with websocket(running, f"tunnel/{port}") as here:
            here.send("text")
            with pytest.raises(exceptions.ConnectionClosedError):
                here.recv(LIMIT)
            assert here.close_code == 1003


@pytest.mark.parametrize(("port", "status"), [("2", 404), ("1", 502), ("0", 400), ("70000", 400)])
def test_a_tunnel_to_nowhere_is_refused(running: Machine, port: str, status: int) -> None:
    publish(running, 1)
    with pytest.raises(exceptions.InvalidStatus) as refused, websocket(running, f"tunnel/{port}"):
        pass
    assert refused.value.response.status_code == status


def test_traffic_wakes_a_suspended_machine(running: Machine) -> None:
    with tcp(mirror) as port:
        publish(running, port)
        running.post("suspend")
        assert running.http.post(f"{running.path}/connect/{port}", content=b"x").status_code == 200
    assert running.look()["state"] in ("running", "started")


def test_what_comes_after_the_last_message_of_a_tunnel_ends_it(running: Machine) -> None:
    done = threading.Event()

    def listen(held: socket.socket) -> None:
        while held.recv(65536):
            pass
        held.sendall(b"end")
        done.wait(LIMIT)

    with tcp(listen) as port:
        publish(running, port)
        with websocket(running, f"tunnel/{port}") as tunnel:
            tunnel.send(b"")
            tunnel.send(b"")
            assert tunnel.recv(LIMIT) == b"end"
        with websocket(running, f"tunnel/{port}") as tunnel:
            tunnel.send(b"")
            assert tunnel.recv(LIMIT) == b"end"
            tunnel.send(b"more")
            with pytest.raises(exceptions.ConnectionClosedError) as ended:
                tunnel.recv(LIMIT)
        done.set()
        assert ended.value.rcvd is not None
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (1003, "an empty message was to be the last")


def test_a_client_that_would_rather_speak_another_protocol_is_answered_in_this_one(running: Machine) -> None:
    upgrade = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABk"}
    told = running.http.put(f"{running.path}/ports", json={"ports": [{"port": 80}]}, headers=upgrade)
    assert told.is_success, told.text
    assert [it["port"] for it in told.json()["ports"]] == [80]
