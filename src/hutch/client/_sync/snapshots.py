"""Snapshots: immutable copies of machines, memory and processes included. The wire calls them checkpoints."""

from collections.abc import Mapping

from hutch.client import models, snapshots, wire
from hutch.client._sync.http import LONG, Http, idempotent, query


class Snapshots:
    """Every `snapshot` and every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(
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
        return snapshots.snapshot(self._http.json("POST", path, json=body, **options))

    def get(self, snapshot: str) -> models.Snapshot:
        """One."""
        return snapshots.snapshot(self._http.json("GET", snapshots.path(snapshot)))

    def verify(self, snapshot: str) -> models.Snapshot:
        """Have all of it read; `damage` of what is returned says what is not as it was saved."""
        return snapshots.snapshot(self._http.json("POST", snapshots.path(snapshot, "verify"), timeout=LONG))

    def rename(self, snapshot: str, name: str) -> models.Snapshot:
        """Give it another name. `Conflict` if that is taken."""
        return snapshots.snapshot(self._http.json("PATCH", snapshots.path(snapshot), json={"name": name}))

    def restore(self, snapshot: str, name: str | None = None, network: str = "open") -> models.Machine:
        """A new machine of it, suspended: its start goes on from there."""
        body = query({"name": name}) | {"network": {"mode": network}}
        path = snapshots.path(snapshot, "restore")
        return wire.machine(self._http.json("POST", path, json=body, timeout=LONG))

    def delete(self, snapshot: str) -> None:
        """Drop it; machines made of it live on."""
        self._http.json("DELETE", snapshots.path(snapshot), timeout=LONG)

    def list(self, machine: str | None = None) -> list[models.Snapshot]:
        """All, or those made of one machine, newest first."""
        path = "/v1/checkpoints" if machine is None else wire.machine_path(machine, "checkpoints")
        return [snapshots.snapshot(it) for it in self._http.json("GET", path)]
