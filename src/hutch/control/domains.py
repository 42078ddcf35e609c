"""Domains: names of tenants' own that lead to ports of machines.

Any tenant may claim a name; it is that tenant's who proves to own it, by a TXT record or a file that holds the claim's
token, and for as long as the claim stands. A claim goes with its machine, so that nobody else is ever reached by it:
to keep the name, lead it to another machine first. Traffic passes where the port is published (`exposure.py`).
"""

import asyncio
import builtins
import contextlib
import dataclasses
import secrets
from collections import Counter
from collections.abc import Iterator

import idna

from hutch import settings
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.exposure import Exposure, Target, find_port
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.model import errors
from hutch.model.domains import Domain
from hutch.model.ids import MachineId, TenantId
from hutch.model.kinds import Kind
from hutch.model.machine import Event
from hutch.notify.interface import NotSent, Proofs
from hutch.store.interface import Recorded, Store

MOST = 100
"""Domains of one tenant, claims among them."""

NAME_LENGTH = 253

VERIFYING_AT_ONCE = 4
"""Domains of one tenant whose proofs are looked for at the same time."""

PROOF_LIMIT = 15.0
"""Seconds that each way of proving may take."""


class Domains:
    """The domains of all tenants."""

    def __init__(
        self, fleet: Fleet, store: Store, proofs: Proofs, background: Background, clock: Clock, proxy: settings.Proxy
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._proofs = proofs
        self._background = background
        self._clock = clock
        self._proxy = proxy
        self._domains: dict[tuple[TenantId, str], Domain] = {}  # oldest first
        self._verified: dict[str, Domain] = {}
        self._changing = asyncio.Lock()
        self._verifying: Counter[TenantId] = Counter()

    async def load(self, recorded: Recorded) -> None:
        """Take up what the store has; of machines that live."""
        living = {machine.id for machine in recorded.machines}
        for domain in recorded.domains:
            if domain.machine in living:
                self._keep(domain)

    async def serve(self) -> None:
        """Nothing is to be done between requests."""

    async def close(self) -> None:
        """All is in the store."""

    def note(self, _: TenantId, event: Event) -> None:
        """A machine that goes takes its domains with it, here as in the store."""
        if event.kind == Kind.DESTROYED:
            for domain in [it for it in self._domains.values() if it.machine == event.machine]:
                self._drop(domain)
                self._background.go_on("forgetting a domain", self._forget(domain))

    async def _forget(self, domain: Domain) -> None:
        """One may have come into the store while its machine went from there."""
        async with self._changing:
            if (domain.tenant, domain.name) not in self._domains:
                await self._store.remove_domain(domain)

    def find(self, host: str) -> Target | None:
        """Where a name (ASCII, lower case, no port) leads; None if nobody has verified it."""
        domain = self._verified.get(host)
        return None if domain is None else Target(domain.machine, domain.port)

    async def add(self, principal: Principal, name: str, machine: MachineId, port: int) -> Domain:
        """Claim a name, or lead one that is the tenant's already elsewhere. Needs `machine:exec`.

        `InvalidRequest` for what is no name of the world's DNS, or is this service's own; `NotFound` (machine);
        `Conflict` if it is another tenant's, or there are too many.
        """
        entry = self._fleet.entry(principal, machine, "machine:exec")
        name = check_name(name, self._proxy.domain)
        if not 1 <= port <= 65535:
            raise errors.InvalidRequest(f"port is {port}: 1 to 65535")
        return await self._background.finish(self._add(principal.tenant, name, entry.machine.id, port))

    async def _add(self, tenant: TenantId, name: str, machine: MachineId, port: int) -> Domain:
        async with self._changing:
            self._check_free(tenant, name)
            known = self._domains.get((tenant, name))
            if known is not None:
                domain = dataclasses.replace(known, machine=machine, port=port)
                await self._store.save_domain(domain)
            else:
                if len(self._of(tenant)) >= MOST:
                    raise errors.Conflict(f"there are {MOST} domains already: remove one first")
                domain = Domain(name, tenant, machine, port, secrets.token_hex(16), self._clock.now())
                await self._store.add_domain(domain)
            if self._fleet.records.get(machine) is None:  # destroyed meanwhile
                await self._store.remove_domain(domain)
                self._drop(domain)
                raise errors.NotFound("machine not found")
            self._keep(domain)
        await self._tell(domain, "is claimed" if domain.verified_at is None else "leads here")
        return domain

    async def verify(self, principal: Principal, name: str) -> Domain:
        """Read the proof, and have the name lead where it should if it is there. Needs `machine:exec`.

        A verified one is left alone. `NotFound`; `Conflict`, with what was found instead, or if it is another tenant's;
        `RateLimited` while too many are looked for.
        """
        domain = self._get(principal, name, "machine:exec")
        if domain.verified_at is not None:
            return domain
        self._check_free(domain.tenant, domain.name)
        with self._turn(domain.tenant):
            await self._prove(domain)
        return await self._background.finish(self._set_verified(domain))

    @contextlib.contextmanager
    def _turn(self, tenant: TenantId) -> Iterator[None]:
        if self._verifying[tenant] >= VERIFYING_AT_ONCE:
            raise errors.RateLimited(f"{VERIFYING_AT_ONCE} domains are being verified: wait for one of them")
        self._verifying[tenant] += 1
        try:
            yield
        finally:
            self._verifying[tenant] -= 1

    async def _set_verified(self, proven: Domain) -> Domain:
        async with self._changing:
            self._check_free(proven.tenant, proven.name)
            known = self._domains.get((proven.tenant, proven.name))
            if known is None or known.token != proven.token:
                raise errors.NotFound("domain not found")  # removed meanwhile
            domain = dataclasses.replace(known, verified_at=self._clock.now())
            await self._store.save_domain(domain)
            self._keep(domain)
        await self._tell(domain, "is verified and leads here")
        return domain

    async def _prove(self, domain: Domain) -> None:
        """Return if either proof is there; else `Conflict` tells both findings."""
        findings = []
        for prove in (self._prove_by_record, self._prove_by_file):
            try:
                async with asyncio.timeout(PROOF_LIMIT):
                    finding = await prove(domain)
            except NotSent as error:
                finding = error.message
            except TimeoutError:
                finding = f"no answer within {PROOF_LIMIT:g} s"
            if finding is None:
                return
            findings.append(finding)
        raise errors.Conflict(
            f"{domain.name} is not verified: neither has {domain.record} the TXT record {domain.proof} "
            f"({findings[0]}), nor has {domain.url} that as its content ({findings[1]})"
        )

    async def _prove_by_record(self, domain: Domain) -> str | None:
        texts = await self._proofs.texts(domain.record)
        if domain.proof in (text.strip() for text in texts):
            return None
        return "it has others" if texts else "it has none"

    async def _prove_by_file(self, domain: Domain) -> str | None:
        return None if (await self._proofs.page(domain.url)).strip() == domain.proof else "it has another"

    def get(self, principal: Principal, name: str) -> Domain:
        """One. Needs `machine:read`. `NotFound`."""
        return self._get(principal, name, "machine:read")

    def list(self, principal: Principal) -> builtins.list[Domain]:
        """Oldest first. Needs `machine:read`."""
        principal.require("machine:read")
        return self._of(principal.tenant)

    async def remove(self, principal: Principal, name: str) -> None:
        """It leads nowhere from now on, and whoever owns the name can claim it. Needs `machine:exec`. `NotFound`."""
        await self._background.finish(self._remove(self._get(principal, name, "machine:exec")))

    async def _remove(self, domain: Domain) -> None:
        async with self._changing:
            await self._store.remove_domain(domain)
            self._drop(domain)
        await self._tell(domain, "was given up")

    async def _tell(self, domain: Domain, what: str) -> None:
        """An event of its machine."""
        entry = self._fleet.records.get(domain.machine)
        if entry is not None:
            await self._fleet.records.note(entry, f"domain {domain.name}, port {domain.port}: {what}")

    def _of(self, tenant: TenantId) -> builtins.list[Domain]:
        return [domain for domain in self._domains.values() if domain.tenant == tenant]

    def _get(self, principal: Principal, name: str, scope: str) -> Domain:
        principal.require(scope)
        domain = self._domains.get((principal.tenant, _normalise(name)))
        if domain is None:
            raise errors.NotFound("domain not found")
        return domain

    def _check_free(self, tenant: TenantId, name: str) -> None:
        verified = self._verified.get(name)
        if verified is not None and verified.tenant != tenant:
            raise errors.Conflict(f"domain {name} is another tenant's, who has verified it")

    def _keep(self, domain: Domain) -> None:
        self._domains[domain.tenant, domain.name] = domain
        if domain.verified_at is not None:
            self._verified[domain.name] = domain

    def _drop(self, domain: Domain) -> None:
        self._domains.pop((domain.tenant, domain.name), None)
        verified = self._verified.get(domain.name)
        if verified is not None and verified.tenant == domain.tenant:
            del self._verified[domain.name]


class Certificates:
    """Which names a TLS front may have certificates made for."""

    def __init__(self, exposure: Exposure, domains: Domains, fleet: Fleet) -> None:
        self._exposure = exposure
        self._domains = domains
        self._records = fleet.records

    def is_wanted(self, name: str) -> bool:
        """Whether it is a verified domain, or the proxy's name of a published port. Looks up, and never waits."""
        if self._domains.find(name.lower()) is not None:
            return True
        found = self._exposure.find(name, "/")
        entry = None if found is None else self._records.get(found[0].machine)
        return found is not None and entry is not None and find_port(entry.machine, found[0].port) is not None


def check_name(text: str, proxy_domain: str) -> str:
    """A name as the DNS has it: ASCII, lower case, without a dot at its end. `InvalidRequest`."""
    name = _normalise(text)
    last = name.rpartition(".")[2]
    if "." not in name or len(name) > NAME_LENGTH or last.isdecimal() or last.startswith("0x"):
        raise errors.InvalidRequest(f"domain {text[:80]!a}: use a name with two or more labels, as shop.example")
    for own in (proxy_domain.lower(), "localhost"):
        if name == own or name.endswith(f".{own}"):
            raise errors.InvalidRequest(f"domain {name}: names below {own} are this service's own")
    return name


def _normalise(text: str) -> str:
    """Empty for what cannot be a host's name."""
    if len(text) > NAME_LENGTH + 1:
        return ""
    try:
        return idna.encode(text.removesuffix("."), uts46=True, strict=True).decode().lower()
    except (UnicodeError, idna.IDNAError):
        return ""
