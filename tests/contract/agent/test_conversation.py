"""The wire itself, spoken by hand: what is malformed ends the conversation, and never the agent."""

import contextlib
import json
import os
import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from contract.agent.support import LIMIT, Serving, cpu_ticks, peak_memory
from hutch.host.agent import frames

HELLO = {"id": 1, "op": "hello", "version": 1}


class Wire:
    """A host that says what it likes."""

    def __init__(self, path: Path) -> None:
        self.socket = _connect(path)
        self.socket.settimeout(LIMIT)
        self._decoder = frames.Decoder()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.send(frames.encode(header, body))

    def hear(self) -> tuple[dict[str, Any], bytes]:
        while (frame := self._decoder.next()) is None:
            count = self.socket.recv_into(self._decoder.space())
            assert count, "the agent hung up"
            self._decoder.filled(count)
        return frame.header, frame.body

    def hear_all(self, count: int) -> dict[int, dict[str, Any]]:
        """So many answers, by their ids."""
        return {answer["id"]: answer for answer, _ in (self.hear() for _ in range(count))}

    def greet(self) -> None:
        self._decoder = frames.Decoder()
        self.send(frames.SYNC + frames.encode(HELLO))
        answer, _ = self.hear()
        assert answer["id"] == 1
        assert answer["ok"]["version"] == 1

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def _connect(path: Path) -> socket.socket:
    end = time.monotonic() + LIMIT
    while True:
        wire = socket.socket(socket.AF_UNIX)
        try:
            wire.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            wire.close()
            assert time.monotonic() < end, "the agent does not listen"
            time.sleep(0.001)
        else:
            return wire


def raw(length: int, header: int, rest: bytes = b"") -> bytes:
    return length.to_bytes(4, "little") + header.to_bytes(4, "little") + rest


def framed(text: bytes) -> bytes:
    return raw(4 + len(text), len(text), text)


