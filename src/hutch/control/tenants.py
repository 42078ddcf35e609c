"""Tenants, for the admin of the box: the admin keys of the tenant `default` may do this, and nobody else.

A suspended tenant's keys may look and delete; anything else is `Suspended`. Its running machines are suspended.
"""

import builtins

from hutch.control.keys import Principal
from hutch.model.ids import TenantId
from hutch.model.keys import Limits, Tenant


class Tenants:
    """All tenants."""

    async def create(self, principal: Principal, name: str, limits: Limits | None = None) -> Tenant:
        """`Conflict` for a name that is taken."""
        raise NotImplementedError

    def list(self, principal: Principal) -> builtins.list[Tenant]:
        """Oldest first."""
        raise NotImplementedError

    def get(self, principal: Principal, id: TenantId) -> Tenant:
        """`NotFound`. A tenant's own key may look at its own tenant."""
        raise NotImplementedError

    async def update(self, principal: Principal, id: TenantId, limits: Limits) -> Tenant:
        """Replace its limits; what it has already stays."""
        raise NotImplementedError

    async def suspend(self, principal: Principal, id: TenantId) -> Tenant:
        """At once; nothing if it is suspended. The default tenant cannot be."""
        raise NotImplementedError

    async def reactivate(self, principal: Principal, id: TenantId) -> Tenant:
        """At once; its machines stay as they are."""
        raise NotImplementedError
