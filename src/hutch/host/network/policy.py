"""What a machine may reach: its egress policy as nftables rules in its slot's namespace, out of the guest's hands.

Every packet is judged by who began its connection. What began outside (the proxy, a tunnel) passes in every mode. What
the guest began is judged packet by packet and in both directions by the address that answers, so that a new policy also
breaks connections that are open. Refused TCP is reset and the rest answered with ICMP: clients fail at once.

Names are not known to packets. The resolver (`resolver.py`) puts the addresses of an allowed name into the map
`admitted` for a time, with a mark that stands for the entry of the policy that allowed it; a connection to such an
address takes the mark over. It may go on as long as that entry is in the policy, also when the time of the address is
over. The map outlives a change of policy and of the service.
"""

import functools
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from hutch.host.network import shaping
from hutch.host.network.slot import Slot, run_nft
from hutch.host.qemu import guest_network
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy

MAX_ADMITTED = 4096
"""Addresses of names one machine can have admitted at a time. With another number the map needs another name: slots
that are adopted have it already."""

ASKING = 500
"""Packets a second that a guest may send to the resolver: all guests share what it can read."""

NEVER = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # shared by carriers' NAT (RFC 6598)
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local: metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.0.2.0/24",  # documentation (RFC 5737), as the next but two
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""Networks that no policy opens unless the operator does."""

# Packets are counted before fragments are put together (at priority -400).
_TABLE = """\
table inet hutch-policy {{
  map admitted {{ type ipv4_addr : mark; flags timeout; size {size}; }}
  chain paced {{ type filter hook prerouting priority -450; policy accept; }}
  chain input {{ type filter hook input priority filter; policy accept; }}
  chain forward {{ type filter hook forward priority filter; policy drop; }}
  chain judge {{ }}
  chain refuse {{ }}
}}
flush table inet hutch-policy
table inet hutch-policy {{
  chain paced {{
    {limit}
  }}
  chain input {{
    iifname "tap0" ip daddr {gateway} icmp type echo-request limit rate 20/second accept
    iifname "tap0" ct direction original goto refuse
  }}
  chain forward {{
    ct state invalid drop
    iifname "eth0" ct direction original accept
    iifname "tap0" ct direction reply accept
    goto judge
  }}
  chain judge {{
    {judgement}
    goto refuse
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    iifname "tap0" reject with icmpx admin-prohibited
    drop
  }}
}}
"""

_PEER = "ct reply ip saddr"  # the address that answers: where the packet really goes, or comes from


@dataclass(frozen=True)
class Bounds:
    """What no tenant decides: the resolver guests ask, and the networks that every policy refuses."""

    resolver: IPv4Address
    refused: tuple[IPv4Network, ...]

    @classmethod
    def of(cls, resolver: IPv4Address, machines: IPv4Network, allow_private: str) -> "Bounds":
        """Of the setting `network.allow_private`; `InvalidRequest` if that is no list of IPv4 networks.

        The machines' own network is opened only by a setting that names (a part of) it, not by a wider one.
        """
        allowed = []
        for text in filter(None, (part.strip() for part in allow_private.split(","))):
            try:
                allowed.append(IPv4Network(text))
            except ValueError as error:
                raise errors.InvalidRequest(f"HUTCH_NETWORK_ALLOW_PRIVATE: {error}") from None
        outer = [piece for network in NEVER for piece in _without(network, allowed)]
        own = _without(machines, [network for network in allowed if network.subnet_of(machines)])
        return cls(resolver, tuple(ipaddress.collapse_addresses([*outer, *own])))


def rules(policy: NetworkPolicy, bounds: Bounds) -> str:
    """The script that puts a slot under a policy, in one step; what is admitted stays."""
    return _TABLE.format(
        size=MAX_ADMITTED,
        gateway=guest_network.GATEWAY,
        limit=_limit(policy),
        judgement="\n    ".join(_judgement(policy, bounds)),
    )


async def apply(slot: Slot, policy: NetworkPolicy, bounds: Bounds) -> None:
    """Put a slot under a policy, whatever it was under. In force when this returns. `CommandFailed`."""
    await run_nft(slot, rules(policy, bounds))
    await shaping.limit(slot, policy.kbit_per_second)


@functools.lru_cache(256)
def marks_of(hosts: tuple[str, ...]) -> frozenset[int]:
    """Those of all entries."""
    return frozenset(map(mark_of, hosts))


def mark_of(host: str) -> int:
    """What stands for an entry of `hosts` on connections that it allows: 32 bits, never 0."""
    digest = hashlib.blake2s(host.lower().rstrip(".").encode(), digest_size=4).digest()
    return int.from_bytes(digest) or 1


def admission(addresses: Mapping[IPv4Address, tuple[int, int]], anew: bool = False) -> str:
    """The script that admits addresses, each with its mark for so many seconds from now, in one step.

    An address that is admitted with the same mark gets the new time. With another mark the script fails, unless `anew`:
    then all that is not named here is forgotten.
    """
    found = addresses.items()
    add = _elements("add", (f"{address} timeout {seconds}s : {mark:#x}" for address, (mark, seconds) in found))
    if anew:
        return f"flush map inet hutch-policy admitted\n{add}"
    return add + _elements("delete", map(str, addresses)) + add


def _elements(verb: str, elements: Iterable[str]) -> str:
    return f"{verb} element inet hutch-policy admitted {{ {', '.join(elements)} }}\n"


def _judgement(policy: NetworkPolicy, bounds: Bounds) -> list[str]:
    """Rules of the chain `judge`; what they let fall through is refused."""
    if policy.mode is NetworkMode.BLOCKED:
        return []
    resolver = f"meta l4proto {{ tcp, udp }} {_PEER} {bounds.resolver} ct reply proto-src 53"
    judgement = [
        f'{resolver} iifname "tap0" limit rate over {ASKING}/second burst {2 * ASKING} packets drop',
        f"{resolver} accept",
        f"{_PEER} {_set((*bounds.refused, *networks(policy.denied)))} goto refuse",
    ]
    if policy.mode is NetworkMode.OPEN:
        return [*judgement, "accept"]
    if policy.cidrs:
        judgement.append(f"{_PEER} {_set(networks(policy.cidrs))} accept")
    if policy.hosts:
        marks = (f"{mark:#x}" for mark in sorted(marks_of(policy.hosts)))
        judgement += [
            "meta l4proto { tcp, udp } ct original proto-dst { 53, 853 } goto refuse",
            f"ct mark set {_PEER} map @admitted",
            f"ct mark {{ {', '.join(marks)} }} accept",
        ]
    return judgement


def _limit(policy: NetworkPolicy) -> str:
    if policy.packets_per_second is None:
        return ""
    burst = policy.burst or policy.packets_per_second
    return f'iifname "tap0" limit rate over {policy.packets_per_second}/second burst {burst} packets drop'


@functools.lru_cache(1024)
def networks(texts: tuple[str, ...]) -> tuple[IPv4Network, ...]:
    """The networks of a policy that is checked. IPv6 is off in machines: such networks say nothing."""
    found = (ipaddress.ip_network(text, strict=False) for text in texts)
    return tuple(network for network in found if isinstance(network, IPv4Network))


def _set(networks: Iterable[IPv4Network]) -> str:
    return f"{{ {', '.join(map(str, ipaddress.collapse_addresses(networks)))} }}"


def _without(network: IPv4Network, holes: Iterable[IPv4Network]) -> list[IPv4Network]:
    pieces = [network]
    for hole in holes:
        pieces = [left for piece in pieces for left in _cut(piece, hole)]
    return pieces


def _cut(piece: IPv4Network, hole: IPv4Network) -> Iterable[IPv4Network]:
    if piece.subnet_of(hole):
        return ()
    return piece.address_exclude(hole) if hole.subnet_of(piece) else (piece,)
