"""QEMU's user network: guests' connections are this host's own. For services without root, or without slots.

It enforces no more than all or nothing, and from the start of a process. Ports of guests are reached by way of forwards
on this host's loopback, made when they are asked for: other users of the box can use them too.
"""

import asyncio
import re
from dataclasses import dataclass, field

from hutch.host.network.connection import GUEST
from hutch.host.qemu import argv
from hutch.host.qemu.monitor import Monitor
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy
from hutch.model.network import Endpoint, NetworkFacts, Traffic

LOOPBACK = "127.0.0.1"
SLOTS = "needs network slots, which this host does not have (hutch doctor says why): use open or blocked"


def check(policy: NetworkPolicy) -> None:
    """`Unsupported` for what cannot be enforced."""
    rates = (policy.kbit_per_second, policy.packets_per_second, policy.burst)
    for what, is_asked in (
        ("an allow list", policy.mode is NetworkMode.ALLOW),
        ("a list of denied networks", bool(policy.denied)),
        ("a limit of what a machine sends", any(rate is not None for rate in rates)),
    ):
        if is_asked:
            raise errors.Unsupported(f"{what} {SLOTS}")


@dataclass(eq=False)
class UserConnection:
    """Implements `hutch.host.network.connection.Connection`."""

    is_blocked: bool
    _forwards: dict[int, int] = field(default_factory=dict)  # a port of this host, by the guest's
    _forwarding: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def slot(self) -> None:
        """It has none."""
        return

    @property
    def netdev(self) -> argv.Netdev:
        """See the interface."""
        return argv.UserNetwork(self.is_blocked)

    def handed_over(self) -> None:
        """See the interface."""

    async def enforce(self, policy: NetworkPolicy) -> None:
        """See the interface."""
        check(policy)
        if (policy.mode is NetworkMode.BLOCKED) != self.is_blocked:
            raise errors.Unsupported(f"changing the network of a running machine {SLOTS} from its next start on")

    async def endpoint(self, monitor: Monitor, port: int) -> Endpoint:
        """See the interface."""
        async with self._forwarding:
            if port not in self._forwards:
                found = await _forward(monitor, port)
                if found is None:
                    told = await monitor.human(f"hostfwd_add net0 tcp:{LOOPBACK}:0-{GUEST}:{port}")
                    found = await _forward(monitor, port)
                if found is None:
                    raise errors.MachineFailed(f"port {port} of the guest cannot be forwarded: {told.strip()}")
                self._forwards[port] = found
        return Endpoint(LOOPBACK, self._forwards[port])

    def facts(self) -> NetworkFacts:
        """See the interface."""
        return NetworkFacts(None, None, GUEST, argv.MAC, None)

    async def traffic(self) -> Traffic:
        """See the interface."""
        raise errors.Unsupported("what a machine has sent and received is not counted without network slots")

    def end(self) -> None:
        """See the interface."""


async def _forward(monitor: Monitor, port: int) -> int | None:
    """The port of this host that leads to one of the guest, by QEMU's word."""
    table = await monitor.human("info usernet")
    found = re.search(rf"HOST_FORWARD\]\s+\d+\s+{LOOPBACK}\s+(\d+)\s+{GUEST}\s+{port}\s", table)
    return int(found[1]) if found else None
