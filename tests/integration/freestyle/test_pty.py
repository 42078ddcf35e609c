"""PTY sessions over a WebSocket."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import live
from hutch.api.freestyle import guest_responses

from .conftest import Vm, refused, told
from .test_exec import run

LIMIT = 60.0


@pytest.fixture
def key(service: live.Live) -> str:
    return service.key


@contextmanager
def joined(vm: Vm, key: str, session: str | None = None, **query: object) -> Iterator[ClientConnection]:
    path = f"{vm.path}/pty" + (f"/sessions/{session}" if session else "")
    url = f"ws{str(vm.http.base_url).removeprefix('http').rstrip('/')}{path}?{urlencode(query)}"
    with connect(url, additional_headers={"authorization": f"Bearer {key}"}, proxy=None, open_timeout=LIMIT) as socket:
        yield socket


def info(socket: ClientConnection) -> str:
    message = json.loads(socket.recv(timeout=LIMIT))
    assert message["type"] == "sessionInfo"
    return str(message["sessionId"])


def until(socket: ClientConnection, text: bytes) -> bytes:
    told = b""
    while text not in told:
        message = socket.recv(timeout=LIMIT)
        assert isinstance(message, bytes), message
        told += message
    return told


def end(socket: ClientConnection) -> dict[str, Any]:
    while isinstance(message := socket.recv(timeout=LIMIT), bytes):
        pass
    with pytest.raises(ConnectionClosed):
        socket.recv(timeout=LIMIT)
    told: dict[str, Any] = json.loads(message)
    return told


def code(failed: InvalidStatus) -> str:
    return str(json.loads(failed.response.body)["code"])


def test_what_is_typed_goes_in_and_what_is_shown_comes_out(vm: Vm, key: str) -> None:
    with joined(
        vm, key, exec="stty -echo; echo ready; read x; echo got $x; stty size; exit 3", cols=100, rows=30
    ) as it:
        assert info(it)
        until(it, b"ready")
        it.send(b"hello\n")
        until(it, b"got hello\r\n30 100")
        assert end(it) == {"type": "exited", "exitCode": 3}


def test_a_size_and_a_signal_are_told(vm: Vm, key: str) -> None:
    with joined(vm, key, exec="trap 'echo caught' INT; while :; do sleep 0.1; stty size; done") as it:
        info(it)
        it.send(json.dumps({"type": "resize", "cols": 111, "rows": 44}))
        until(it, b"44 111")
        it.send("nonsense")
        it.send(json.dumps({"type": "signal", "signal": "SIGINT"}))
        until(it, b"caught")
        it.send(json.dumps({"type": "signal", "signal": "SIGKILL"}))
        assert end(it) == {"type": "exited", "exitCode": 137}


def test_who_leaves_a_session_finds_it_again(vm: Vm, key: str) -> None:
    with joined(vm, key, sessionId="mine") as it:
        assert info(it) == "mine"
        it.send(b"echo fir''st\n")
        until(it, b"first")
        (listed,) = told(vm.http.get(f"{vm.path}/pty/sessions"), guest_responses.PtySessions)["sessions"]
        assert (listed["sessionId"], listed["running"], listed["attachedCount"]) == ("mine", True, 1)
    with joined(vm, key, "mine", cols=90, rows=20) as it:
        assert info(it) == "mine"
        until(it, b"first")
        it.send(b"stty size\n")
        until(it, b"20 90")
    assert run(vm, "echo here", terminal="mine")["stdout"] == "here\n"
    closed = told(vm.http.delete(f"{vm.path}/pty/sessions/mine"), guest_responses.ClosedPty)
    assert closed["sessionId"] == "mine"
    assert told(vm.http.get(f"{vm.path}/pty/sessions"), guest_responses.PtySessions) == {"sessions": []}


def test_what_cannot_be_joined_is_told_before_the_handshake(vm: Vm, key: str) -> None:
    with joined(vm, key, sessionId="mine") as it:
        info(it)
        for query, session, expected in (
            ({"sessionId": "mine"}, None, "SESSION_ALREADY_EXISTS"),
            ({"sessionId": "a b"}, None, "INVALID_SESSION_ID"),
            ({"cols": 0}, None, "VALIDATION_ERROR"),
            ({}, "other", "SESSION_NOT_FOUND"),
        ):
            with pytest.raises(InvalidStatus) as failed, joined(vm, key, session, **query):  # type: ignore[arg-type]
                pass
            assert code(failed.value) == expected
    with pytest.raises(InvalidStatus) as failed, joined(Vm(vm.http, "nope"), key):
        pass
    assert code(failed.value) == "VM_NOT_FOUND"
    with pytest.raises(InvalidStatus) as failed, joined(vm, "wrong"):
        pass
    assert code(failed.value) == "UNAUTHORIZED_ERROR"
    refused(vm.http.delete(f"{vm.path}/pty/sessions/other"), "SESSION_NOT_FOUND")


def test_who_goes_while_nobody_reads_what_was_typed_is_gone(vm: Vm, key: str) -> None:
    with joined(vm, key, exec="stty raw -echo; echo ready; sleep 1000", sessionId="deaf") as it:
        info(it)
        until(it, b"ready")
        for _ in range(8):
            it.send(b"x" * 100_000)
    ended = time.monotonic() + LIMIT
    while told(vm.http.get(f"{vm.path}/pty/sessions"), guest_responses.PtySessions)["sessions"][0]["attachedCount"]:
        assert time.monotonic() < ended, "it is held to be there still"
        time.sleep(0.1)


def test_what_was_typed_by_who_goes_at_once_is_typed(vm: Vm, key: str) -> None:
    with joined(vm, key, exec="read x; echo $x > typed; sleep 1000", sessionId="brief") as it:
        info(it)
        it.send(b"these words\n")
    ended = time.monotonic() + LIMIT
    while run(vm, "cat typed")["stdout"] != "these words\n":
        assert time.monotonic() < ended
        time.sleep(0.1)
