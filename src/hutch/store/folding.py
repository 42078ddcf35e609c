"""How usage of long ago is kept by the day. Pure; both stores keep it so."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from hutch.model.usage import Charge, Day, ExecCount, Interval, floor_day

BATCH = 200
"""Intervals and counts of execs that are folded in one transaction."""

SUBJECTS = 20
"""Deleted machines, volumes and pools whose days become their tenant's in one transaction."""

_KEY = ("tenant", "subject", "day")


def add(one: Day, other: Day) -> Day:
    """Both, as the day `one` is. A subject is one machine at most."""
    sums = {
        field.name: getattr(one, field.name) + getattr(other, field.name)
        for field in dataclasses.fields(Day)
        if field.name not in (*_KEY, "machines")
    }
    return dataclasses.replace(one, **sums, machines=max(one.machines, other.machines))


def fold(intervals: Iterable[Interval], execs: Iterable[ExecCount]) -> list[Day]:
    """The days of closed intervals and of counts, each once."""
    return _merged([*(day for it in intervals for day in _days(it)), *map(_counted, execs)])


def of_tenant(days: Sequence[Day]) -> list[Day]:
    """The days of one that was deleted, as its tenant's."""
    lived = [it.day for it in days if it.machines]
    return [
        dataclasses.replace(
            it,
            subject="",
            machines=0,
            begun=int(bool(lived) and it.day == min(lived)),
            ended=int(bool(lived) and it.day == max(lived)),
        )
        for it in days
    ]


def _counted(it: ExecCount) -> Day:
    day = floor_day(it.minute)
    return Day(it.tenant, it.machine, day, execs=it.count, exec_seconds=it.seconds, sent_bytes=it.sent_bytes)


def _days(it: Interval) -> Iterator[Day]:
    start = it.start
    while True:
        day = floor_day(start)
        until = min(it.until, day + timedelta(days=1))
        took = max(0.0, (until - start).total_seconds())
        yield Day(
            it.tenant,
            it.subject,
            day,
            uptime_seconds=took if it.charge is Charge.RUNNING else 0.0,
            cpu_seconds=took * it.rate.cpus,
            memory_mib_seconds=took * it.rate.memory_mib,
            disk_gib_seconds=took * it.rate.disk_gib,
            machines=int(it.charge is Charge.DISK),
        )
        if until >= it.until:
            return
        start = until


def _merged(days: Iterable[Day]) -> list[Day]:
    merged: dict[tuple[str, str, datetime], Day] = {}
    for it in days:
        known = merged.get((it.tenant, it.subject, it.day))
        merged[it.tenant, it.subject, it.day] = it if known is None else add(known, it)
    return list(merged.values())
