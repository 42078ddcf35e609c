"""What a change of policy does to connections that are open, and how much a guest may send."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from hutch.host.network import policy
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy
from namespaces import BOUNDS, ECHO, LIMIT, World, within

BLOCKED = NetworkPolicy(NetworkMode.BLOCKED)
TWO = NetworkPolicy(NetworkMode.ALLOW, hosts=("example.org", "both.example.org"))
ONE = NetworkPolicy(NetworkMode.ALLOW, hosts=("example.org",))
FIRST, SECOND = "93.184.216.34", "93.184.216.43"


@contextmanager
def connected(world: World, *addresses: str) -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        yield [
            opened.enter_context(world.in_guest(lambda to=to: socket.create_connection((to, ECHO), timeout=LIMIT)))
            for to in addresses
        ]


def says(connection: socket.socket, text: bytes) -> bool:
    """Whether an echo comes; a connection that is reset says no."""
    try:
        connection.sendall(text)
        return connection.recv(len(text)) == text
    except ConnectionResetError:
        return False


def admitted(world: World) -> dict[str, int]:
    """Addresses in the slot's rules, and for how many seconds."""
    listed = json.loads(world.nft("-j", "list", "map", "inet", "hutch-policy", "admitted"))
    found = next(it["map"] for it in listed["nftables"] if "map" in it).get("elem", [])
    return {key["elem"]["val"]: key["elem"]["timeout"] for key, _ in found}


def test_a_policy_breaks_the_open_connections_that_it_forbids(world: World) -> None:
    with connected(world, FIRST) as [connection]:
        assert says(connection, b"before")
        world.put_under(BLOCKED)
        assert not says(connection, b"after")


def test_what_is_forbidden_does_not_go_on_from_the_outside_either(world: World) -> None:
    with connected(world, FIRST) as [connection]:
        connection.sendall(b"kept back")
        assert connection.recv(9) == b"kept back"
        world.put_under(BLOCKED)
        world.do(world.say_to_all(b"more"))
        connection.settimeout(1.0)
        with pytest.raises((TimeoutError, ConnectionResetError)):
            connection.recv(4)


def test_a_connection_to_a_host_that_stays_allowed_goes_on(world: World) -> None:
    world.put_under(TWO)
    world.ask("example.org")
    world.ask("both.example.org")
    with connected(world, FIRST, SECOND) as [stays, breaks]:
        assert says(stays, b"before")
        assert says(breaks, b"before")
        world.put_under(ONE)
        assert says(stays, b"after")
        assert not says(breaks, b"after")
    assert world.reach("tcp", FIRST) == "answered"
    assert world.reach("tcp", SECOND) == "refused"


def test_a_connection_outlives_the_time_of_its_address(world: World) -> None:
    world.put_under(ONE)
    world.ask("example.org")
    with connected(world, FIRST) as [connection]:
        world.nft("flush", "map", "inet", "hutch-policy", "admitted")
        assert says(connection, b"still")
        assert world.reach("tcp", FIRST) == "refused"


def test_what_was_opened_without_a_policy_is_judged_by_a_new_one(world: World) -> None:
    with connected(world, FIRST, SECOND) as [asked, unasked]:
        world.put_under(ONE)
        world.ask("example.org")
        assert says(asked, b"named")
        assert not says(unasked, b"not named")


@pytest.mark.parametrize("mode", [NetworkPolicy(), BLOCKED, ONE], ids=["open", "blocked", "allow"])
def test_connections_from_outside_are_served_in_every_mode(world: World, mode: NetworkPolicy) -> None:
    server = world.in_guest(lambda: socket.create_server(("10.0.2.15", 0)))
    with server:
        where = (str(world.slot.outside), server.getsockname()[1])
        server.settimeout(LIMIT)
        world.put_under(mode)
        with within(world.outside, lambda: socket.create_connection(where, timeout=LIMIT)) as caller:
            answering, _ = server.accept()
            with answering:
                answering.settimeout(LIMIT)
                caller.sendall(b"hello")
                assert answering.recv(5) == b"hello"
                world.put_under(BLOCKED)
                answering.sendall(b"still here")
                assert caller.recv(10) == b"still here"


