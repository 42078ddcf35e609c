"""The records of all tenants, in memory, written through to the store: who is suspended, and what each may have.

All who act for a tenant hold the same `Account`, so a change of it holds at once, for calls that are under way too.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator

from hutch.control.clock import Clock
from hutch.model import errors, ids
from hutch.model.ids import TenantId
from hutch.model.keys import Limits, Tenant
from hutch.store.interface import Store

DEFAULT_TENANT = "default"


class Account:
    """One tenant, as it is now."""

    __slots__ = ("tenant",)

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def __repr__(self) -> str:
        return f"<Account {self.tenant.name}{' (suspended)' if self.tenant.is_suspended else ''}>"


class Accounts:
    """The tenants of this installation, oldest first."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._accounts: dict[TenantId, Account] = {}
        self._default: TenantId | None = None
        self._claimed: set[str] = set()

    async def load(self, tenants: Iterable[Tenant]) -> None:
        """Take up what the store has; the default tenant is made if it is not there."""
        self._accounts = {tenant.id: Account(tenant) for tenant in tenants}
        known = [account.tenant.id for account in self.all() if account.tenant.name == DEFAULT_TENANT]
        self._default = known[0] if known else (await self.add(DEFAULT_TENANT, Limits())).id

    @property
    def default(self) -> TenantId:
        """The tenant whose admins are those of the box."""
        assert self._default is not None, "the plane is not open"
        return self._default

    def get(self, tenant: TenantId) -> Account | None:
        """By id."""
        return self._accounts.get(tenant)

    def all(self) -> list[Account]:
        """Every tenant's."""
        return list(self._accounts.values())

    def visible(self, own: TenantId, asked: TenantId | None) -> TenantId:
        """The tenant that somebody of `own` asks about; None: their own. `NotFound` for another, but to the default."""
        if asked is None or asked == own:
            return own
        if own != self._default or asked not in self._accounts:
            raise errors.NotFound("tenant not found")
        return asked

    def limits(self, tenant: TenantId) -> Limits:
        """What it may have."""
        account = self._accounts.get(tenant)
        return Limits() if account is None else account.tenant.limits

    async def add(self, name: str, limits: Limits) -> Tenant:
        """`Conflict` for a name that is taken."""
        with self._claim(name):
            tenant = Tenant(TenantId(ids.random_id()), name, self._clock.now(), limits=limits)
            await self._store.add_tenant(tenant)
        self._accounts[tenant.id] = Account(tenant)
        return tenant

    @contextlib.contextmanager
    def _claim(self, name: str) -> Iterator[None]:
        if name in self._claimed or any(account.tenant.name == name for account in self.all()):
            raise errors.Conflict(f"there is already a tenant named {name}: choose another name")
        self._claimed.add(name)
        try:
            yield
        finally:
            self._claimed.discard(name)

    async def save(self, account: Account, is_suspended: bool | None = None, limits: Limits | None = None) -> Tenant:
        """Change it, in the store and then for all who act for it; None: as it is."""
        changed = dataclasses.replace(
            account.tenant,
            is_suspended=account.tenant.is_suspended if is_suspended is None else is_suspended,
            limits=account.tenant.limits if limits is None else limits,
        )
        await self._store.save_tenant(changed)
        account.tenant = changed
        return changed