MALFORMED = {
    "a length of zero": raw(0, 0),
    "a length too small": raw(3, 0),
    "a length too large": raw(frames.FRAME_LIMIT + 1, 2, b"{}"),
    "the largest length": raw(2**32 - 1, 2, b"{}"),
    "a header longer than its frame": raw(6, 3, b"{}"),
    "a body too large": raw(frames.FRAME_LIMIT, 2, b"{}" + b"x" * (frames.FRAME_LIMIT - 6)),
    "no JSON": framed(b"hello"),
    "no UTF-8": framed(b'{"id":2,"op":"\xff"}'),
    "no object": framed(b"[]"),
    "an empty header": framed(b""),
    "no id": framed(b'{"op":"stats"}'),
    "an id of zero": framed(b'{"id":0,"op":"stats"}'),
    "a negative id": framed(b'{"id":-2,"op":"stats"}'),
    "an id that is a text": framed(b'{"id":"2","op":"stats"}'),
    "an id too large": framed(b'{"id":9007199254740992,"op":"stats"}'),
    "no op": framed(b'{"id":2}'),
    "an op that is a number": framed(b'{"id":2,"op":3}'),
    "very deep JSON": framed(b'{"id":2,"op":"stats","x":' + b"[" * 500_000),
    "half a sync": frames.SYNC[:-1] + b"!",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_frame_ends_the_conversation_and_not_the_agent(serving: Serving, data: bytes) -> None:
    with Wire(serving.socket) as wire:
        wire.greet()
        wire.send(data + framed(b'{"id":3,"op":"stats"}'))
        answer, _ = wire.hear()
        assert (answer["id"], answer["error"]["code"]) == (0, "protocol")
        wire.greet()
        wire.ask({"id": 2, "op": "stats"})
        assert wire.hear()[0]["id"] == 2


def test_an_id_that_is_open_already_ends_the_conversation(serving: Serving) -> None:
    with Wire(serving.socket) as wire:
        wire.greet()
        wire.ask({"id": 2, "op": "proc.start", "p": "p", "argv": ["sleep", "60"]})
        assert "ok" in wire.hear()[0]
        for _ in range(2):
            wire.ask({"id": 3, "op": "proc.read", "p": "p", "stdout": 0, "stderr": 0, "limit": 1, "wait_ms": 60_000})
        assert wire.hear()[0]["id"] == 0
        wire.greet()


def test_a_request_before_hello_ends_the_conversation(serving: Serving) -> None:
    with Wire(serving.socket) as wire:
        wire.send(frames.SYNC + frames.encode({"id": 1, "op": "stats"}))
        # The agent does not greet somebody who does not: its refusal is noise before a sync.
        wire.greet()


def test_noise_before_the_sync_is_discarded(serving: Serving) -> None:
    with Wire(serving.socket) as wire:
        wire.send(os.urandom(300_000) + frames.SYNC[:7])
        wire.greet()


def test_a_sync_between_frames_begins_anew(serving: Serving, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with Wire(serving.socket) as wire:
        wire.greet()
        wire.ask({"id": 2, "op": "file.open_write", "h": 1, "path": path})
        assert "ok" in wire.hear()[0]
        wire.greet()
        wire.ask({"id": 2, "op": "file.write", "h": 1}, b"x")
        assert wire.hear()[0]["error"]["code"] == "not_found"
        wire.ask({"id": 3, "op": "file.open_write", "h": 1, "path": path})
        assert "ok" in wire.hear()[0]


@pytest.mark.parametrize("cut", [1, 17, 24, 40])
def test_a_greeting_cut_off_is_forgotten(serving: Serving, cut: int) -> None:
    with Wire(serving.socket) as wire:
        wire.send((frames.SYNC + frames.encode(HELLO))[:cut])
        # A second one only takes effect once the agent has had the first.
        wire.greet()


def test_a_host_cut_off_in_a_frame_does_not_harm_the_next(serving: Serving) -> None:
    for cut in (3, 9, 500_000):
        with Wire(serving.socket) as wire:
            wire.greet()
            wire.send(frames.encode({"id": 2, "op": "file.write", "h": 1}, b"x" * 1_000_000)[:cut])
        with Wire(serving.socket) as wire:
            wire.greet()


def test_a_frame_cut_off_is_not_completed_by_a_new_greeting(serving: Serving) -> None:
    with Wire(serving.socket) as wire:
        wire.send(frames.SYNC + frames.encode({"id": 1, "op": "hello", "version": 1, "seal": 7}))
        assert wire.hear()[0]["id"] == 1
        seal = (7).to_bytes(4, "little")
        wire.send(frames.encode({"id": 2, "op": "proc.start", "p": "p", "argv": ["cat"], "stdin": True}, b"", seal))
        assert "ok" in wire.hear()[0]
        cut = frames.encode({"id": 3, "op": "proc.write", "p": "p"}, b"x" * 1000, seal)[:-30]
        wire.send(cut)
        wire.greet()
        wire.ask({"id": 2, "op": "proc.list"})
        assert wire.hear()[0]["ok"]["procs"][0]["p"] == "p"
        wire.ask({"id": 3, "op": "proc.write", "p": "p", "end": True}, b"whole")
        assert "ok" in wire.hear()[0]
        wire.ask({"id": 4, "op": "proc.read", "p": "p", "stdout": 0, "stderr": 0, "limit": 1000, "wait_ms": 5000})
        assert wire.hear()[1] == b"whole"


def test_one_host_at_a_time_the_next_waits(serving: Serving) -> None:
    with Wire(serving.socket) as second_to_speak:
        second_to_speak.greet()
        waiting = Wire(serving.socket)
        waiting.send(frames.SYNC + frames.encode(HELLO))
        second_to_speak.ask({"id": 2, "op": "stats"})
        assert second_to_speak.hear()[0]["id"] == 2
    with waiting:
        assert waiting.hear()[0]["id"] == 1


@pytest.mark.parametrize(("asked", "answered"), [(1, 1), (2, 1), (99, 1), (0, 0)])
def test_the_version_is_the_highest_both_speak(serving: Serving, asked: int, answered: int) -> None:
    with Wire(serving.socket) as wire:
        wire.send(frames.SYNC + frames.encode({"id": 1, "op": "hello", "version": asked}))
        assert wire.hear()[0]["ok"]["version"] == answered


def test_unknown_ops_and_wrong_arguments_are_answered(serving: Serving) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"op": "make.coffee"}, "unknown_op"),
        ({"op": "hello"}, "invalid"),
        ({"op": "proc.start", "p": "p"}, "invalid"),
        ({"op": "proc.start", "p": "p", "argv": "ls"}, "invalid"),
        ({"op": "proc.start", "p": "p", "argv": [1]}, "invalid"),
        ({"op": "proc.start", "p": "p", "argv": ["a\0b"]}, "invalid"),
        ({"op": "proc.start", "p": "p", "argv": ["true"], "env": {"A=B": "c"}}, "invalid"),
        ({"op": "proc.start", "p": "p", "argv": ["true"], "env": {"": "c"}}, "invalid"),
        ({"op": "proc.start", "p": "p", "argv": ["true"], "tty": {"cols": 80}}, "invalid"),
        ({"op": "proc.start", "p": "p", "argv": ["true"], "tty": {"cols": 80, "rows": 70_000}}, "invalid"),
        ({"op": "proc.start", "p": "p", "argv": ["true"], "overflow": "burst"}, "invalid"),
        ({"op": "proc.start", "p": "p", "argv": ["true"], "timeout_ms": -1}, "invalid"),
        ({"op": "proc.read", "p": "q", "stdout": 0, "stderr": 0, "limit": 1}, "not_found"),
        ({"op": "proc.write"}, "invalid"),
        ({"op": "proc.signal", "p": "q", "signal": 9}, "not_found"),
        ({"op": "file.read", "h": 1, "limit": 10}, "not_found"),
        ({"op": "file.open_read", "h": 1}, "invalid"),
        ({"op": "file.open_write", "h": 1, "path": "/x", "mode": 0o10000}, "invalid"),
        ({"op": "file.stat", "path": 7}, "invalid"),
        ({"op": "file.remove", "path": "/", "recursive": True}, "invalid"),
        ({"op": "restore"}, "invalid"),
        ({"op": "network", "address": "10.0.0.1/8", "gateway": "10.0.0.2", "dns": []}, "invalid"),
        ({"op": "grow"}, "invalid"),
        ({"op": "shutdown"}, "invalid"),
    ]
    with Wire(serving.socket) as wire:
        wire.greet()
        for number, (header, code) in enumerate(cases, start=2):
            wire.ask({"id": number, **header})
            answer, _ = wire.hear()
            assert (answer["id"], answer.get("error", {}).get("code")) == (number, code), header


