"""What the control plane asks of a database. The only part of `store` that `control` imports.

The control plane keeps everything that lives in memory and writes it through, so the store is read as a whole once, at
`load`, and after that only for what is not kept: events and machines that are gone. Every call is one transaction: all
of it is written or nothing. Errors are those of `hutch.model.errors`.
`database.py` is the real one, `memory.py` the fake that passes the same contract suite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hutch.model.ids import KeyId, MachineId, PoolId, SnapshotId
from hutch.model.keys import ApiKey, Tenant
from hutch.model.machine import Event, Machine, Pool, Snapshot
from hutch.model.states import State


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key and the SHA-256 of its token."""

    key: ApiKey
    hash: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """Everything that lives. `machines` (all but the destroyed ones), `snapshots` and `pools` are oldest first.

    `is_new` is True when this database has never had a machine and has no pool: one that was made a moment ago, or the
    wrong one.
    """

    cluster: str
    tenants: Sequence[Tenant]
    keys: Sequence[StoredKey]
    machines: Sequence[Machine]
    snapshots: Sequence[Snapshot]
    pools: Sequence[Pool]
    is_new: bool


class Store(Protocol):
    """The record of what should be."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date."""

    async def close(self) -> None:
        """Disconnect; no error if not open."""

    async def ping(self) -> None:
        """Raise unless the database answers."""

    async def load(self) -> Recorded:
        """Everything that lives."""

    async def add_tenant(self, tenant: Tenant) -> None:
        """`Conflict` for a name that is taken."""

    async def add_key(self, stored: StoredKey) -> None:
        """Keep a key of a tenant that is there."""

    async def remove_key(self, key: KeyId) -> None:
        """No error if it is not there."""

    async def add_machine(self, machine: Machine, event: Event) -> None:
        """`Conflict` for a name that a living machine of the tenant has."""

    async def add_machines(self, made: Sequence[tuple[Machine, Event]]) -> None:
        """Several at once, all or none: each as in `add_machine`."""

    async def save_machine(self, machine: Machine, was: State, event: Event) -> None:
        """Replace the record of a machine. `Conflict` unless its state in the store is `was`."""

    async def save_machines(self, changes: Sequence[tuple[Machine, State, Event]]) -> None:
        """Several at once, all or none: each as in `save_machine`."""

    async def add_event(self, event: Event) -> None:
        """Something happened to a machine without changing its record."""

    async def touch(self, machines: Mapping[MachineId, datetime], keys: Mapping[KeyId, datetime]) -> None:
        """When these were last used. Whatever is gone meanwhile is passed over."""

    async def get_machine(self, machine: MachineId) -> Machine | None:
        """Also a destroyed one."""

    async def list_events(self, machine: MachineId, limit: int) -> Sequence[Event]:
        """The last `limit` of them, oldest first, in the order they were added."""

    async def add_snapshot(self, snapshot: Snapshot) -> None:
        """`Conflict` for a name that another snapshot of the tenant has."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the record of a snapshot; nothing if it is gone."""

    async def remove_snapshot(self, snapshot: SnapshotId) -> None:
        """No error if it is not there."""

    async def add_pool(self, pool: Pool) -> None:
        """`Conflict` for a name that another pool of the tenant has."""

    async def remove_pool(self, pool: PoolId) -> None:
        """No error if it is not there."""
