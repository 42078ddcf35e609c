"""What of a machine is reached from outside: published ports, who may use them, and the connection itself.

A visitor is let in by any of: a public port; a traffic token of the machine; a signed link to this port that has not
expired; a key of the machine's tenant with `machine:exec`. Traffic is activity: it wakes a suspended or paused machine
(unless `wakes_on_traffic` is off) and starts a stopped one where `starts_on_traffic` says so; many requests at once
wake it once, and the machine does not go idle while a connection is open. What a visitor is told of a machine that
cannot be woken is only that: why is for its owner.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from hutch import settings
from hutch.control import addresses, requests
from hutch.control.accounts import Accounts
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.operation import Amending, Setting
from hutch.control.readiness import Readiness
from hutch.control.records import Entry
from hutch.control.traffic_tokens import TrafficTokens
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.kinds import Kind
from hutch.model.machine import Machine
from hutch.model.network import Endpoint, PublishedPort
from hutch.model.states import State

TOKEN_PARAMETER = "hutch_token"  # noqa: S105  a name, not a token
"""The query parameter in which a link carries its token."""

WAKE_LIMIT = 120.0
"""Seconds a visitor waits until a machine is there; the wake itself goes on."""


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
    cookies: tuple[str, ...] = ()  # tokens that a browser has kept, and sends whoever's page asks
    page: str | None = None  # the host of the page that asks, if it is another than the one that is asked


@dataclass(frozen=True, slots=True)
class Link:
    """A way in for whoever has it."""

    url: str
    token: str
    expires_at: datetime | None


class Mapped(Protocol):
    """Host names of tenants' own."""

    def find(self, host: str) -> Target | None:
        """What this name (lower case, no port) is mapped to."""


