"""Names of tenants' own."""

import sqlalchemy as sa

from hutch.model.domains import Domain
from hutch.store import rows
from hutch.store.connection import Connected, refused_as
from hutch.store.tables import domains


class DomainQueries(Connected):
    """As `interface.DomainRecords`."""

    async def add_domain(self, domain: Domain) -> None:
        await self._insert(domains, rows.domains.write(domain), f"there is already a domain {domain.name}")

    async def save_domain(self, domain: Domain) -> None:
        async with self._transaction() as connection:
            with refused_as(f"domain {domain.name} is another tenant's"):
                await connection.execute(sa.update(domains).where(_is(domain)).values(rows.domains.write(domain)))

    async def remove_domain(self, domain: Domain) -> None:
        await self._do(sa.delete(domains).where(_is(domain)))


def _is(domain: Domain) -> sa.ColumnElement[bool]:
    return (domains.c.tenant == domain.tenant) & (domains.c.name == domain.name)