def test_more_than_256_open_requests_are_busy(serving: Serving) -> None:
    read = {"op": "proc.read", "p": "p", "stdout": 0, "stderr": 0, "limit": 1, "wait_ms": 60_000}
    with Wire(serving.socket) as wire:
        wire.greet()
        wire.ask({"id": 2, "op": "proc.start", "p": "p", "argv": ["sleep", "60"]})
        assert "ok" in wire.hear()[0]
        for number in range(3, 3 + 257):
            wire.ask({"id": number, **read})
        answer, _ = wire.hear()
        assert (answer["id"], answer["error"]["code"]) == (259, "busy")


def test_more_than_64_handles_are_too_many(serving: Serving) -> None:
    with Wire(serving.socket) as wire:
        wire.greet()
        for number in range(1, 66):
            wire.ask({"id": 1 + number, "op": "file.open_read", "h": number, "path": "/etc/passwd"})
        answers = wire.hear_all(65)
        assert answers[66]["error"]["code"] == "too_many"
        assert sum("ok" in answer for answer in answers.values()) == 64


def test_input_that_waits_is_bounded(serving: Serving) -> None:
    with Wire(serving.socket) as wire:
        wire.greet()
        wire.ask({"id": 2, "op": "proc.start", "p": "p", "argv": ["sleep", "60"], "stdin": True})
        assert "ok" in wire.hear()[0]
        for number in range(3, 15):
            wire.ask({"id": number, "op": "proc.write", "p": "p"}, b"x" * frames.BODY_LIMIT)
        codes = [wire.hear()[0]["error"]["code"] for _ in range(4)]
        assert codes == ["busy"] * 4