def test_the_same_policy_can_be_put_in_force_again_and_again(world: World) -> None:
    limited = NetworkPolicy(NetworkMode.ALLOW, ("8.8.8.8",), ("example.org",), ("9.9.9.9",), 1000, 1000, 100)
    world.put_under(limited)
    first = world.nft("list", "table", "inet", "hutch-policy")
    world.put_under(limited)
    assert world.nft("list", "table", "inet", "hutch-policy") == first


def test_addresses_are_admitted_for_their_time_within_bounds(world: World) -> None:
    world.put_under(NetworkPolicy(NetworkMode.ALLOW, hosts=("*.example.org", "example.org")))
    for name in ("example.org", "deep.down.example.org", "long.example.org"):
        world.ask(name)
    assert admitted(world) == {FIRST: 60, "93.184.216.35": 330, "93.184.216.44": 3600}
    assert world.ask("long.example.org").answer[0].ttl == 3570


def test_an_address_that_another_entry_admitted_before_is_admitted_by_the_new_one(world: World) -> None:
    world.put_under(ONE)
    world.ask("example.org")
    world.put_under(NetworkPolicy(NetworkMode.ALLOW, hosts=("*.org",)))
    assert world.reach("tcp", FIRST) == "refused"
    assert world.ask("example.org").answer
    assert world.reach("tcp", FIRST) == "answered"


def test_a_resolver_that_has_forgotten_what_was_admitted_admits_anew(world: World) -> None:
    world.put_under(ONE)
    world.ask("example.org")
    world.forget_client()
    world.put_under(NetworkPolicy(NetworkMode.ALLOW, hosts=("*.org",)))
    assert world.ask("example.org").answer
    assert world.reach("tcp", FIRST) == "answered"


def test_a_guest_sends_no_more_packets_than_it_may(world: World) -> None:
    world.put_under(NetworkPolicy(packets_per_second=50, burst=20))

    def flood() -> tuple[int, float]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(2.0)
            sender.connect((FIRST, ECHO))
            began = time.monotonic()
            for _ in range(400):
                sender.send(b"x")
            passed, took = 0, 0.0
            try:
                while sender.recv(10):
                    passed, took = passed + 1, time.monotonic() - began
            except TimeoutError:
                return passed, took

    passed, took = world.in_guest(flood)
    assert 5 <= passed <= 25 + 50 * took
    world.put_under(NetworkPolicy())
    assert "packets" not in world.nft("list", "chain", "inet", "hutch-policy", "paced")


def test_each_fragment_is_a_packet(world: World) -> None:
    world.put_under(NetworkPolicy(packets_per_second=50, burst=20))

    def flood() -> float:
        began = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(15):
                sender.sendto(bytes(60_000), (FIRST, ECHO))  # in 41 fragments
        return time.monotonic() - began

    def sent() -> int:
        return int(json.loads(world.ip("-j", "-s", "link", "show", "eth0"))[0]["stats64"]["tx"]["packets"])

    already = sent()
    took = world.in_guest(flood)
    assert sent() - already <= 25 + 50 * took


def test_a_guest_sends_no_faster_than_it_may(world: World) -> None:
    size = 600_000
    world.put_under(NetworkPolicy(kbit_per_second=1600))

    def send() -> float:
        already = world.received
        began = time.monotonic()
        with socket.create_connection((FIRST, 9), timeout=LIMIT) as connection:
            connection.sendall(bytes(size))
        deadline = time.monotonic() + LIMIT
        while world.received < already + size and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert world.received >= already + size
        return time.monotonic() - began

    assert world.in_guest(send) >= 2.0  # 3 s at 200 kB/s, less what goes at once
    world.put_under(NetworkPolicy())
    world.in_guest(send)
    assert "tbf" not in world.tc("qdisc", "show", "dev", "eth0")


def test_a_slot_that_is_gone_is_an_error_of_ours(world: World) -> None:
    with pytest.raises(errors.HutchError):
        world.do(policy.apply(replace(world.slot, namespace="hutch-test-none"), BLOCKED, BOUNDS))
