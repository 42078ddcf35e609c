"""What was used: intervals, and counts of execs."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from hutch.model.ids import TenantId
from hutch.model.usage import Charge, ExecCount, Interval, Turn
from hutch.store import rows
from hutch.store.connection import Connected
from hutch.store.tables import execs, intervals

_BEATING = (Charge.RUNNING.value, Charge.PAUSED.value, Charge.POOL.value)
"""What ends unseen when a service dies; of all else the end is always known."""


class UsageQueries(Connected):
    """As `interface.UsageRecords`."""

    async def beat(self, at: datetime, counts: Sequence[ExecCount], turns: Sequence[Turn] = ()) -> None:
        goes_on = intervals.c.is_open.is_(sa.true()) & intervals.c.charge.in_(_BEATING) & (intervals.c.until < at)
        async with self._transaction() as connection:
            for turn in turns:
                await take_turn(connection, turn)
            await connection.execute(sa.update(intervals).where(goes_on).values(until=at))
            for count in counts:
                await _put(connection, count)

    async def list_intervals(
        self, start: datetime, end: datetime, tenant: TenantId | None = None, subject: str | None = None
    ) -> Sequence[Interval]:
        in_time = (intervals.c.is_open.is_(sa.true()) | (intervals.c.until >= start)) & (intervals.c.start < end)
        query = sa.select(intervals).where(in_time).order_by(intervals.c.position)
        if tenant is not None:
            query = query.where(intervals.c.tenant == tenant)
        if subject is not None:
            query = query.where(intervals.c.subject == subject)
        return [rows.to_interval(row) for row in await self._find(query)]

    async def list_execs(
        self, start: datetime, end: datetime, tenant: TenantId | None = None, subject: str | None = None
    ) -> Sequence[ExecCount]:
        query = sa.select(execs).where((execs.c.minute >= start) & (execs.c.minute < end)).order_by(execs.c.minute)
        if tenant is not None:
            query = query.where(execs.c.tenant == tenant)
        if subject is not None:
            query = query.where(execs.c.machine == subject)
        return [rows.execs.read(row) for row in await self._find(query)]


async def take_turn(connection: AsyncConnection, turn: Turn) -> None:
    """End what ends and begin what begins, as part of another change."""
    if turn.ends:
        its = (intervals.c.subject == turn.subject) & intervals.c.is_open.is_(sa.true())
        ends = its & intervals.c.charge.in_([charge.value for charge in turn.ends])
        end = {} if turn.ended_at is None else {"until": turn.ended_at}
        await connection.execute(sa.update(intervals).where(ends).values(is_open=False, **end))
    for interval in turn.begins:
        await connection.execute(sa.insert(intervals).values(rows.from_interval(interval)))


async def _put(connection: AsyncConnection, count: ExecCount) -> None:
    known = (execs.c.machine == count.machine) & (execs.c.minute == count.minute) & (execs.c.run == count.run)
    row = rows.execs.write(count)
    if (await connection.execute(sa.update(execs).where(known).values(row))).rowcount == 0:
        await connection.execute(sa.insert(execs).values(row))
