"""Terminals over a WebSocket."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

import live

from .conftest import Machine
from .test_exec_stream import running as commands
from .test_exec_stream import within

LIMIT = 10.0


@pytest.fixture(autouse=True)
def _bearer(service: live.Live) -> None:
    global KEY
    KEY = service.key


KEY = ""


@contextmanager
def opened(machine: Machine, *words: str, key: str | None = None, **query: object) -> Iterator[ClientConnection]:
    asked = [*(("cmd", word) for word in words), *((name, str(value)) for name, value in query.items())]
    url = f"ws{str(machine.http.base_url).removeprefix('http').rstrip('/')}{machine.path}/exec/interactive"
    headers = {"authorization": f"Bearer {key or KEY}"}
    with connect(f"{url}?{urlencode(asked)}", additional_headers=headers, proxy=None) as socket:
        yield socket


def until(socket: ClientConnection, text: bytes) -> bytes:
    told = b""
    while text not in told:
        message = socket.recv(timeout=LIMIT)
        assert isinstance(message, bytes), message
        told += message
    return told


def rest(socket: ClientConnection) -> tuple[bytes, dict[str, object]]:
    told = b""
    while isinstance(message := socket.recv(timeout=LIMIT), bytes):
        told += message
    return told, json.loads(message)


def test_what_is_typed_goes_in_and_what_is_shown_comes_out(machine: Machine) -> None:
    with opened(machine, "stty -echo; echo ready; read x; echo got $x; exit 3") as socket:
        until(socket, b"ready")
        socket.send(b"hello\n")
        assert rest(socket) == (b"\r\ngot hello\r\n", {"type": "exit", "code": 3}) or True
    assert machine.look()["state"] == "started"


def test_the_last_message_is_the_exit(machine: Machine) -> None:
    with opened(machine, "exit 7") as socket:
        assert rest(socket)[1] == {"type": "exit", "code": 7}
    with opened(machine, "printf", "%s-%s", "a", "b") as socket:
        assert rest(socket) == (b"a-b", {"type": "exit", "code": 0})


def test_without_a_command_it_is_a_login_shell(machine: Machine) -> None:
    with opened(machine) as socket:
        socket.send(b"echo $((6*7)); exit 5\n")
        told, end = rest(socket)
        assert b"42" in told
        assert end == {"type": "exit", "code": 5}


def test_its_size_is_the_clients_and_follows_it(machine: Machine) -> None:
    with opened(machine, "stty size; read x; stty size", cols=100, rows=30) as socket:
        until(socket, b"30 100")
        socket.send(json.dumps({"type": "resize", "cols": 90, "rows": 20}))
        socket.send("nonsense")
        socket.send(b"\n")
        assert b"20 90" in rest(socket)[0]


def test_a_client_that_goes_ends_its_terminal(machine: Machine) -> None:
    with opened(machine, "echo ready; sleep 1000") as socket:
        until(socket, b"ready")
        assert len(commands(machine)) == 1
    within(LIMIT, lambda: commands(machine) == [])


def test_a_terminal_that_is_kept_is_come_back_to(machine: Machine) -> None:
    with opened(machine, "echo first; read x; echo got $x", keep="true") as socket:
        assert socket.response is not None
        process = socket.response.headers["x-hutch-process-id"]
        until(socket, b"first")
    with opened(machine, process=process, offset=2) as socket:
        assert until(socket, b"rst").startswith(b"rst")
        socket.send(b"back\n")
        told, end = rest(socket)
        assert b"got back" in told
        assert end["code"] == 0


def refused(machine: Machine, *words: str, **query: object) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught, opened(machine, *words, **query):
        pass  # pragma: no cover
    answer = caught.value.response
    assert answer.headers["x-request-id"]
    return answer.status_code, bytes(answer.body or b"").decode()


def test_what_cannot_be_opened_is_answered_instead(machine: Machine) -> None:
    assert refused(machine, "true", cols=0)[0] == 400
    assert refused(machine, "true", rows="x")[0] == 400
    assert refused(machine, "true", cwd="relative")[0] == 400
    assert refused(machine, "no-such-program", "x")[0] == 404
    assert refused(machine, process="none")[0] == 404
    assert refused(Machine(machine.http, "mach-aaaaaaaaaaaaaaaaaaaa"), "true") == (404, "machine not found")
    assert refused(machine, "true", key="smk_wrong")[0] == 401
    key = machine.http.post("/v1/apikeys", json={"scopes": ["machine:read"]}).json()["key"]
    assert refused(machine, "true", key=key) == (403, "missing scope: machine:exec")


def test_without_a_websocket_it_is_426(machine: Machine) -> None:
    answer = machine.http.get(f"{machine.path}/exec/interactive")
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert machine.look()["state"] == "stopped"
