"""Snapshots: immutable copies of machines, memory and processes included. The wire calls them checkpoints."""

from collections.abc import Mapping

from hutch.client import models, snapshots, wire
from hutch.client._async.http import LONG, Http, idempotent, query


class Snapshots:
    """Every `snapshot` and every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(
        self,
        machine: str,
        name: str | None = None,
        once: str | None = None,
        metadata: Mapping[str, object] | None = None,
        persistence: str | None = None,
        priority: int | None = None,
    ) -> models.Snapshot:
        """Of a running, paused or suspended machine, which goes on as it was. `name` None: one is made up.

        `metadata` None: the machine's, as it is now. `persistence`: sticky, or persistent as usual; `priority` 0 to 10.
        `once` is a key: asked again with it within a day, the same snapshot is told.
        """
        path, options = wire.machine_path(machine, "checkpoints"), {"headers": idempotent(once), "timeout": LONG}
        body = query({"name": name, "metadata": metadata, "persistence": snapshots.persistence(persistence, priority)})
        return snapshots.snapshot(await self._http.json("POST", path, json=body, **options))

    async def get(self, snapshot: str) -> models.Snapshot:
        """One."""
        return snapshots.snapshot(await self._http.json("GET", snapshots.path(snapshot)))

    async def verify(self, snapshot: str) -> models.Snapshot:
        """Have all of it read; `damage` of what is returned says what is not as it was saved."""
        return snapshots.snapshot(await self._http.json("POST", snapshots.path(snapshot, "verify"), timeout=LONG))

    async def rename(self, snapshot: str, name: str) -> models.Snapshot:
        """Give it another name. `Conflict` if that is taken."""
        return snapshots.snapshot(await self._http.json("PATCH", snapshots.path(snapshot), json={"name": name}))

    async def restore(self, snapshot: str, name: str | None = None, network: str = "open") -> models.Machine:
        """A new machine of it, suspended: its start goes on from there."""
        body = query({"name": name}) | {"network": {"mode": network}}
        path = snapshots.path(snapshot, "restore")
        return wire.machine(await self._http.json("POST", path, json=body, timeout=LONG))

    async def delete(self, snapshot: str) -> None:
        """Drop it; machines made of it live on."""
        await self._http.json("DELETE", snapshots.path(snapshot), timeout=LONG)

    async def list(self, machine: str | None = None) -> list[models.Snapshot]:
        """All, or those made of one machine, newest first."""
        path = "/v1/checkpoints" if machine is None else wire.machine_path(machine, "checkpoints")
        return [snapshots.snapshot(it) for it in await self._http.json("GET", path)]
