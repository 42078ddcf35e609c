"""Webhooks: events told to a tenant's own HTTP endpoints, signed, tried again with back-off, with a record of each.

Addresses of the host itself and of link-local networks are refused unless the operator allows them; redirects are
not followed. Deliveries survive a restart: they are in the store until delivered or given up (`deliveries.py`).
"""

import asyncio
import builtins
import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from hutch.control.clock import Clock
from hutch.control.deliveries import Deliveries
from hutch.control.keys import Principal
from hutch.model import errors, ids, keys
from hutch.model import kinds as kinds_table
from hutch.model.ids import TenantId
from hutch.model.machine import Event
from hutch.model.webhooks import Delivery, Webhook
from hutch.notify.interface import Sender
from hutch.store.interface import Recorded, Store

MOST = 64
"""Webhooks of one tenant."""

URL_LENGTH = 2048
SECRET_LENGTH = 256
DESCRIPTION_LENGTH = 1024
MOST_DELIVERIES = 1000
"""Told at once."""


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """What is to be changed of one; None stays as it is."""

    url: str | None = None
    kinds: Sequence[str] | None = None  # empty: all
    secret: str | None = field(default=None, repr=False)
    description: str | None = None
    is_enabled: bool | None = None


class Webhooks:
    """The webhooks of all tenants."""

    def __init__(self, store: Store, sender: Sender, clock: Clock, attempts: int) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._webhooks: dict[str, Webhook] = {}  # oldest first
        self._deliveries = Deliveries(store, sender, clock, attempts, self._webhooks)
        self._changing = asyncio.Lock()

    async def load(self, recorded: Recorded) -> None:
        """Take up what the store has."""
        self._webhooks.update((webhook.id, webhook) for webhook in recorded.webhooks)
        self._deliveries.load(await self._store.waiting_deliveries())

    async def serve(self) -> None:
        """Deliver, for ever."""
        await self._deliveries.run()

    async def close(self) -> None:
        """What is on its way is left to the next service."""
        await self._deliveries.close()

    def note(self, tenant: TenantId, event: Event) -> None:
        """It has happened to a machine of this tenant."""
        for webhook in self._webhooks.values():
            if webhook.tenant == tenant and webhook.is_enabled and kinds_table.matches(event.kind, webhook.kinds):
                self._deliveries.add(webhook, event)

    async def create(
        self,
        principal: Principal,
        url: str,
        kinds: Sequence[str] = (),
        secret: str | None = None,
        description: str = "",
        is_enabled: bool = True,
    ) -> Webhook:
        """Needs `admin`. `secret` None: made here. Told this once, as an API key is. `InvalidRequest`.

        `kinds` of events, `machine.*` allowed; none: all. `is_enabled` False: it is told nothing yet. `Conflict` for
        more webhooks than a tenant may have.
        """
        principal.require(keys.ADMIN)
        wanted = kinds_table.check_kinds(kinds)
        await self._check(url, secret, description)
        webhook = Webhook(
            ids.random_id(),
            principal.tenant,
            url,
            f"whsec_{secrets.token_urlsafe(32)}" if secret is None else secret,
            wanted,
            self._clock.now(),
            is_enabled,
            description,
        )
        async with self._changing:
            if len(self._of(principal.tenant)) >= MOST:
                raise errors.Conflict(f"there are {MOST} webhooks already: delete one first")
            await self._store.add_webhook(webhook)
            self._webhooks[webhook.id] = webhook
        return webhook

    async def update(self, principal: Principal, id: str, change: WebhookChange) -> Webhook:
        """What is on its way is told as the webhook is then. Needs `admin`. `NotFound`, `InvalidRequest`.

        While it is off nothing that happens is told to it, now or later, and what waits for it goes on waiting.
        Without its secret.
        """
        self._get(principal, id)
        wanted = None if change.kinds is None else kinds_table.check_kinds(change.kinds)
        await self._check(change.url, change.secret, change.description)
        async with self._changing:
            webhook = self._get(principal, id)
            given = {**dataclasses.asdict(change), "kinds": wanted, "updated_at": self._clock.now()}
            changed = dataclasses.replace(webhook, **{name: it for name, it in given.items() if it is not None})
            await self._store.save_webhook(changed)
            self._webhooks[id] = changed
        self._deliveries.look()
        return _without_secret(changed)

    def list(self, principal: Principal) -> builtins.list[Webhook]:
        """Oldest first; their secrets are not told again. Needs `admin`."""
        principal.require(keys.ADMIN)
        return [_without_secret(webhook) for webhook in self._of(principal.tenant)]

    def get(self, principal: Principal, id: str) -> Webhook:
        """Without its secret. Needs `admin`. `NotFound`."""
        return _without_secret(self._get(principal, id))

    async def delete(self, principal: Principal, id: str) -> None:
        """With what is on its way, and the record of what was. Needs `admin`. `NotFound`."""
        async with self._changing:
            webhook = self._get(principal, id)
            await self._store.remove_webhook(webhook.id)
            self._webhooks.pop(webhook.id, None)
        await self._deliveries.drop(webhook.id)

    async def deliveries(self, principal: Principal, id: str, limit: int = 100) -> builtins.list[Delivery]:
        """Newest first. Needs `admin`. `NotFound`."""
        if limit < 1:
            raise errors.InvalidRequest("limit is 1 or more")
        webhook = self._get(principal, id)
        return builtins.list(await self._store.list_deliveries(webhook.id, min(limit, MOST_DELIVERIES)))

    async def retry(self, principal: Principal, id: str, delivery: str) -> Delivery:
        """Try one again now, whatever became of it; returns what becomes of this attempt. Needs `admin`.

        `NotFound`; `Conflict` while it is being tried.
        """
        webhook = self._get(principal, id)
        await self._find(webhook, delivery)
        await self._deliveries.try_now(webhook, delivery)
        return await self._find(webhook, delivery)

    async def _find(self, webhook: Webhook, delivery: str) -> Delivery:
        found = await self._store.get_delivery(delivery)
        if found is None or found.webhook != webhook.id:
            raise errors.NotFound("delivery not found")
        return found

    async def _check(self, url: str | None, secret: str | None, description: str | None) -> None:
        if url is not None and len(url) > URL_LENGTH:
            raise errors.InvalidRequest(f"url: at most {URL_LENGTH} characters")
        if secret is not None and not 1 <= len(secret) <= SECRET_LENGTH:
            raise errors.InvalidRequest(f"secret: 1 to {SECRET_LENGTH} characters, or none at all")
        if description is not None and len(description) > DESCRIPTION_LENGTH:
            raise errors.InvalidRequest(f"the description is longer than {DESCRIPTION_LENGTH} characters")
        if url is not None:
            await self._sender.check(url)

    def _of(self, tenant: TenantId) -> builtins.list[Webhook]:
        return [webhook for webhook in self._webhooks.values() if webhook.tenant == tenant]

    def _get(self, principal: Principal, id: str) -> Webhook:
        principal.require(keys.ADMIN)
        webhook = self._webhooks.get(id)
        if webhook is None or webhook.tenant != principal.tenant:
            raise errors.NotFound("webhook not found")
        return webhook


def _without_secret(webhook: Webhook) -> Webhook:
    return dataclasses.replace(webhook, secret="")
