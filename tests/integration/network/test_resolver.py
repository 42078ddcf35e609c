"""What the guests' resolver answers, asked by a guest over its slot."""

import contextlib
import random
import socket
from concurrent.futures import ThreadPoolExecutor

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import dns.update
import pytest

from hutch.host.network import resolver
from hutch.model.machine import NetworkMode, NetworkPolicy
from namespaces import LIMIT, World

RESOLVER = "10.0.2.3"
HOSTS = NetworkPolicy(NetworkMode.ALLOW, hosts=("example.org", "*.example.org"))


def texts(message: dns.message.Message) -> set[str]:
    return {rdata.to_text() for rrset in message.answer for rdata in rrset}


@pytest.mark.parametrize("over", ["udp", "tcp"])
def test_an_open_machine_is_told_what_is_so(world: World, over: str) -> None:
    assert texts(world.ask("rebind.example.org", over=over)) == {"127.0.0.1", "10.9.9.9", "169.254.169.254"}
    assert texts(world.ask("both.example.org", "AAAA", over=over)) == {"2001:db8::1"}
    assert world.ask("nothing.net", over=over).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("over", ["udp", "tcp"])
@pytest.mark.parametrize(
    "name",
    ["evil.net", "example.org.evil.net", "notexample.org", "org", ".", r"a\.example.org", "1.0.0.127.in-addr.arpa"],
)
def test_other_names_are_refused_and_nobody_is_asked(world: World, name: str, over: str) -> None:
    world.put_under(HOSTS)
    assert world.ask(name, over=over).rcode() == dns.rcode.REFUSED
    assert not world.names.asked


@pytest.mark.parametrize("kind", ["AAAA", "HTTPS", "SVCB"])
def test_an_allowed_name_has_no_addresses_but_those_of_ipv4(world: World, kind: str) -> None:
    world.put_under(HOSTS)
    said = world.ask("both.example.org", kind)
    assert (said.rcode(), said.answer) == (dns.rcode.NOERROR, [])
    assert not world.names.asked


def test_an_allowed_name_has_its_other_records(world: World) -> None:
    world.put_under(HOSTS)
    assert texts(world.ask("both.example.org", "TXT")) == {'"hello"'}
    assert texts(world.ask("both.example.org", "MX")) == {"10 mail.example.org."}
    assert world.ask("none.example.org").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(("name", "left"), [("rebind", set()), ("mixed", {"93.184.216.42"})])
def test_addresses_that_no_policy_opens_are_taken_out(world: World, name: str, left: set[str]) -> None:
    world.put_under(HOSTS)
    assert texts(world.ask(f"{name}.example.org")) == left


def test_an_alias_is_followed_and_a_circle_of_them_is_a_failure(world: World) -> None:
    world.put_under(HOSTS)
    assert texts(world.ask("www.example.org")) == {"edge.cdn.net.", "93.184.216.40"}
    assert texts(world.ask("alias.example.org")) == {"inside.evil.net."}
    assert world.ask("loop.example.org").rcode() == dns.rcode.SERVFAIL


def test_an_answer_too_long_for_udp_is_had_over_tcp(world: World) -> None:
    world.put_under(HOSTS)
    short = world.ask("many-60.example.org")
    assert short.flags & dns.flags.TC
    assert len(texts(world.ask("many-60.example.org", over="tcp"))) == 60
    assert len(texts(world.ask("many-200.example.org", over="tcp"))) == 64


def test_the_longest_answers_are_passed_on_whole(world: World) -> None:
    assert len(texts(world.ask("many-2500.net", over="tcp"))) == 2500


def test_an_answer_that_is_known_already_changes_no_rules(world: World) -> None:
    world.put_under(HOSTS)
    world.ask("example.org")
    loads = world.loads
    assert world.ask("example.org").answer
    assert world.loads == loads


def test_many_questions_at_once_are_all_answered_and_admitted(world: World) -> None:
    world.put_under(HOSTS)
    names = [f"n{number}.example.org" for number in range(40)]
    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(world.ask, names))
    found = {address for message in said for address in texts(message)}
    assert len(found) == 40
    for address in sorted(found)[::8]:
        assert world.reach("tcp", address) == "answered"


