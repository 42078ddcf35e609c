"""tunnel: a port of a machine as a port of this box."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from hutch.cli import tunnel
from hutch.client import Hutch, NewMachine
from hutch.client.models import Port

from .conftest import LIMIT, Cli


@contextlib.contextmanager
def echo() -> Iterator[int]:
    """Says what it hears, and `end` when it hears no more."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def one(held: socket.socket) -> None:
            with held, contextlib.suppress(OSError):
                while data := held.recv(65536):
                    held.sendall(data)
                held.sendall(b"end")

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(LIMIT)


@pytest.fixture
def machine(sdk: Hutch) -> Iterator[str]:
    it = sdk.machines.create(NewMachine("debian")).id
    sdk.machines.start(it)
    yield it
    sdk.machines.delete(it)


def test_bytes_pass_both_ways_and_each_end_is_told(sdk: Hutch, hutch: Cli, machine: str) -> None:
    with echo() as port:
        sdk.ports.publish(machine, [Port(port)])
        process = hutch.spawn("tunnel", machine, f"0:{port}")
        assert process.stdout is not None
        host, _, local = process.stdout.readline().decode().strip().partition(":")
        for size in (1, 3_000_000):
            with socket.create_connection((host, int(local)), LIMIT) as one:
                data = bytes(size)
                threading.Thread(target=lambda one=one, data=data: (one.sendall(data), one.shutdown(1))).start()
                heard = b""
                while piece := one.recv(65536):
                    heard += piece
                assert heard == data + b"end"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130


def test_a_port_that_is_not_published_is_refused_at_once(hutch: Cli, machine: str) -> None:
    done = hutch("tunnel", machine, "80", code=1)
    assert b"port 80 is not published" in done.stderr
    assert b"hutch publish" in done.stderr


def test_a_port_that_is_taken_here_is_told(sdk: Hutch, hutch: Cli, machine: str) -> None:
    with echo() as port:
        sdk.ports.publish(machine, [Port(port)])
        assert b"cannot listen on 127.0.0.1" in hutch("tunnel", machine, str(port), code=1).stderr


@pytest.mark.parametrize("words", ["x", "0", "1:2:3", "70000", "70000:1", ":1"])
def test_what_is_no_port_is_a_usage_error(hutch: Cli, words: str) -> None:
    hutch("tunnel", "any", words, code=2)


def test_the_port_here_is_the_same_unless_another_is_said() -> None:
    assert [tunnel.ports(it) for it in ("80", "8080:80", "0:80")] == [(80, 80), (8080, 80), (0, 80)]


def test_the_sdk_tunnels_too(sdk: Hutch, machine: str) -> None:
    with echo() as port:
        sdk.ports.publish(machine, [Port(port)])
        with sdk.tunnels.open(machine, port) as one:
            one.write(b"hello")
            assert one.read() == b"hello"
            one.end()
            assert one.read() == b"end"
            assert one.read() == b""
