"""Snapshots: immutable copies of machines, memory and processes included. Many machines can be made of one.

Another tenant's are `NotFound`. Names are unique among a tenant's snapshots. A snapshot outlives its machine, and its
record for a while itself.
"""

import builtins
from collections.abc import Mapping
from typing import Any

import structlog

from hutch.control import idempotency, requests
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.operation import Copying
from hutch.control.quotas import Use
from hutch.control.records import Entry
from hutch.control.shelf import Shelf
from hutch.control.snapshot_views import SnapshotState, SnapshotView, view_build, view_snapshot
from hutch.model import errors, ids
from hutch.model.builds import BuildState
from hutch.model.ids import BuildId, MachineId, SnapshotId
from hutch.model.kinds import Kind
from hutch.model.machine import Defaults, Persistence, Snapshot
from hutch.store.interface import Store

log = structlog.get_logger(__name__)

MOST = 1000
"""Builds and deleted snapshots that are looked at: the latest."""

_UNMADE = {SnapshotState.FAILED, SnapshotState.CANCELLED, SnapshotState.LOST}


class Snapshots:
    """The snapshots of all tenants."""

    def __init__(self, fleet: Fleet, shelf: Shelf, store: Store, background: Background, clock: Clock) -> None:
        self._fleet = fleet
        self._shelf = shelf
        self._store = store
        self._background = background
        self._clock = clock

    async def create(
        self,
        principal: Principal,
        machine: MachineId,
        name: str | None = None,
        metadata: Mapping[str, object] | None = None,
        *,
        is_label: bool = False,
        persistence: Persistence = Persistence.PERSISTENT,
        priority: int = 5,
        id: SnapshotId | None = None,
        build: BuildId | None = None,
        recipe: str | None = None,
        defaults: Defaults = Defaults(),  # noqa: B008 - frozen
    ) -> Snapshot:
        """Of a running, paused or suspended machine, which goes on as it was. Needs `machine:create`.

        `name` None: made of the machine's name; one that `is_label` is given a number where it is taken. `metadata`
        None: the machine's, as it is now. `id`, `build` and `recipe` (the hash of the layer it is) are a builder's.
        `NotRunning` for a machine without memory (stopped, failed), `Conflict` for a name that is taken, `DiskFull`.
        """
        entry = self._fleet.entry(principal, machine, "machine:create")
        if name is not None:
            requests.check_name(name)
        requests.check_metadata(metadata or {})
        requests.check_priority(priority)
        if persistence is Persistence.EPHEMERAL:
            raise errors.InvalidRequest("a snapshot is persistent or sticky")
        its = {
            "metadata": metadata,
            "persistence": persistence,
            "priority": priority,
            "build": build,
            "recipe": recipe,
            "defaults": defaults,
        }
        base = name or entry.machine.name
        exact = None if is_label and self._shelf.is_taken(principal.tenant, base) else name
        return await self._background.finish(self._create(entry, exact, base, id or ids.new_snapshot_id(), its))

    async def _create(self, entry: Entry, name: str | None, base: str, id: SnapshotId, its: dict[str, Any]) -> Snapshot:
        tenant = entry.machine.tenant
        copying = Copying(id, transient=False)
        claim = self._fleet.quotas.claim(tenant, {copying.snapshot: Use(snapshots=1)})
        with self._shelf.claim(tenant, name, base) as name, claim:
            await idempotency.expect([copying.snapshot])
            machine = await self._fleet.carry_out(entry, copying)
            assert copying.saved is not None
            snapshot = Snapshot(
                *(copying.snapshot, tenant, name, machine.id, machine.spec, self._clock.now(), copying.saved.size),
                **its | {"metadata": dict(machine.metadata if its["metadata"] is None else its["metadata"])},
            )
            try:
                await self._shelf.add(snapshot)
            except BaseException:
                self._background.go_on("removing an unrecorded snapshot", self._shelf.remove(snapshot))
                raise
        message = f"snapshot {name} was made of it"
        await self._fleet.records.note(entry, message, kind=Kind.SNAPSHOTTED, snapshot=snapshot.id)
        return snapshot

    def list(self, principal: Principal, machine: MachineId | None = None) -> builtins.list[Snapshot]:
        """The tenant's, or those made of one machine, newest first. Needs `machine:read`.

        `NotFound` for a machine that is not there and of which there is none.
        """
        principal.require("machine:read")
        found = self._shelf.of(principal.tenant, machine)
        if machine is not None and not found:
            self._fleet.entry(principal, machine, "machine:read")
        return found

    def find(self, principal: Principal, id_or_name: str) -> Snapshot:
        """By id, else by name. Needs `machine:read`. `NotFound`."""
        principal.require("machine:read")
        return self._shelf.find(principal.tenant, id_or_name)

    async def deleted(self, principal: Principal, id: SnapshotId) -> Snapshot | None:
        """What is left of one that was deleted, for as long as its record is kept. Needs `machine:read`."""
        principal.require("machine:read")
        snapshot = None if self._shelf.get(id) is not None else await self._store.get_snapshot(id)
        return snapshot if snapshot is not None and snapshot.tenant == principal.tenant else None

    async def rename(self, principal: Principal, id: SnapshotId, name: str) -> Snapshot:
        """`Conflict` for a name that is taken. Needs `machine:create`."""
        principal.require("machine:create")
        requests.check_name(name)
        return await self._background.finish(self._shelf.rename(self._get(principal, id), name))

    async def views(
        self,
        principal: Principal,
        *,
        include_deleted: bool = False,
        include_failed: bool = False,
        include_building: bool = False,
    ) -> builtins.list[SnapshotView]:
        """The tenant's, newest first, and what is being built or was not built to its end, as far as asked for.

        Failed are also those of builds that were cancelled or lost. Needs `machine:read`.
        """
        principal.require("machine:read")
        tenant = principal.tenant
        builds = {build.id: build for build in await self._store.list_builds(tenant, MOST)}
        kept = self._shelf.of(tenant)
        if include_deleted:
            kept += await self._store.list_deleted_snapshots(tenant, MOST)
        found = [view_snapshot(snapshot, builds.get(snapshot.build or BuildId(""))) for snapshot in kept]
        wanted = ({SnapshotState.BUILDING} if include_building else set()) | (_UNMADE if include_failed else set())
        unmade = [view_build(build) for build in builds.values() if build.state is not BuildState.SUCCEEDED]
        made = {snapshot.id for snapshot in kept}
        found += [view for view in unmade if view.state in wanted and view.id not in made]
        return sorted(found, key=lambda view: view.created_at, reverse=True)

    async def view(self, principal: Principal, id: SnapshotId) -> SnapshotView:
        """One of them, whatever became of it. `NotFound`. Needs `machine:read`."""
        principal.require("machine:read")
        snapshot = self._shelf.get(id) or await self._store.get_snapshot(id)
        if snapshot is not None and snapshot.tenant == principal.tenant:
            build = None if snapshot.build is None else await self._store.get_build(snapshot.build)
            return view_snapshot(snapshot, build)
        builds = await self._store.list_builds(principal.tenant, MOST)
        build = next((it for it in builds if it.snapshot == id and it.state is not BuildState.SUCCEEDED), None)
        if build is None:
            raise errors.NotFound("snapshot not found")
        return view_build(build)

    async def delete(self, principal: Principal, id: SnapshotId) -> None:
        """Drop it; machines made of it live on. `NotFound` also if it was `deleted`. Needs `machine:delete`."""
        principal.require("machine:delete")
        await self._background.finish(self._shelf.remove(self._get(principal, id)))

    async def verify(self, principal: Principal, id: SnapshotId) -> Snapshot:
        """Read all of it; `damage` of what is returned says what is not as it was saved. Needs `machine:read`."""
        principal.require("machine:read")
        return await self._shelf.verify(self._get(principal, id))

    def _get(self, principal: Principal, id: SnapshotId) -> Snapshot:
        snapshot = self._shelf.find(principal.tenant, id)
        if snapshot.id != id:
            raise errors.NotFound("snapshot not found")
        return snapshot
