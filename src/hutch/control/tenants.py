"""Tenants, for the admin of the box: the admin keys of the tenant `default` may do this, and nobody else.

A suspended tenant's keys may look and delete; anything else is `Suspended`. Its running machines are suspended, in the
background; ephemeral ones, which a suspension would destroy, are paused.
"""

import builtins
import dataclasses

from hutch.control import requests
from hutch.control.accounts import DEFAULT_TENANT, Account, Accounts
from hutch.control.keys import Principal
from hutch.control.sanctions import Sanctions
from hutch.model import errors, keys
from hutch.model.ids import TenantId
from hutch.model.keys import Limits, Tenant


class Tenants:
    """All tenants."""

    def __init__(self, accounts: Accounts, sanctions: Sanctions) -> None:
        self._accounts = accounts
        self._sanctions = sanctions

    async def create(self, principal: Principal, name: str, limits: Limits | None = None) -> Tenant:
        """`Conflict` for a name that is taken. Its first key is made by `Keys.create`, which names the tenant."""
        self._check_admin(principal)
        requests.check_name(name)
        check(limits or Limits())
        return await self._accounts.add(name, limits or Limits())

    def list(self, principal: Principal) -> builtins.list[Tenant]:
        """Oldest first."""
        self._check_admin(principal)
        return [account.tenant for account in self._accounts.all()]

    def get(self, principal: Principal, id: TenantId) -> Tenant:
        """`NotFound`. A tenant's own key may look at its own tenant."""
        return self._find(self._accounts.visible(principal.tenant, id)).tenant

    async def update(self, principal: Principal, id: TenantId, limits: Limits) -> Tenant:
        """Replace its limits; what it has already stays."""
        self._check_admin(principal)
        check(limits)
        return await self._accounts.save(self._find(id), limits=limits)

    async def suspend(self, principal: Principal, id: TenantId) -> Tenant:
        """At once; nothing if it is suspended. `Conflict` for the default tenant, which cannot be."""
        self._check_admin(principal)
        account = self._find(id)
        if id == self._accounts.default:
            raise errors.Conflict(f"the tenant {DEFAULT_TENANT} cannot be suspended: its admins are those of the box")
        tenant = await self._accounts.save(account, is_suspended=True)
        self._sanctions.enforce()
        return tenant

    async def reactivate(self, principal: Principal, id: TenantId) -> Tenant:
        """At once; its machines stay as they are."""
        self._check_admin(principal)
        return await self._accounts.save(self._find(id), is_suspended=False)

    def _check_admin(self, principal: Principal) -> None:
        principal.require(keys.ADMIN)
        if principal.tenant != self._accounts.default:
            raise errors.Forbidden(f"only an admin key of the tenant {DEFAULT_TENANT} may do this")

    def _find(self, id: TenantId) -> Account:
        account = self._accounts.get(id)
        if account is None:
            raise errors.NotFound("tenant not found")
        return account


def check(limits: Limits) -> None:
    """`InvalidRequest`, naming the limit, for one that cannot be."""
    for field in dataclasses.fields(limits):
        value = getattr(limits, field.name)
        if value is not None and value < 0:
            raise errors.InvalidRequest(f"{field.name} is {value}: 0 or more, or leave it out for no limit")
