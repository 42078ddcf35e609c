"""Commands, streamed as server-sent events."""

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import live
from hutch.client import wire

from .conftest import Machine

LIMIT = 10.0


def events(answer: httpx.Response) -> Iterator[tuple[str, str]]:
    reader = wire.ServerEvents()
    for line in answer.iter_lines():
        if told := reader.feed(line):
            yield told


def streamed(machine: Machine, what: str, command: object, **fields: Any) -> list[tuple[str, str]]:
    with machine.http.stream("POST", f"{machine.path}/{what}", json={"command": command, **fields}) as answer:
        assert answer.status_code == 200
        return list(events(answer))


def within(seconds: float, condition: Callable[[], bool]) -> None:
    """Wait for a condition of another process, with a limit."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def running(machine: Machine) -> list[str]:
    listed = machine.http.get(f"{machine.path}/processes").json()
    return [it["id"] for it in listed if it["exit"] is None]


@contextmanager
def raw_stream(service: live.Live, machine: Machine, command: str) -> Iterator[socket.socket]:
    """A client that does not read unless told, and can vanish."""
    target = urlsplit(service.url)
    body = json.dumps({"command": command}).encode()
    with socket.create_connection((target.hostname, target.port), timeout=LIMIT) as sock:
        head = (
            f"POST {machine.path}/exec/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        sock.sendall(head.encode() + body)
        yield sock


def test_the_framing_is_exact(machine: Machine) -> None:
    answer = machine.post("exec/stream", {"command": "echo hello"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache, no-transform", "no")
    assert answer.text == 'event: stdout\ndata: hello\ndata: \n\nevent: exit\ndata: {"exitCode":0}\n\n'


@pytest.mark.parametrize(("what", "fields"), [("exec/stream", {}), ("exec", {"stream": True})])
def test_both_ways_to_stream_tell_outputs_and_exit(machine: Machine, what: str, fields: dict[str, Any]) -> None:
    told = streamed(machine, what, "echo out; sleep 0.1; echo err >&2; exit 7", **fields)
    assert told == [("stdout", "out\n"), ("stderr", "err\n"), ("exit", '{"exitCode":7}')]


def test_output_comes_while_the_command_runs(machine: Machine) -> None:
    body = {"command": "echo first; read line; echo $line", "interactive": True}
    with machine.http.stream("POST", f"{machine.path}/exec/stream", json=body) as answer:
        told = events(answer)
        assert next(told) == ("stdout", "first\n")
        process = answer.headers["x-hutch-process-id"]
        assert machine.post(f"processes/{process}/stdin?end=true", {"x": 1}).status_code == 204
        assert list(told) == [("stdout", '{"x":1}\n'), ("exit", '{"exitCode":0}')]


def test_a_character_cut_in_two_arrives_whole(machine: Machine) -> None:
    script = r"printf '\303'; sleep 0.2; printf '\251\n'; printf '\303'"
    told = streamed(machine, "exec/stream", script)
    assert "".join(data for name, data in told if name == "stdout") == "é\n�"


def test_exact_bytes_come_as_base64(machine: Machine) -> None:
    with machine.http.stream(
        "POST", f"{machine.path}/exec/stream?output=b64", json={"command": r"printf 'a\r\000\377'"}
    ) as answer:
        told = list(events(answer))
    assert b"".join(base64.b64decode(data) for name, data in told if name == "stdout") == b"a\r\0\xff"


def test_stdin_timeout_and_env_work_as_in_a_buffered_exec(machine: Machine) -> None:
    assert streamed(machine, "exec/stream", ["cat"], stdin="x")[0] == ("stdout", "x")
    assert streamed(machine, "exec/stream", "sleep 1000", timeoutSeconds=1)[-1][0] == "exit"
    assert streamed(machine, "exec/stream", "sleep 1000", timeoutSeconds=1)[-1][1].startswith('{"exitCode":124')
    assert streamed(machine, "exec/stream", "echo $A", env={"A": "b"})[0] == ("stdout", "b\n")


def test_what_is_wrong_before_it_runs_still_has_a_status(machine: Machine) -> None:
    answer = machine.http.post("/v1/machines/mach-aaaaaaaaaaaaaaaaaaaa/exec/stream", json={"command": "true"})
    assert (answer.status_code, answer.text) == (404, "machine not found")
    assert machine.post("exec/stream", {"command": 5}).status_code == 422


def test_a_missing_program_is_told_in_the_stream(machine: Machine) -> None:
    told = streamed(machine, "exec/stream", ["no-such-program"])
    assert told[0][0] == "stderr"
    assert told[-1] == ("exit", '{"exitCode":255}')


def test_a_client_that_hangs_up_ends_the_command_although_nothing_flows(service: live.Live, machine: Machine) -> None:
    with raw_stream(service, machine, "echo begun; sleep 1000") as sock:
        received = b""
        while b"begun" not in received:
            received += sock.recv(4096)
        assert len(running(machine)) == 1
    within(LIMIT, lambda: running(machine) == [])


def test_a_client_that_hangs_up_ends_a_buffered_command_too(service: live.Live, machine: Machine) -> None:
    with pytest.raises(httpx.ReadTimeout):
        machine.post("exec", {"command": "sleep 1000"}, timeout=0.5)
    within(LIMIT, lambda: running(machine) == [])


def test_a_slow_reader_holds_the_command_up_and_not_the_services_memory(service: live.Live, machine: Machine) -> None:
    def memory() -> int:
        status = (service.home / f"/proc/{service.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    before = memory()
    with raw_stream(service, machine, "yes | head -c 300000000; echo done >&2") as sock:
        assert sock.recv(1024)
        within(LIMIT, lambda: len(running(machine)) == 1)
        stuck = machine.http.get(f"{machine.path}/processes").json()
        assert [it["exit"] for it in stuck if it["id"] in running(machine)] == [None]
        assert memory() - before < 40
    within(LIMIT, lambda: running(machine) == [])


def test_a_lot_of_output_arrives_whole(machine: Machine) -> None:
    told = streamed(machine, "exec/stream", "seq 200000")
    assert "".join(data for name, data in told if name == "stdout") == "".join(f"{n}\n" for n in range(1, 200001))