def test_nothing_passes_over_a_request_that_failed(serving: Serving, tmp_path: Path) -> None:
    with Wire(serving.socket) as wire:
        wire.greet()
        path = str(tmp_path / "file")
        wire.ask({"id": 2, "op": "file.open_write", "h": 1, "path": path})
        wire.ask({"id": 3, "op": "file.read", "h": 1, "limit": 1})
        wire.ask({"id": 4, "op": "file.commit", "h": 1})
        wire.ask({"id": 5, "op": "file.close", "h": 1})
        answers = wire.hear_all(4)
        assert answers[3]["error"] == answers[4]["error"]
        assert "ok" in answers[5]
        assert not Path(path).exists()


def test_a_host_that_asks_and_does_not_listen_costs_no_memory(serving: Serving) -> None:
    request = frames.encode({"id": 1000, "op": "x" * 60_000})
    with Wire(serving.socket) as wire:
        wire.greet()
        wire.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            for number in range(1000, 9999):
                wire.send(request.replace(b'"id":1000', b'"id":%d' % number))
        assert number < 9998, "the agent reads on and on"
        assert peak_memory(serving.process.pid) < 20 << 20
    with Wire(serving.socket) as wire:
        wire.greet()


OPS = "hello stats proc.start proc.read proc.write proc.list proc.forget restore file.open_read file.open_write"
OPS = f"{OPS} file.read file.write file.commit file.close file.stat file.list".split()


@pytest.mark.parametrize("seed", range(20))
def test_the_agent_survives_any_bytes(serving: Serving, seed: int) -> None:
    chance = random.Random(seed)
    values = [None, True, 0, 1, -1, 2**53, 1e300, "", "p", "/", "/nonexistent/x", "\0", ["true"], [[]], {}, {"a": "b"}]
    names = ["p", "h", "argv", "env", "cwd", "user", "tty", "path", "limit", "stdout", "stderr", "wait_ms", "version"]
    with Wire(serving.socket) as wire:
        wire.greet()
        for number in range(2, 200):
            header: dict[str, Any] = {"id": number, "op": chance.choice(OPS)}
            header |= {name: chance.choice(values) for name in chance.sample(names, 6)}
            if header["op"] == "file.open_write" or (header.get("path") == "/" and header["op"] == "file.remove"):
                continue
            data = bytearray(frames.encode(header, chance.randbytes(chance.choice([0, 1, 5000]))))
            if chance.random() < 0.02:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            wire.send(bytes(data))
    with Wire(serving.socket) as wire:
        wire.greet()


def test_an_idle_agent_sleeps(serving: Serving) -> None:
    def switches() -> int:
        status = Path(f"/proc/{serving.process.pid}/status").read_text()
        return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)

    with Wire(serving.socket) as wire:
        wire.greet()
        before = (cpu_ticks(serving.process.pid), switches())
        time.sleep(0.5)
        assert cpu_ticks(serving.process.pid) - before[0] <= 1
        assert switches() - before[1] <= 5


def test_the_answer_to_a_short_request_is_small(serving: Serving) -> None:
    with Wire(serving.socket) as wire:
        wire.greet()
        wire.ask({"id": 2, "op": "stats"})
        header, body = wire.hear()
        assert len(json.dumps(header)) < 400
        assert body == b""