def test_where_nobody_answers_the_guest_is_told_in_time(world: World) -> None:
    assert world.ask("silent.net").rcode() == dns.rcode.SERVFAIL


def test_transfers_updates_and_questions_about_everything_are_not_done(world: World) -> None:
    for kind in ("ANY", "AXFR"):
        assert world.ask("example.org", kind).rcode() == dns.rcode.NOTIMP
    update = dns.update.UpdateMessage("example.org")
    update.add("x", 60, "A", "1.2.3.4")
    assert world.in_guest(lambda: dns.query.udp(update, RESOLVER, LIMIT)).rcode() == dns.rcode.NOTIMP
    assert not world.names.asked


def test_what_makes_no_sense_ends_nothing(world: World) -> None:
    good = dns.message.make_query("example.org", "A", use_edns=0).to_wire()
    chance = random.Random(5)

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect((RESOLVER, 53))
            for number in range(300):
                wire = bytearray(good if number % 3 else chance.randbytes(chance.randrange(0, 600)))
                for _ in range(number % 3):
                    wire[chance.randrange(len(wire))] = chance.randrange(256)
                sender.send(wire[: chance.randrange(len(wire) + 1)] if number % 5 == 0 else wire)

    world.in_guest(send)
    world.renew()
    assert world.ask("example.org").answer


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x3f", dns.rcode.FORMERR),
        (b"\x12\x34\x01\x00" + bytes(8), dns.rcode.FORMERR),  # no question
        (dns.message.make_query("example.org", "A", "CH").to_wire(), dns.rcode.REFUSED),
    ],
    ids=["cut", "no question", "another class"],
)
def test_a_question_that_makes_no_sense_is_told_so(world: World, wire: bytes, expected: dns.rcode.Rcode) -> None:
    def send() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(LIMIT)
            sender.connect((RESOLVER, 53))
            sender.send(wire)
            return sender.recv(1500)

    said = dns.message.from_wire(world.in_guest(send))
    assert said.rcode() == expected
    assert said.id == int.from_bytes(wire[:2])


def test_answers_and_strangers_get_no_answer(world: World) -> None:
    answer = dns.message.make_response(dns.message.make_query("example.org", "A"))
    with pytest.raises(dns.exception.Timeout):
        world.in_guest(lambda: dns.query.udp(answer, RESOLVER, 0.5))
    world.forget_client()
    with pytest.raises(dns.exception.Timeout):
        world.ask("example.org", limit=0.5)


def test_a_tcp_connection_carries_many_questions_and_a_guest_has_few(world: World) -> None:
    def converse() -> tuple[int, bool]:
        with contextlib.ExitStack() as opened:
            answered = 0
            for _ in range(resolver.CONNECTIONS):
                connection = opened.enter_context(socket.create_connection((RESOLVER, 53), timeout=LIMIT))
                for _ in range(3):
                    dns.query.send_tcp(connection, dns.message.make_query("example.org", "A"), None)
                    answered += bool(dns.query.receive_tcp(connection, None)[0].answer)
            return answered, _is_closed(opened.enter_context(socket.create_connection((RESOLVER, 53), timeout=LIMIT)))

    assert world.in_guest(converse) == (3 * resolver.CONNECTIONS, True)


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_question_over_tcp_that_is_too_long_ends_the_connection(world: World) -> None:
    def send() -> bool:
        with socket.create_connection((RESOLVER, 53), timeout=LIMIT) as connection:
            connection.sendall((resolver.QUESTION_BYTES + 1).to_bytes(2))
            return _is_closed(connection)

    assert world.in_guest(send)


def test_a_flood_of_questions_is_not_answered_whole(world: World) -> None:
    def flood() -> int:
        wire = dns.message.make_query("example.org", "A").to_wire()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(2.0)
            sender.connect((RESOLVER, 53))
            for _ in range(5000):
                sender.send(wire)
            answered = 0
            try:
                while sender.recv(1500):
                    answered += 1
            except TimeoutError:
                return answered

    assert 0 < world.in_guest(flood) < 5000
    world.renew()
    assert world.ask("example.org").answer
