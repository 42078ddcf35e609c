"""Traffic tokens: what lets a visitor to the ports of one machine, or by a signed link to one port of it for a while.

A token is an HMAC-SHA256 over what it is good for, with a secret that this installation makes once: nothing is stored,
and raising the machine's generation makes all of them invalid. A link's token carries its port and its expiry.
"""

import base64
import hashlib
import hmac
import math
import re
from datetime import datetime

from hutch.model.machine import Machine
from hutch.model.network import Grant

PREFIX = "htt_"
LINK_PREFIX = "htl_"
GRANT_PREFIX = "htg_"
SHARE_PREFIX = "hts_"
_LINK = re.compile(r"htl_([0-9]{1,5})_([0-9]{1,12})_[A-Za-z0-9_-]{43}")


class TrafficTokens:
    """Makes and checks them."""

    def __init__(self) -> None:
        self._secret = b""

    def load(self, secret: str) -> None:
        """Take up the service's secret."""
        self._secret = secret.encode()

    def make(self, machine: Machine) -> str:
        """For all published ports of this machine, until revoked."""
        return PREFIX + self._sum("machine", machine)

    def make_link(self, machine: Machine, port: int, expires_at: datetime | None) -> str:
        """For one port, until then or until revoked; whole seconds, rounded up."""
        until = 0 if expires_at is None else math.ceil(expires_at.timestamp())
        return f"{LINK_PREFIX}{port}_{until}_{self._sum('link', machine, port, until)}"

    def make_share(self, machine: Machine) -> str:
        """For all published ports of a machine that is shared, until it is shared anew or no more."""
        return SHARE_PREFIX + self._sum("share", machine, machine.share_generation)

    def make_grant(self, machine: Machine, grant: Grant) -> str:
        """For one port, until the grant is revoked or over."""
        return f"{GRANT_PREFIX}{grant.id}_{self._sum(f'grant {grant.id}', machine)}"

    def is_good(self, token: str, machine: Machine, port: int, now: datetime) -> bool:
        """Whether it lets to this port now."""
        if any([_is_same(token, self.make(machine)), _is_same(token, self.make_share(machine))]):
            return True
        grants = [it for it in machine.grants if it.port == port and it.is_good(now, machine.token_generation)]
        if any(_is_same(token, self.make_grant(machine, it)) for it in grants):
            return True
        return self._is_good_link(token, machine, port, now)

    def _is_good_link(self, token: str, machine: Machine, port: int, now: datetime) -> bool:
        parts = _LINK.fullmatch(token)
        if parts is None:
            return False
        until = int(parts[2])
        expected = f"{LINK_PREFIX}{port}_{until}_{self._sum('link', machine, port, until)}"
        return _is_same(token, expected) and (until == 0 or now.timestamp() < until)

    def _sum(self, what: str, machine: Machine, *more: int) -> str:
        assert self._secret, "the plane is not open"
        text = " ".join(map(str, (what, machine.id, machine.token_generation, *more)))
        digest = hmac.digest(self._secret, text.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _is_same(token: str, expected: str) -> bool:
    return hmac.compare_digest(token.encode(errors="replace"), expected.encode())
