"""A slot: one machine's network, a namespace with a tap on the guest's side and a link to this host on the other.

Every guest has the same addresses (`hutch.host.qemu.guest_network`). By `outside` this host knows it: what is sent
there reaches the guest, and what the guest sends comes from there. Numbers decide names and addresses, so that a slot
is written down as its number.
"""

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from hutch import commands
from hutch.model import errors

NAMESPACES = Path("/run/netns")
"""Where named namespaces are, as iproute2 has them."""

NFT_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Slot:
    """One machine's network."""

    number: int
    namespace: str  # below NAMESPACES
    veth: str  # the end of the link that is in this host's own namespace
    outside: IPv4Address  # of `link`: by which this host reaches the guest
    host_side: IPv4Address  # of `veth`
    tap: str = "tap0"  # in the namespace; the guest's gateway
    link: str = "eth0"  # in the namespace; leads to `veth`

    @property
    def path(self) -> Path:
        """Of its namespace."""
        return NAMESPACES / self.namespace


PREFIX = "hut"
"""What the host's ends of all slots' links begin with, those of other services on this box too."""

BLOCK = 20
"""Of a wider range each service (HUTCH_HOME) on a box takes such a network for itself: a /20 has 2046 slots."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How names and addresses of slots come of their numbers."""

    tag: str  # of HUTCH_HOME
    network: IPv4Network  # of this service alone

    @property
    def resolver(self) -> IPv4Address:
        """The first address: where guests' questions are answered."""
        return self.network[1]

    @property
    def size(self) -> int:
        """How many slots there can be; numbers are below it."""
        return self.network.num_addresses // 2 - 2

    @property
    def link_prefix(self) -> str:
        """What the host's ends of our links are called, up to the number: a name has at most 15 characters."""
        return f"{PREFIX}{self.tag.removeprefix('hutch-')[:7]}-"

    @property
    def resolver_link(self) -> str:
        """The link that has the resolver's address, and by it tells that the network is taken."""
        return f"{self.link_prefix}dns"

    def slot(self, number: int) -> Slot:
        """The slot of a number."""
        host_side = self.network[2 + 2 * number]
        return Slot(number, f"{self.tag}-{number}", f"{self.link_prefix}{number}", host_side + 1, host_side)


def blocks(text: str) -> list[IPv4Network]:
    """What services can take of the setting `network.range`. `InvalidRequest` if it makes no sense."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise errors.InvalidRequest(f"HUTCH_NETWORK_RANGE={text}: not an IPv4 network: {error}") from None
    if not 8 <= network.prefixlen <= 28:
        raise errors.InvalidRequest(f"HUTCH_NETWORK_RANGE={text}: a network from /8 to /28 is needed")
    return list(network.subnets(new_prefix=max(network.prefixlen, BLOCK)))


async def run_nft(slot: Slot | None, script: str) -> None:
    """Load a script, whole or not at all, in a slot's namespace or in this host's own. `CommandFailed`."""
    inside = [] if slot is None else ["nsenter", f"--net={slot.path}"]
    await commands.run([*inside, "nft", "-f", "-"], timeout=NFT_TIMEOUT, stdin=script.encode())
