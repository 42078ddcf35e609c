"""A policy's rules as text, and the bounds that no policy opens."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from hutch.host.network import policy, shaping
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy

RESOLVER = IPv4Address("10.213.0.1")
MACHINES = IPv4Network("10.213.0.0/20")
BOUNDS = policy.Bounds.of(RESOLVER, MACHINES, "")


def is_refused(bounds: policy.Bounds, address: str) -> bool:
    return any(IPv4Address(address) in network for network in bounds.refused)


@pytest.mark.parametrize(
    "address",
    [
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        str(RESOLVER),
    ],
)
def test_what_is_no_public_address_is_refused(address: str) -> None:
    assert is_refused(BOUNDS, address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.0", "223.255.255.255"]
)
def test_what_is_a_public_address_is_not(address: str) -> None:
    assert not is_refused(BOUNDS, address)


def test_the_operator_opens_networks_one_by_one() -> None:
    bounds = policy.Bounds.of(RESOLVER, MACHINES, " 192.168.7.0/24 ,169.254.169.254/32,, 1.1.1.1 ")
    for address, refused in (("192.168.7.9", False), ("192.168.8.1", True), ("169.254.169.254", False)):
        assert is_refused(bounds, address) is refused
    assert is_refused(bounds, "169.254.169.253")


def test_a_wide_network_does_not_open_the_machines_own() -> None:
    bounds = policy.Bounds.of(RESOLVER, MACHINES, "10.0.0.0/8")
    assert not is_refused(bounds, "10.9.9.9")
    assert is_refused(bounds, "10.213.0.9")
    named = policy.Bounds.of(RESOLVER, MACHINES, "10.0.0.0/8,10.213.1.0/24")
    assert not is_refused(named, "10.213.1.9")
    assert is_refused(named, "10.213.2.9")


@pytest.mark.parametrize("text", ["x", "10.0.0.0/33", "10.0.0.1/8", "fd00::/8", "10.0.0.0/8;192.168.0.0/16"])
def test_a_setting_that_makes_no_sense_is_an_error(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="HUTCH_NETWORK_ALLOW_PRIVATE"):
        policy.Bounds.of(RESOLVER, MACHINES, text)


def test_a_mark_stands_for_an_entry_however_it_is_written() -> None:
    assert policy.mark_of("*.Example.ORG.") == policy.mark_of("*.example.org") != policy.mark_of("example.org")
    assert 0 < policy.mark_of("example.org") < 2**32


def test_a_blocked_machine_has_no_rule_that_accepts() -> None:
    text = policy.rules(NetworkPolicy(NetworkMode.BLOCKED), BOUNDS)
    judge = text.rpartition("chain judge {")[2].partition("}")[0]
    assert judge.split("\n")[1:-1] == ["    ", "    goto refuse"]


@pytest.mark.parametrize("mode", [NetworkMode.OPEN, NetworkMode.ALLOW])
def test_what_is_sent_to_the_resolver_is_bounded_before_it_comes_there(mode: NetworkMode) -> None:
    lines = policy.rules(NetworkPolicy(mode), BOUNDS).splitlines()
    first, second = (line for line in lines if str(RESOLVER) in line and "proto-src 53" in line)
    assert f"limit rate over {policy.ASKING}/second" in first
    assert second.endswith("accept")


def test_networks_of_a_policy_come_out_whole_and_once() -> None:
    given = NetworkPolicy(NetworkMode.ALLOW, ("1.2.3.4/8", "1.2.3.0/24", "5.6.7.8"), (), ("8.8.8.8", "::/0"))
    text = policy.rules(given, BOUNDS)
    assert "ct reply ip saddr { 1.0.0.0/8, 5.6.7.8/32 } accept" in text
    assert "8.8.8.8/32" in text
    assert "::" not in text
    assert "@admitted" not in text


def test_a_limit_without_a_burst_lets_a_second_of_packets_go_at_once() -> None:
    assert "limit rate over 50/second burst 50 packets drop" in policy.rules(
        NetworkPolicy(packets_per_second=50), BOUNDS
    )
    limited = policy.rules(NetworkPolicy(packets_per_second=50, burst=7), BOUNDS)
    assert "limit rate over 50/second burst 7 packets drop" in limited


def test_an_admission_renews_what_is_there_or_begins_anew() -> None:
    one = {IPv4Address("1.2.3.4"): (0xAB, 60)}
    element = "element inet hutch-policy admitted { 1.2.3.4 timeout 60s : 0xab }\n"
    gone = "delete element inet hutch-policy admitted { 1.2.3.4 }\n"
    assert policy.admission(one) == f"add {element}{gone}add {element}"
    assert policy.admission(one, anew=True) == f"flush map inet hutch-policy admitted\nadd {element}"


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (None, "noqueue"),
        (1, "tbf rate 1kbit burst 16384 limit 49152"),
        (1000, "tbf rate 1000kbit burst 16384 limit 49152"),
        (1_000_000, "tbf rate 1000000kbit burst 1250000 limit 26250000"),
    ],
)
def test_a_rate_is_a_token_bucket(rate: int | None, words: str) -> None:
    assert " ".join(shaping.discipline(rate)) == words
