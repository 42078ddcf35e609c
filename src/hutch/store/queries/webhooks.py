"""Webhooks and their deliveries."""

from collections.abc import Sequence

import sqlalchemy as sa

from hutch.model.webhooks import Delivery, Webhook
from hutch.store import rows
from hutch.store.connection import Connected
from hutch.store.tables import deliveries, webhooks


class WebhookQueries(Connected):
    """As `interface.WebhookRecords`."""

    async def add_webhook(self, webhook: Webhook) -> None:
        await self._insert(webhooks, rows.webhooks.write(webhook), f"there is no tenant {webhook.tenant}")

    async def save_webhook(self, webhook: Webhook) -> None:
        await self._do(sa.update(webhooks).where(webhooks.c.id == webhook.id).values(rows.webhooks.write(webhook)))

    async def remove_webhook(self, webhook: str) -> None:
        await self._do(
            sa.delete(deliveries).where(deliveries.c.webhook == webhook),
            sa.delete(webhooks).where(webhooks.c.id == webhook),
        )

    async def add_deliveries(self, new: Sequence[Delivery]) -> None:
        named = sa.select(webhooks.c.id).where(webhooks.c.id.in_({delivery.webhook for delivery in new}))
        async with self._transaction() as connection:
            there = set(await connection.scalars(named.with_for_update(read=True, key_share=True)))
            written = [rows.deliveries.write(delivery) for delivery in new if delivery.webhook in there]
            if written:
                await connection.execute(sa.insert(deliveries), written)

    async def save_delivery(self, delivery: Delivery) -> None:
        known = deliveries.c.id == delivery.id
        await self._do(sa.update(deliveries).where(known).values(rows.deliveries.write(delivery)))

    async def get_delivery(self, delivery: str) -> Delivery | None:
        found = await self._find(sa.select(deliveries).where(deliveries.c.id == delivery))
        return rows.deliveries.read(found[0]) if found else None

    async def waiting_deliveries(self) -> Sequence[Delivery]:
        waiting = sa.select(deliveries).where(deliveries.c.next_attempt_at.is_not(None))
        ordered = waiting.order_by(deliveries.c.next_attempt_at, deliveries.c.position)
        return [rows.deliveries.read(row) for row in await self._find(ordered)]

    async def list_deliveries(self, webhook: str, limit: int) -> Sequence[Delivery]:
        its = sa.select(deliveries).where(deliveries.c.webhook == webhook)
        last = its.order_by(deliveries.c.position.desc()).limit(limit)
        return [rows.deliveries.read(row) for row in await self._find(last)]
