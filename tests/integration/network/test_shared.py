"""What a hostile guest does to tables of the kernel that all machines of a box share."""

import json
import socket
import struct
from collections.abc import Iterator

import pytest

from hutch.host.network import rules, slot
from namespaces import ECHO, LIMIT, PLAN, World

SERVER = ("93.184.216.34", ECHO)


def load_rules(world: World) -> None:
    former = "delete table netdev hutch-slot\ndelete table inet hutch-slot\n"
    world.do(slot.run_nft(world.slot, former + rules.of_slot(world.slot, PLAN)))


@pytest.fixture
def few(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """So many connections may a guest have open."""
    monkeypatch.setattr(rules, "CONNECTIONS", 5)
    load_rules(world)
    yield 5
    monkeypatch.undo()
    load_rules(world)


def test_a_guest_that_pretends_to_be_many_fills_no_table_of_neighbours(world: World) -> None:
    def pretend() -> bytes:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as raw:
            raw.settimeout(LIMIT)
            raw.bind(("eth0", 0))
            mac = raw.getsockname()[4]
            head = b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
            for sender in (*(f"10.0.2.{number}" for number in range(100, 200)), "10.0.2.15"):
                raw.send(head + mac + socket.inet_aton(sender) + bytes(6) + socket.inet_aton("10.0.2.2"))
            while (answer := raw.recv(100))[38:42] != socket.inet_aton("10.0.2.15"):
                pass
            return answer[28:32]

    assert world.in_guest(pretend) == socket.inet_aton("10.0.2.2")  # the last, honest question is answered
    assert {it["dst"] for it in json.loads(world.ip("-j", "neigh", "show", "dev", "tap0"))} == {"10.0.2.15"}


def test_a_guest_has_so_many_connections_open_and_no_more(world: World, few: int) -> None:
    opened = [world.in_guest(lambda: socket.create_connection(SERVER, timeout=LIMIT)) for _ in range(few)]
    with pytest.raises(TimeoutError):
        world.in_guest(lambda: socket.create_connection(SERVER, timeout=1.0))
    for connection in opened:
        connection.close()
    assert world.reach("tcp", *SERVER) == "answered"
