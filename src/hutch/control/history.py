"""What happened: a tenant's deleted machines, and the recorded events of all it had. What happens is in `feed.py`."""

import dataclasses
from collections.abc import Sequence

from hutch.control.keys import Principal
from hutch.control.records import Records
from hutch.control.shelf import Shelf
from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId, TenantId
from hutch.model.machine import Event, Machine
from hutch.store.interface import EventQuery as EventQuery
from hutch.store.interface import Store

MOST = 1000
"""Told at once."""


class History:
    """The events of all tenants, for as long as they are kept."""

    def __init__(self, records: Records, shelf: Shelf, store: Store) -> None:
        self._records = records
        self._shelf = shelf
        self._store = store

    async def events(self, principal: Principal, query: EventQuery) -> Sequence[Event]:
        """A page of the caller's tenant's, whatever tenant the query names; at most 1000. Needs `machine:read`.

        `NotFound` for a machine or a snapshot that never was this tenant's; a snapshot that is gone is known by its
        events.
        """
        principal.require("machine:read")
        if query.offset < 0 or query.limit < 1:
            raise errors.InvalidRequest("offset is 0 or more, limit 1 or more")
        if query.machine is not None:
            await self._check_machine(principal.tenant, query.machine)
        if query.snapshot is not None:
            await self._check_snapshot(principal.tenant, query.snapshot)
        its = dataclasses.replace(query, tenant=principal.tenant, limit=min(query.limit, MOST))
        return await self._store.find_events(its)

    async def destroyed(self, principal: Principal, limit: int) -> Sequence[Machine]:
        """Machines of the caller's tenant that are gone, those that went last first; at most 1000.

        Needs `machine:read`.
        """
        principal.require("machine:read")
        return await self._store.list_destroyed_machines(principal.tenant, min(limit, MOST))

    async def _check_machine(self, tenant: TenantId, id: MachineId) -> None:
        entry = self._records.get(id)
        machine = await self._store.get_machine(id) if entry is None else entry.machine
        if machine is None or machine.tenant != tenant:
            raise errors.NotFound("machine not found")

    async def _check_snapshot(self, tenant: TenantId, id: SnapshotId) -> None:
        snapshot = self._shelf.get(id)
        if snapshot is not None and snapshot.tenant == tenant:
            return
        if not await self._store.find_events(EventQuery(tenant, snapshot=id, limit=1)):
            raise errors.NotFound("snapshot not found")
