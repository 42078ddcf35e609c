"""Requests that are to be done once."""

import sqlalchemy as sa

from hutch.model.ids import TenantId
from hutch.store import rows
from hutch.store.connection import Connected
from hutch.store.interface import Attempt
from hutch.store.tables import attempts


class AttemptQueries(Connected):
    """As `interface.AttemptRecords`."""

    async def add_attempt(self, attempt: Attempt) -> None:
        await self._insert(attempts, rows.attempts.write(attempt), f"the key {attempt.key} was used before")

    async def save_attempt(self, attempt: Attempt) -> None:
        known = _is(attempt.tenant, attempt.key)
        await self._do(sa.update(attempts).where(known).values(rows.attempts.write(attempt)))

    async def get_attempt(self, tenant: TenantId, key: str) -> Attempt | None:
        found = await self._find(sa.select(attempts).where(_is(tenant, key)))
        return rows.attempts.read(found[0]) if found else None

    async def remove_attempt(self, tenant: TenantId, key: str) -> None:
        await self._do(sa.delete(attempts).where(_is(tenant, key)))


def _is(tenant: TenantId, key: str) -> sa.ColumnElement[bool]:
    return (attempts.c.tenant == tenant) & (attempts.c.key == key)
