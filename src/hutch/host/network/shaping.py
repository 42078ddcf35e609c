"""How fast a guest may send: a token bucket on its slot's link, by which all it sends leaves the namespace.

With iproute2's `tc`: uvloop takes no netlink sockets, and pyroute2 enters a namespace by forking the whole service.
"""

from hutch import commands
from hutch.host.network.slot import Slot

_TIMEOUT = 20.0
_QUEUE_SECONDS = 0.2  # as long as a packet may wait before it is dropped
_LEAST_BURST = 16 * 1024  # bytes: some full packets, also at the lowest rates
_LEAST_QUEUE = 32 * 1024


async def limit(slot: Slot, kbit_per_second: int | None) -> None:
    """From now on at most so much, or no limit; whatever there was. `CommandFailed`."""
    words = ["nsenter", f"--net={slot.path}", "tc", "qdisc", "replace", "dev", slot.link, "root"]
    await commands.run(words + discipline(kbit_per_second), timeout=_TIMEOUT)


def discipline(kbit_per_second: int | None) -> list[str]:
    """The words of `tc` for a rate; without one a link has no queue, which is how veth links are born."""
    if kbit_per_second is None:
        return ["noqueue"]
    second = kbit_per_second * 125  # bytes
    burst = max(_LEAST_BURST, second // 100)
    queue = burst + max(_LEAST_QUEUE, int(second * _QUEUE_SECONDS))
    return ["tbf", "rate", f"{kbit_per_second}kbit", "burst", str(burst), "limit", str(queue)]
