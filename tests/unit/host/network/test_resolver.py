"""What the resolver decides, and how little a guest can make it do."""

import asyncio
import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from hutch import commands
from hutch.host.network import answers, policy, resolver, upstream
from hutch.host.network.slot import Plan, Slot
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy

PLAN = Plan("hutch-unit", IPv4Network("10.213.0.0/20"))
BOUNDS = policy.Bounds.of(PLAN.resolver, PLAN.network, "")
HOSTS = NetworkPolicy(NetworkMode.ALLOW, hosts=("example.org", "*.wild.example.net"))


class Rules:
    """Remembers scripts; `gate` holds them up, `fail` fails that many."""

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail = 0

    async def load(self, _: Slot, script: str) -> None:
        self.scripts.append(script)
        await self.gate.wait()
        if self.fail:
            self.fail -= 1
            raise commands.CommandFailed("nft failed with code 1", ["nft"], "", 1)


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
def client(rules: Rules) -> resolver.Client:
    return resolver.Client(PLAN.slot(0), HOSTS, rules.load)


def address(number: int) -> IPv4Address:
    return IPv4Address("93.184.0.0") + number


def exchange(ttl: int, *found: str) -> tuple[dns.message.Message, dns.message.QueryMessage]:
    """A question, and another resolver's answer to it."""
    query = dns.message.make_query("example.org", "A")
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text("example.org.", ttl, "IN", "A", *found))
    said = dns.message.from_wire(response.to_wire())
    assert isinstance(said, dns.message.QueryMessage)
    return query, said


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.org.", "example.org"),
        ("a.example.org", None),
        ("wild.example.net", None),
        ("a.wild.example.net", "*.wild.example.net"),
        ("a.b.c.WILD.example.net", "*.wild.example.net"),
        ("notwild.example.net", None),
        (r"a\.wild.example.net", None),
        (".", None),
    ],
)
def test_a_name_is_allowed_by_an_entry_or_refused(name: str, entry: str | None) -> None:
    verdict = answers.judge(HOSTS, dns.message.make_query(name, "A"))
    assert verdict == (
        answers.Verdict(False, dns.rcode.REFUSED) if entry is None else answers.Verdict(True, entry=entry)
    )


@pytest.mark.parametrize("kind", ["A", "TXT", "AAAA", "ANY"])
def test_a_blocked_machine_is_told_nothing(kind: str) -> None:
    verdict = answers.judge(NetworkPolicy(NetworkMode.BLOCKED), dns.message.make_query("example.org", kind))
    assert verdict == answers.Verdict(False, dns.rcode.REFUSED)


def test_addresses_that_are_denied_are_not_admitted() -> None:
    query, said = exchange(60, "8.8.8.8", "9.9.9.9", "10.0.0.1")
    given = NetworkPolicy(NetworkMode.ALLOW, hosts=("example.org",), denied=("9.0.0.0/8",))
    response, addresses = answers.filtered(query, said, given, BOUNDS)
    assert [rdata.to_text() for rdata in response.answer[0]] == ["8.8.8.8"]
    assert addresses == {IPv4Address("8.8.8.8"): 90}


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 60), (30, 60), (600, 630), (2**31 - 1, 3600)])
def test_an_address_is_admitted_longer_than_its_answer_is_kept(ttl: int, seconds: int) -> None:
    query, said = exchange(ttl, "8.8.8.8")
    response, addresses = answers.filtered(query, said, HOSTS, BOUNDS)
    assert addresses == {IPv4Address("8.8.8.8"): seconds}
    assert response.answer[0].ttl < seconds


async def test_admissions_that_come_meanwhile_go_into_one_script(client: resolver.Client, rules: Rules) -> None:
    rules.gate.clear()
    asked = [asyncio.create_task(client.admit("example.org", {address(number): 60})) for number in range(20)]
    while not rules.scripts:
        await asyncio.sleep(0)
    rules.gate.set()
    await asyncio.gather(*asked)
    assert len(rules.scripts) <= 2
    assert all(str(address(number)) in "".join(rules.scripts) for number in range(20))


