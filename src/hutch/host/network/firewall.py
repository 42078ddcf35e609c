"""Keeps machines away from this host itself, by the user ids their processes run under.

QEMU's user network carries a guest's connections as connections of the QEMU process, and gives the guest an address
that stands for the host's loopback. So packets that those user ids send to any address of this host, or to link-local
ones (cloud metadata), are rejected, but for answers: ports of guests are reached by way of forwards. The host's
resolver may be asked. Where every machine has a slot their processes have nothing to send at all, and may not.
"""

import structlog

from hutch import commands
from hutch.model import errors

log = structlog.get_logger(__name__)

_TIMEOUT = 20.0

# A packet without a living socket (a retransmitted FIN, say) has no user id, and a rule that asks for one never
# matches it: so the machines' packets must be picked out, never everybody else's let through.
_RULES = """\
table inet {name}
delete table inet {name}
table inet {name} {{
  chain output {{
    type filter hook output priority filter; policy accept;
    ct direction reply accept
    meta skuid {first}-{last} jump machine
  }}
  chain machine {{
    {all}
    fib daddr type local meta l4proto {{ tcp, udp }} th dport 53 accept
    fib daddr type local reject
    ip daddr 169.254.0.0/16 reject
    ip6 daddr fe80::/10 reject
  }}
}}
"""


def rules(name: str, first: int, last: int, is_silent: bool) -> str:
    """The table for user ids `first` to `last`; loading it replaces a former one in one step.

    `is_silent`: no process of theirs has anything to send, since every machine has a slot.
    """
    return _RULES.format(name=name, first=first, last=last, all="reject" if is_silent else "")


async def protect(name: str, first: int, last: int, is_silent: bool) -> bool:
    """Load the rules. False, with a warning in the log, where nftables does not work."""
    try:
        text = rules(name, first, last, is_silent)
        await commands.run(["nft", "-f", "-"], timeout=_TIMEOUT, stdin=text.encode())
    except errors.HutchError as error:
        log.warning("machines can reach this host's own addresses: nftables does not work", error=error.message)
        return False
    return True


async def is_loaded(name: str) -> bool:
    """Whether the rules are there yet."""
    words = ["nft", "list", "table", "inet", name]
    return (await commands.run(words, timeout=_TIMEOUT, check=False)).code == 0


async def release(name: str) -> None:
    """Remove the rules; no error if there are none."""
    await commands.run(["nft", "delete", "table", "inet", name], timeout=_TIMEOUT, check=False)
