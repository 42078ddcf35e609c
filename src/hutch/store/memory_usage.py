"""Of the store as dictionaries: what was used."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from hutch.model.ids import MachineId, TenantId
from hutch.model.usage import Charge, Day, ExecCount, Interval, Turn
from hutch.store import folding


class MemoryUsage:
    """As `interface.UsageRecords`."""

    def __init__(self) -> None:
        self._intervals: list[Interval] = []
        self._execs: dict[tuple[MachineId, datetime, str], ExecCount] = {}
        self._days: dict[tuple[TenantId, str, datetime], Day] = {}

    async def beat(self, at: datetime, execs: Sequence[ExecCount], turns: Sequence[Turn] = ()) -> None:
        for turn in turns:
            self._take_turn(turn)
        self._intervals = [
            dataclasses.replace(it, until=at)
            if it.is_open and it.charge in (Charge.RUNNING, Charge.PAUSED, Charge.POOL) and it.until < at
            else it
            for it in self._intervals
        ]
        for count in execs:
            self._execs[count.machine, count.minute, count.run] = count

    async def list_intervals(
        self, start: datetime, end: datetime, tenant: TenantId | None = None, subject: str | None = None
    ) -> Sequence[Interval]:
        return [
            it
            for it in self._intervals
            if (it.is_open or it.until >= start)
            and it.start < end
            and tenant in (None, it.tenant)
            and subject in (None, it.subject)
        ]

    async def list_execs(
        self, start: datetime, end: datetime, tenant: TenantId | None = None, subject: str | None = None
    ) -> Sequence[ExecCount]:
        counts = sorted(self._execs.values(), key=lambda count: count.minute)
        return [
            it
            for it in counts
            if start <= it.minute < end and tenant in (None, it.tenant) and subject in (None, it.machine)
        ]

    async def fold(self, before: datetime) -> bool:
        ended = [it for it in self._intervals if not it.is_open and it.until < before][: folding.BATCH]
        counts = [it for it in self._execs.values() if it.minute < before][: folding.BATCH]
        self._add(folding.fold(ended, counts))
        self._intervals = [it for it in self._intervals if it not in ended]
        for count in counts:
            del self._execs[count.machine, count.minute, count.run]
        return bool(ended or counts) or self._forget_subjects()

    def _forget_subjects(self) -> bool:
        there = {it.subject for it in self._intervals} | {it.machine for it in self._execs.values()} | {""}
        gone = list({it.subject: None for it in self._days.values() if it.subject not in there})[: folding.SUBJECTS]
        for subject in gone:
            its = [it for it in self._days.values() if it.subject == subject]
            self._days = {key: it for key, it in self._days.items() if it.subject != subject}
            self._add(folding.of_tenant(its))
        return bool(gone)

    def _add(self, days: Sequence[Day]) -> None:
        for day in days:
            key = (day.tenant, day.subject, day.day)
            self._days[key] = folding.add(self._days[key], day) if key in self._days else day

    async def list_days(
        self, end: datetime, tenant: TenantId | None = None, subject: str | None = None
    ) -> Sequence[Day]:
        wanted = [
            it
            for it in self._days.values()
            if it.day < end and tenant in (None, it.tenant) and subject in (None, it.subject)
        ]
        return sorted(wanted, key=lambda it: it.day)

    def _take_turn(self, turn: Turn) -> None:
        kept = []
        for it in self._intervals:
            if it.subject == turn.subject and it.is_open and it.charge in turn.ends:
                it = dataclasses.replace(it, is_open=False, until=turn.ended_at or it.until)
            kept.append(it)
        for begun in turn.begins:
            assert not any(it.is_open and (it.subject, it.charge) == (begun.subject, begun.charge) for it in kept)
        self._intervals = [*kept, *turn.begins]
