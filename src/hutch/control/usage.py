"""What was used: metered from the transitions, exact across crashes.

The store keeps intervals (machine, from, to, shape); an open one is extended by a heartbeat, so that a crash loses at
most what came after the last, and counts no second twice. What ended long ago is kept by the day, and of what was
deleted long ago only its tenant's sums are left. The rules are in `metering.py`.
"""

from datetime import datetime, timedelta

from hutch.control import metering
from hutch.control.accounts import Accounts
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.metering import Meter
from hutch.control.records import Entry
from hutch.model import errors, keys
from hutch.model.ids import MachineId, TenantId
from hutch.model.machine import Machine
from hutch.model.states import State
from hutch.model.usage import Report
from hutch.store.interface import Store

MOMENT = timedelta(microseconds=1)
DAY = timedelta(days=1)


class Usages:
    """The usage of all tenants."""

    def __init__(
        self, accounts: Accounts, fleet: Fleet, meter: Meter, store: Store, clock: Clock, keep_days: float
    ) -> None:
        self._keep_days = keep_days  # 0: for ever
        self._accounts = accounts
        self._records = fleet.records
        self._traffic = fleet.traffic
        self._meter = meter
        self._store = store
        self._clock = clock

    async def report(
        self,
        principal: Principal,
        start: datetime | None = None,
        end: datetime | None = None,
        tenant: TenantId | None = None,
    ) -> Report:
        """Of the caller's tenant, or of another one for the admin of the box. None: from its creation, until now.

        Execs count by the minute: those of the minute in which the period begins are within it. What ended before
        `settings.tenants.keep_usage_days` counts so by the day. Needs `usage:read`.
        `InvalidRequest` for an end before the start; `NotFound` for a tenant one may not see.
        """
        principal.require("usage:read")
        if tenant not in (None, principal.tenant):
            principal.require_to_look(keys.ADMIN)
        tenant = self._accounts.visible(principal.tenant, tenant)
        account = self._accounts.get(tenant)
        began = self._clock.now() if account is None else account.tenant.created_at
        return await self._sum(start or began, end, tenant, None)

    async def of_machine(self, principal: Principal, machine: MachineId) -> Report:
        """Since its creation, also of a deleted one, for as long as is kept. Needs `usage:read` or `machine:read`.

        `NotFound`.
        """
        if "machine:read" not in principal.scopes:
            principal.require("usage:read")
        found = await self._find(machine)
        if found is None or found.tenant != principal.tenant:
            raise errors.NotFound("machine not found")
        if self._is_forgotten(found):
            raise errors.NotFound(f"machine not found: its usage was told for {self._keep_days:g} days after its end")
        return await self._sum(found.created_at, None, found.tenant, found.id)

    async def _find(self, machine: MachineId) -> Machine | None:
        entry = self._records.get(machine)
        return await self._store.get_machine(machine) if entry is None else entry.machine

    def _entries(self, tenant: TenantId, subject: MachineId | None) -> list[Entry]:
        if subject is None:
            return [*self._records.of(tenant)]
        entry = self._records.get(subject)
        return [] if entry is None else [entry]

    def _is_forgotten(self, machine: Machine) -> bool:
        age = self._clock.now() - machine.updated_at
        return machine.state is State.DESTROYED and timedelta() < self._keep_days * DAY <= age

    async def _sum(self, start: datetime, end: datetime | None, tenant: TenantId, subject: MachineId | None) -> Report:
        now = self._clock.now()
        until = end or now + MOMENT  # what happens now is within
        if until < start:
            raise errors.InvalidRequest(f"the end {until.isoformat()} lies before the start {start.isoformat()}")
        await self._traffic.count_all(self._entries(tenant, subject))
        await self._meter.beat()
        async with self._meter.books:
            intervals = await self._store.list_intervals(start, until, tenant, subject)
            execs = await self._store.list_execs(metering.floor_minute(start), until, tenant, subject)
            days = await self._store.list_days(until, tenant, subject)
        return Report(start, end or now, metering.sum_up(intervals, execs, days, start, until, now))