class Exposure:
    """Published ports of the machines of all tenants."""

    def __init__(
        self,
        fleet: Fleet,
        accounts: Accounts,
        tokens: TrafficTokens,
        domains: Mapped,
        clock: Clock,
        proxy: settings.Proxy,
    ) -> None:
        self._fleet = fleet
        self._records = fleet.records
        self._accounts = accounts
        self._tokens = tokens
        self._domains = domains
        self._clock = clock
        self._proxy = proxy
        self._readiness = Readiness(fleet.host.networks)

    async def publish(self, principal: Principal, machine: MachineId, ports: Sequence[PublishedPort]) -> Machine:
        """From now on exactly these are published. Needs `machine:exec`. `InvalidRequest` (range, twice, too many)."""
        entry = self._entry(principal, machine)
        requests.check_ports(ports)
        wanted = tuple(ports)
        told = ", ".join(f"{it.port}{' (public)' if it.is_public else ''}" for it in wanted) or "none"
        return await self._fleet.carry_out(entry, Setting(Kind.PUBLISHED, f"published ports: {told}", ports=wanted))

    def url(self, machine: Machine, port: int) -> str:
        """Where the proxy shows a port: scheme://MACHINE-PORT.DOMAIN[:PORT]. Pure; whether it is published or not."""
        return addresses.make_url(self._proxy, machine.id, port)

    def host(self, machine: Machine) -> str:
        """MACHINE.DOMAIN[:PORT], by which the proxy shows the first port that is published. Pure."""
        return addresses.make_host(self._proxy, machine.id)

    def token(self, principal: Principal, machine: MachineId) -> str:
        """The machine's traffic token: for all its published ports, until it is revoked. Needs `machine:exec`.

        Derived from the service's secret, the machine and its token generation: nothing is stored.
        """
        return self._tokens.make(self._entry(principal, machine).machine)

    def sign(self, principal: Principal, machine: MachineId, port: int, seconds: float | None) -> Link:
        """A link to one published port, good for so long (None: until revoked). `NotFound` if it is not published."""
        it = self._entry(principal, machine).machine
        if seconds is not None and not 1 <= seconds <= requests.MAX_SECONDS:
            raise errors.InvalidRequest(
                f"a link is good for 1 to {requests.MAX_SECONDS} s, not {seconds:g} s; or leave it out: until revoked"
            )
        if find_port(it, port) is None:
            raise errors.NotFound(f"port {port} is not published on this machine: publish it first")
        expires_at = None if seconds is None else self._clock.now() + timedelta(seconds=seconds)
        return self._link(it, port, self._tokens.make_link(it, port, expires_at), expires_at)

    def sign_all(self, principal: Principal, machine: MachineId) -> dict[int, Link]:
        """A link to each published port, good until revoked."""
        it = self._entry(principal, machine).machine
        return {port.port: self.sign(principal, machine, port.port, None) for port in it.ports}

    async def revoke(self, principal: Principal, machine: MachineId) -> Machine:
        """All tokens and links of the machine are invalid from now on. Needs `machine:exec`."""
        return await self._raise(
            self._entry(principal, machine), "token_generation", "its tokens and links were revoked"
        )

    async def share(self, principal: Principal, machine: MachineId) -> Link:
        """A link to its first published port, good for all of them until `unshare`; the last one is invalid then.

        Needs `machine:exec`. `Conflict` if no port is published.
        """
        entry = self._entry(principal, machine)
        if not entry.machine.ports:
            raise errors.Conflict("no port of this machine is published: publish one first")
        it = await self._raise(entry, "share_generation", "it is shared by a new link")
        return self._link(it, it.ports[0].port if it.ports else 0, self._tokens.make_share(it), None)

    async def unshare(self, principal: Principal, machine: MachineId) -> Machine:
        """The link of `share` is invalid from now on; other tokens and links are not. Needs `machine:exec`."""
        return await self._raise(self._entry(principal, machine), "share_generation", "it is shared no more")

    async def _raise(self, entry: Entry, generation: str, message: str) -> Machine:
        def change(it: Machine) -> tuple[str, Mapping[str, object]]:
            return message, {generation: getattr(it, generation) + 1}

        return await self._fleet.carry_out(entry, Amending(Kind.REVOKED, change))

    async def accepting(self, machines: Sequence[Machine]) -> set[MachineId]:
        """Those of them that run and whose published ports all accept connections.

        Takes at most about a second for each `readiness.AT_ONCE` ports, and only until they have accepted once.
        """
        known = (self._records.get(it.id) for it in machines)
        return await self._readiness.find([entry for entry in known if entry is not None])

    def _link(self, machine: Machine, port: int, token: str, expires_at: datetime | None) -> Link:
        return Link(f"{self.url(machine, port)}/?{TOKEN_PARAMETER}={token}", token, expires_at)

    def find(self, host: str, path: str) -> tuple[Target, str] | None:
        """Which machine and port the proxy is asked for, and the path there; None if it is none of ours.

        By path `/proxy/MACHINE/PORT/…`, by host `MACHINE-PORT.DOMAIN` or `PORT-MACHINE.DOMAIN` (MACHINE: id, also with
        a dialect's prefix, or a name that only one living machine has and that port of it is published), by host
        `ID.DOMAIN` for the first port that is published, or by a domain that is mapped. A machine's host comes before
        the path: all paths of it are its own.
        """
        name = addresses.bare_host(host)
        meant = addresses.parse_host(name, self._proxy.domain)
        if meant:
            found = {it for it in map(self._resolve, meant) if it is not None}
            return (found.pop(), path) if len(found) == 1 else None
        mapped = self._first(name) or self._domains.find(name)
        if mapped is not None:
            return mapped, path
        named = addresses.parse_path(path)
        target = None if named is None else self._resolve(named[0])
        return None if named is None or target is None else (target, named[1])

    def _first(self, name: str) -> Target | None:
        """The first published port of the machine whose id stands before the proxy's domain."""
        id = addresses.find_id(addresses.find_label(name, self._proxy.domain) or "")
        entry = None if id is None else self._records.get(id)
        return (
            Target(entry.machine.id, entry.machine.ports[0].port) if entry is not None and entry.machine.ports else None
        )

    def _resolve(self, address: addresses.Address) -> Target | None:
        """An id is taken as it is; whoever asks by a name learns nothing of what is not published."""
        id = addresses.find_id(address.machine)
        if id is not None:
            return Target(id, address.port)
        entries = self._records.named_anywhere(address.machine)
        if len(entries) != 1 or find_port(entries[0].machine, address.port) is None:
            return None
        return Target(entries[0].machine.id, address.port)

    @contextlib.asynccontextmanager
    async def visit(self, target: Target, visitor: Visitor) -> AsyncIterator[Endpoint]:
        """Let a visitor in: within, the machine runs and this is where its port is reached.

        `NotFound` for an unknown machine; `NotPublished`; `Unauthenticated` without a way in; `NotRunning` if it is
        stopped and stays so, or cannot be woken now (`Asleep`: traffic does not wake it); `TimedOut`.
        """
        entry = self._admit(target, visitor)
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(WAKE_LIMIT):
                    endpoint = await self._reach(entry, target.port, stack)
                    self._admit(target, visitor)  # what let it in may have been taken back while the machine woke
            except TimeoutError:
                raise errors.TimedOut(f"machine {target.machine} was not woken within {WAKE_LIMIT:g} s") from None
            yield endpoint

    def _admit(self, target: Target, visitor: Visitor) -> Entry:
        """The machine, if this visitor may go to this port of it."""
        entry = self._records.get(target.machine)
        if entry is None:
            raise errors.NotFound("machine not found")
        machine = entry.machine
        port = find_port(machine, target.port)
        if port is None:
            raise errors.NotPublished(f"port {target.port} is not published on this machine")
        if not port.is_public and not self._has_a_way_in(machine, port, visitor):
            raise errors.Unauthenticated(f"port {target.port} is private: a traffic token or an API key is missing")
        account = self._accounts.get(machine.tenant)
        if account is None or account.tenant.is_suspended:
            raise errors.NotRunning(f"machine {machine.id} is not to be used now")
        return entry

    def _has_a_way_in(self, machine: Machine, port: PublishedPort, visitor: Visitor) -> bool:
        tokens = [*filter(None, (visitor.token,)), *(visitor.cookies if self._is_own_page(machine, visitor) else ())]
        if any(self._tokens.is_good(token, machine, port.port, self._clock.now()) for token in tokens):
            return True
        if visitor.principal is None or visitor.principal.tenant != machine.tenant:
            return False
        visitor.principal.require("machine:exec")
        return True

    def _is_own_page(self, machine: Machine, visitor: Visitor) -> bool:
        """Machines of all tenants are one site to a browser, which sends the cookie with what another's page asks."""
        if visitor.page is None:
            return True
        found = self.find(visitor.page, "/")
        entry = None if found is None else self._records.get(found[0].machine)
        return entry is not None and entry.machine.tenant == machine.tenant

    async def _reach(self, entry: Entry, port: int, stack: contextlib.AsyncExitStack) -> Endpoint:
        """Have it awake until the stack is left; one that is frozen meanwhile is woken again."""
        while True:
            before = entry.interruptions
            await stack.enter_async_context(self._awake(entry))
            try:
                return await self._fleet.host.networks.endpoint(entry.machine.id, port)
            except errors.NotRunning:
                if not entry.was_interrupted(before):
                    raise

    @contextlib.asynccontextmanager
    async def _awake(self, entry: Entry) -> AsyncIterator[None]:
        machine = entry.machine
        if machine.state is not State.RUNNING and entry.keeps_processes and not machine.wakes_on_traffic:
            raise errors.Asleep(f"machine {machine.id} is {machine.state}, and traffic does not wake it")
        is_started = machine.state is State.STOPPED and machine.starts_on_traffic
        use = self._fleet.awake(entry) if is_started else self._fleet.used(entry)
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(use)
            except (errors.NotFound, errors.NotRunning):
                raise
            except errors.HutchError as error:
                raise errors.NotRunning(f"machine {machine.id} cannot be woken now: its events tell why") from error
            yield

    def _entry(self, principal: Principal, machine: MachineId) -> Entry:
        return self._fleet.entry(principal, machine, "machine:exec")


def find_port(machine: Machine, port: int) -> PublishedPort | None:
    """How a port of it is published, if it is."""
    return next((it for it in machine.ports if it.port == port), None)
