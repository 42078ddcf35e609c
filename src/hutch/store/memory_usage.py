"""Of the store as dictionaries: what was used."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from hutch.model.ids import MachineId, TenantId
from hutch.model.usage import Charge, ExecCount, Interval, Turn


class MemoryUsage:
    """As `interface.UsageRecords`."""

    def __init__(self) -> None:
        self._intervals: list[Interval] = []
        self._execs: dict[tuple[MachineId, datetime, str], ExecCount] = {}

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

    def _take_turn(self, turn: Turn) -> None:
        kept = []
        for it in self._intervals:
            if it.subject == turn.subject and it.is_open and it.charge in turn.ends:
                it = dataclasses.replace(it, is_open=False, until=turn.ended_at or it.until)
            kept.append(it)
        for begun in turn.begins:
            assert not any(it.is_open and (it.subject, it.charge) == (begun.subject, begun.charge) for it in kept)
        self._intervals = [*kept, *turn.begins]
