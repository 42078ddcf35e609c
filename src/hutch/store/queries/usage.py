"""What was used: intervals, and counts of execs."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from hutch.model.ids import TenantId
from hutch.model.usage import Charge, Day, ExecCount, Interval, Turn
from hutch.store import folding, rows
from hutch.store.connection import Connected, find, unindexed
from hutch.store.tables import execs, intervals, usage_days

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
            query = query.where((execs.c.tenant if subject is None else unindexed(execs.c.tenant)) == tenant)
        if subject is not None:
            query = query.where(execs.c.machine == subject)
        return [rows.execs.read(row) for row in await self._find(query)]

    async def fold(self, before: datetime) -> bool:
        is_old = intervals.c.is_open.is_(sa.false()) & (intervals.c.until < before)
        async with self._transaction() as connection:
            ended = await find(connection, sa.select(intervals).where(is_old).limit(folding.BATCH))
            counts = await find(connection, sa.select(execs).where(execs.c.minute < before).limit(folding.BATCH))
            for day in folding.fold(map(rows.to_interval, ended), map(rows.execs.read, counts)):
                await _add(connection, day)
            positions = [row["position"] for row in ended]
            await connection.execute(sa.delete(intervals).where(intervals.c.position.in_(positions)))
            for row in counts:
                await connection.execute(sa.delete(execs).where(_is_count(row)))
            return bool(ended or counts) or await _forget_subjects(connection)

    async def list_days(
        self, end: datetime, tenant: TenantId | None = None, subject: str | None = None
    ) -> Sequence[Day]:
        query = sa.select(usage_days).where(usage_days.c.day < end).order_by(usage_days.c.day)
        if tenant is not None:
            query = query.where(usage_days.c.tenant == tenant)
        if subject is not None:
            query = query.where(usage_days.c.subject == subject)
        return [rows.days.read(row) for row in await self._find(query)]


async def _forget_subjects(connection: AsyncConnection) -> bool:
    """Of what is deleted only its tenant's sums are left. False if there is none."""
    is_there = sa.or_(
        sa.exists().where(intervals.c.subject == usage_days.c.subject),
        sa.exists().where(execs.c.machine == usage_days.c.subject),
    )
    gone = sa.select(usage_days.c.subject).where(usage_days.c.subject != "", ~is_there).distinct()
    subjects = [row["subject"] for row in await find(connection, gone.limit(folding.SUBJECTS))]
    for subject in subjects:
        its = usage_days.c.subject == subject
        found = [rows.days.read(row) for row in await find(connection, sa.select(usage_days).where(its))]
        for day in folding.of_tenant(found):
            await _add(connection, day)
        await connection.execute(sa.delete(usage_days).where(its))
    return bool(subjects)


async def _add(connection: AsyncConnection, day: Day) -> None:
    """Add to what is known of this day."""
    known = (usage_days.c.tenant == day.tenant) & (usage_days.c.subject == day.subject) & (usage_days.c.day == day.day)
    found = await find(connection, sa.select(usage_days).where(known))
    if found:
        row = rows.days.write(folding.add(rows.days.read(found[0]), day))
        await connection.execute(sa.update(usage_days).where(known).values(row))
    else:
        await connection.execute(sa.insert(usage_days).values(rows.days.write(day)))


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
    row = rows.execs.write(count)
    known = _is_count(row)
    if (await connection.execute(sa.update(execs).where(known).values(row))).rowcount == 0:
        await connection.execute(sa.insert(execs).values(row))


def _is_count(row: rows.Row) -> sa.ColumnElement[bool]:
    return sa.and_(execs.c.machine == row["machine"], execs.c.minute == row["minute"], execs.c.run == row["run"])
