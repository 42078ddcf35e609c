"""What of a machine is reached from outside: published ports, who may use them, and the connection itself.

A visitor is let in by any of: a public port; a traffic token of the machine; a signed link to this port that has not
expired; a key of the machine's tenant with `machine:exec`. Traffic is activity: it wakes a suspended or paused machine
(a stopped one where `wakes_stopped` says so), many requests at once wake it once, and the machine does not go idle
while a connection is open.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from hutch.control.keys import Principal
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Machine
from hutch.model.network import Endpoint, PublishedPort


@dataclass(frozen=True, slots=True)
class Target:
    """Which port of which machine a request is for."""

    machine: MachineId
    port: int


@dataclass(frozen=True, slots=True)
class Visitor:
    """What a request brings along to be let in."""

    token: str | None = None  # a traffic token, or the token of a signed link
    principal: Principal | None = None  # of the API key it carries, if any


@dataclass(frozen=True, slots=True)
class Link:
    """A way in for whoever has it."""

    url: str
    token: str
    expires_at: datetime | None


class Exposure:
    """Published ports of the machines of all tenants."""

    async def publish(self, principal: Principal, machine: MachineId, ports: Sequence[PublishedPort]) -> Machine:
        """From now on exactly these are published. Needs `machine:exec`. `InvalidRequest` (range, twice, too many)."""
        raise errors.Unsupported("ports cannot be published yet")

    def url(self, machine: Machine, port: int) -> str:
        """Where the proxy shows a port: scheme://MACHINE-PORT.DOMAIN[:PORT]. Pure; whether it is published or not."""
        raise errors.Unsupported("ports cannot be published yet")

    def token(self, principal: Principal, machine: MachineId) -> str:
        """The machine's traffic token: for all its published ports, until it is revoked. Needs `machine:exec`.

        Derived from the service's secret, the machine and its token generation: nothing is stored.
        """
        raise errors.Unsupported("ports cannot be published yet")

    def sign(self, principal: Principal, machine: MachineId, port: int, seconds: float | None) -> Link:
        """A link to one published port, good for so long (None: until revoked). `NotFound` if it is not published."""
        raise errors.Unsupported("ports cannot be published yet")

    async def revoke(self, principal: Principal, machine: MachineId) -> Machine:
        """All tokens and links of the machine are invalid from now on. Needs `machine:exec`."""
        raise errors.Unsupported("ports cannot be published yet")

    def find(self, host: str, path: str) -> tuple[Target, str] | None:
        """Which machine and port the proxy is asked for, and the path there; None if it is none of ours.

        By path `/proxy/MACHINE/PORT/…`, by host `MACHINE-PORT.DOMAIN` or `PORT-MACHINE.DOMAIN` (MACHINE: id, also with
        a dialect's prefix, or a name that only one living machine has), or by a domain that is mapped.
        """
        raise errors.Unsupported("ports cannot be published yet")

    @contextlib.asynccontextmanager
    async def visit(self, target: Target, visitor: Visitor) -> AsyncIterator[Endpoint]:
        """Let a visitor in: within, the machine runs and this is where its port is reached.

        `NotFound` for an unknown machine; `NotPublished`; `Unauthenticated` without a way in; `NotRunning` if it is
        stopped and stays so, or cannot be woken now; `TimedOut`.
        """
        raise errors.Unsupported("ports cannot be published yet")
        yield
