"""What a guest reaches under a policy, with real packets; and what it cannot trick its way to with names."""

from dataclasses import dataclass

import pytest

from hutch.model.machine import NetworkMode, NetworkPolicy
from namespaces import UPSTREAM, World

OPEN = NetworkPolicy()
BLOCKED = NetworkPolicy(NetworkMode.BLOCKED)
DENIED = NetworkPolicy(denied=("93.184.216.0/24",))
CIDRS = NetworkPolicy(NetworkMode.ALLOW, cidrs=("93.184.216.34/32", "10.9.0.0/16", "8.8.8.8"))
ALL_CIDRS = NetworkPolicy(NetworkMode.ALLOW, cidrs=("0.0.0.0/0",), denied=("8.8.0.0/16",))
HOSTS = NetworkPolicy(NetworkMode.ALLOW, hosts=("example.org", "*.Example.org."))
ONE_HOST = NetworkPolicy(NetworkMode.ALLOW, hosts=("EXAMPLE.ORG",))
BOTH = NetworkPolicy(NetworkMode.ALLOW, cidrs=("8.8.8.8/32",), hosts=("example.org",), denied=("93.184.216.0/24",))

PUBLIC, OTHER, GOOGLE = "93.184.216.34", "93.184.216.66", "8.8.8.8"
PRIVATE = (
    "10.9.9.9",
    "10.213.0.9",  # another machine
    "10.213.0.2",  # the host's end of the link
    "100.64.0.9",
    "169.254.169.254",
    "172.16.0.9",
    "192.168.9.9",
    "198.18.0.9",
    "240.0.0.9",
)


@dataclass(frozen=True)
class Case:
    """Under a policy the guest asks for names, and then a target answers or is refused."""

    policy: NetworkPolicy
    target: str
    expected: str
    protocol: str = "tcp"
    port: int = 80
    asked: tuple[str, ...] = ()


def _all(policy: NetworkPolicy, target: str, expected: str, *asked: str) -> list[Case]:
    return [Case(policy, target, expected, protocol, asked=asked) for protocol in ("tcp", "udp", "icmp")]


MATRIX = [
    *_all(OPEN, PUBLIC, "answered"),
    *_all(OPEN, "10.50.0.9", "answered"),  # the operator allows it
    *_all(OPEN, "10.213.8.9", "answered"),  # so it does with a part of the machines' own network
    *(case for private in PRIVATE for case in _all(OPEN, private, "refused")),
    Case(OPEN, UPSTREAM, "answered", "udp", 53),  # another resolver
    Case(OPEN, "93.184.216.34", "answered", "tcp", 853),
    *_all(BLOCKED, PUBLIC, "refused"),
    *_all(BLOCKED, "10.50.0.9", "refused"),
    Case(BLOCKED, "10.0.2.3", "refused", "udp", 53),
    Case(BLOCKED, "10.0.2.3", "refused", "tcp", 53),
    Case(BLOCKED, UPSTREAM, "refused", "udp", 53),
    *_all(DENIED, PUBLIC, "refused"),
    *_all(DENIED, GOOGLE, "answered"),
    *_all(CIDRS, PUBLIC, "answered"),
    *_all(CIDRS, GOOGLE, "answered"),
    *_all(CIDRS, OTHER, "refused"),
    *_all(CIDRS, "10.9.9.9", "refused"),  # named, and still the operator's to allow
    *_all(CIDRS, "10.50.0.9", "refused"),  # the operator allows it, the policy does not
    Case(CIDRS, GOOGLE, "answered", "udp", 53),  # a resolver that the list names
    Case(CIDRS, UPSTREAM, "refused", "udp", 53),
    *_all(ALL_CIDRS, OTHER, "answered"),
    *_all(ALL_CIDRS, GOOGLE, "refused"),
    *_all(ALL_CIDRS, "169.254.169.254", "refused"),
    *_all(HOSTS, PUBLIC, "refused"),  # a raw address, not asked for
    *_all(HOSTS, PUBLIC, "answered", "example.org"),
    *_all(HOSTS, PUBLIC, "answered", "eXAMPLE.oRG."),
    *_all(HOSTS, OTHER, "refused", "example.org"),  # an allowed name, and then another's address
    *_all(HOSTS, OTHER, "refused", "evil.net"),
    *_all(HOSTS, "93.184.216.35", "answered", "deep.down.example.org"),
    *_all(ONE_HOST, "93.184.216.35", "refused", "deep.down.example.org"),
    *_all(HOSTS, "93.184.216.40", "answered", "www.example.org"),  # the end of an alias
    *_all(HOSTS, "93.184.216.40", "refused", "edge.cdn.net"),  # which nobody may ask for itself
    *(
        case
        for private in ("10.9.9.9", "169.254.169.254")
        for case in _all(HOSTS, private, "refused", "rebind.example.org")
    ),
    *_all(HOSTS, "10.9.9.9", "refused", "mixed.example.org"),
    *_all(HOSTS, "93.184.216.42", "answered", "mixed.example.org"),
    *_all(HOSTS, "192.168.9.9", "refused", "alias.example.org"),
    Case(HOSTS, UPSTREAM, "refused", "udp", 53),
    Case(HOSTS, UPSTREAM, "refused", "tcp", 53),
    Case(HOSTS, PUBLIC, "refused", "udp", 53, asked=("example.org",)),  # an admitted address as a resolver
    Case(HOSTS, PUBLIC, "refused", "tcp", 853, asked=("example.org",)),
    *_all(BOTH, GOOGLE, "answered"),
    *_all(BOTH, PUBLIC, "refused", "example.org"),  # what is denied wins
    Case(HOSTS, "10.0.2.3", "answered", "udp", 53),
    Case(OPEN, "10.0.2.2", "refused"),  # the slot itself
    Case(OPEN, "10.0.2.2", "answered", "icmp"),  # but that it is there
]


def _name(case: Case) -> str:
    mode = {id(DENIED): "denied", id(CIDRS): "cidrs", id(ALL_CIDRS): "all-cidrs", id(BOTH): "both"}
    mode |= {id(HOSTS): "hosts", id(ONE_HOST): "one-host", id(OPEN): "open", id(BLOCKED): "blocked"}
    asked = "".join(f"-{name}" for name in case.asked)
    return f"{mode[id(case.policy)]}{asked}-{case.protocol}-{case.target}-{case.port}"


@pytest.mark.parametrize("case", MATRIX, ids=_name)
def test_a_guest_reaches_what_its_policy_allows_and_nothing_else(world: World, case: Case) -> None:
    world.put_under(case.policy)
    for name in case.asked:
        world.ask(name)
    assert world.reach(case.protocol, case.target, case.port) == case.expected