async def test_what_is_admitted_long_enough_is_not_admitted_again(client: resolver.Client, rules: Rules) -> None:
    await client.admit("example.org", {address(1): 330})
    await client.admit("example.org", {address(1): 300})
    assert len(rules.scripts) == 1
    await client.admit("example.org", {address(1): 3600})
    assert len(rules.scripts) == 2


async def test_an_address_of_an_entry_that_is_gone_is_admitted_again(client: resolver.Client, rules: Rules) -> None:
    await client.admit("example.org", {address(1): 330})
    client.policy = NetworkPolicy(NetworkMode.ALLOW, hosts=("*.org",))
    await client.admit("*.org", {address(1): 60})
    assert f"{policy.mark_of('*.org'):#x}" in rules.scripts[-1]


async def test_rules_that_cannot_be_added_to_are_written_anew(client: resolver.Client, rules: Rules) -> None:
    await client.admit("example.org", {address(1): 330})
    rules.fail = 1
    await client.admit("example.org", {address(2): 330})
    assert rules.scripts[-1].startswith("flush map")
    assert str(address(1)) in rules.scripts[-1]
    assert str(address(2)) in rules.scripts[-1]


async def test_an_answer_whose_addresses_cannot_be_admitted_is_an_error(client: resolver.Client, rules: Rules) -> None:
    rules.fail = 2
    with pytest.raises(errors.HutchError):
        await client.admit("example.org", {address(1): 60})
    await client.admit("example.org", {address(1): 60})


async def test_a_machine_has_so_many_addresses_and_no_more(client: resolver.Client) -> None:
    await client.admit("example.org", {address(number): 60 for number in range(policy.MAX_ADMITTED)})
    with pytest.raises(errors.NoCapacity):
        await client.admit("example.org", {address(policy.MAX_ADMITTED): 60})
    await client.admit("example.org", {address(7): 60})


async def test_nothing_is_admitted_for_a_machine_that_is_gone(rules: Rules) -> None:
    guests = resolver.Resolver(BOUNDS, load=rules.load)
    slot = PLAN.slot(0)
    guests.register(slot.outside, slot, HOSTS)
    client = guests._clients[str(slot.outside)]
    guests.forget(slot.outside)
    guests.forget(slot.outside)
    with pytest.raises(errors.HutchError):
        await client.admit("example.org", {address(1): 60})
    assert not rules.scripts
    assert not client.take()


async def test_a_machine_may_ask_so_much_at_once(client: resolver.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver.time, "monotonic", lambda: client._counted)
    assert sum(client.take() for _ in range(resolver.BURST + 100)) == resolver.BURST
    monkeypatch.setattr(resolver.time, "monotonic", lambda now=client._counted + 1: now)
    assert sum(client.take() for _ in range(resolver.BURST)) == resolver.PER_SECOND
    monkeypatch.setattr(resolver.time, "monotonic", lambda now=client._counted + 100: now)
    client.asking = resolver.AT_ONCE
    assert not client.take()


async def test_a_long_answer_counts_as_many_questions(client: resolver.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver.time, "monotonic", lambda: client._counted)
    _, said = exchange(60, *(str(address(number)) for number in range(1600)))
    client.pay(said)
    assert sum(client.take() for _ in range(resolver.BURST)) == resolver.BURST - 1600 // resolver.RECORDS


async def test_a_resolver_that_cannot_listen_says_where() -> None:
    nowhere = policy.Bounds(IPv4Address("240.0.0.1"), ())
    with pytest.raises(errors.Unsupported, match=r"240\.0\.0\.1:53"):
        await resolver.Resolver(nowhere).open()


def test_the_hosts_resolvers_are_read_again_when_they_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    servers = upstream.ResolvConf(path)
    assert servers() == ()
    path.write_text("# none\nnameserver\noptions ndots:1\nnameserver 9.9.9.9\nnameserver 2620:fe::fe\n")
    assert servers() == [("9.9.9.9", 53), ("2620:fe::fe", 53)]
    path.write_text("nameserver 1.1.1.1\n")
    os.utime(path, ns=(1, 1))
    assert servers() == [("1.1.1.1", 53)]
    path.unlink()
    assert servers() == ()
