"""A slot: one machine's network, a namespace with a tap on the guest's side and a veth on this host's. Pure, but for nft.

Every guest has the same addresses (`hutch.host.qemu.guest_network`). By `outside` this host knows it: what is sent there
reaches the guest, and what the guest sends comes from there. Numbers decide names and addresses, so that a slot is
written down as its number.
"""

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from hutch.host import commands
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


@dataclass(frozen=True, slots=True)
class Plan:
    """How names and addresses of slots come of their numbers."""

    tag: str  # of HUTCH_HOME
    network: IPv4Network

    @classmethod
    def of(cls, tag: str, text: str) -> "Plan":
        """Of the setting `network.range`. `InvalidRequest` if it is not an IPv4 network with room for two slots."""
        try:
            network = ipaddress.IPv4Network(text)
        except ValueError as error:
            raise errors.InvalidRequest(f"HUTCH_NETWORK_RANGE={text}: not an IPv4 network: {error}") from None
        if not 8 <= network.prefixlen <= 29:
            raise errors.InvalidRequest(f"HUTCH_NETWORK_RANGE={text}: must be a /8 to /29 network")
        return cls(tag, network)

    @property
    def resolver(self) -> IPv4Address:
        """The first address: where guests' questions are answered."""
        return self.network[1]

    @property
    def size(self) -> int:
        """How many slots there can be; numbers are below it. A link's name holds five digits."""
        return min(self.network.num_addresses // 2 - 2, 100_000)

    @property
    def link_prefix(self) -> str:
        """What the host's ends of our links are called, up to the number: at most 10 of the 15 characters."""
        return f"h{self.tag.removeprefix('hutch-')[:8]}-"

    @property
    def resolver_link(self) -> str:
        """The link that has the resolver's address; not named as the slots' are."""
        return f"hr{self.tag.removeprefix('hutch-')[:10]}"

    def slot(self, number: int) -> Slot:
        """The slot of a number."""
        host_side = self.network[2 + 2 * number]
        return Slot(number, f"{self.tag}-{number}", f"{self.link_prefix}{number}", host_side + 1, host_side)


async def run_nft(slot: Slot | None, script: str) -> None:
    """Load a script, whole or not at all, in a slot's namespace or in this host's own. `HutchError` with nft's words."""
    inside = [] if slot is None else ["nsenter", f"--net={slot.path}"]
    await commands.run([*inside, "nft", "-f", "-"], timeout=NFT_TIMEOUT, stdin=script.encode())
