"""Webhooks: events told to a tenant's own HTTP endpoints, signed, tried again with back-off, with a record of each.

Addresses of the host itself and of link-local networks are refused unless the operator allows them; redirects are
not followed. Deliveries survive a restart: they are in the store until delivered or given up.
"""

import builtins
from collections.abc import Sequence

from hutch.control.keys import Principal
from hutch.model.webhooks import Delivery, Webhook


class Webhooks:
    """The webhooks of all tenants."""

    async def create(
        self,
        principal: Principal,
        url: str,
        kinds: Sequence[str] = (),
        secret: str | None = None,
        description: str = "",
    ) -> Webhook:
        """Needs `admin`. `secret` None: made here. Told this once, as an API key is. `InvalidRequest`."""
        raise NotImplementedError

    def list(self, principal: Principal) -> builtins.list[Webhook]:
        """Oldest first. Needs `admin`."""
        raise NotImplementedError

    def get(self, principal: Principal, id: str) -> Webhook:
        """Needs `admin`. `NotFound`."""
        raise NotImplementedError

    async def delete(self, principal: Principal, id: str) -> None:
        """With what is on its way. Needs `admin`."""
        raise NotImplementedError

    async def deliveries(self, principal: Principal, id: str, limit: int = 100) -> builtins.list[Delivery]:
        """Newest first. Needs `admin`."""
        raise NotImplementedError

    async def retry(self, principal: Principal, id: str, delivery: str) -> Delivery:
        """Try one again now. Needs `admin`."""
        raise NotImplementedError
