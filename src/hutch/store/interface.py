"""What the control plane asks of a database. The only part of `store` that `control` imports.

The control plane keeps everything that lives in memory and writes it through, so the store is read as a whole once, at
`load`, and after that only for what is not kept: events and machines that are gone. Every call is one transaction: all
of it is written or nothing. Errors are those of `hutch.model.errors`.
`database.py` is the real one, `memory.py` the fake that passes the same contract suite.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from hutch.model.builds import Build, Phase
from hutch.model.domains import Domain
from hutch.model.ids import BuildId, KeyId, MachineId, PoolId, SnapshotId, TenantId, VolumeId
from hutch.model.jobs import Job
from hutch.model.keys import ApiKey, Tenant
from hutch.model.machine import Event, Machine, Pool, Snapshot
from hutch.model.sessions import Session
from hutch.model.states import State
from hutch.model.usage import Day, ExecCount, Interval, Turn
from hutch.model.volumes import Volume
from hutch.model.webhooks import Delivery, Webhook


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key and the SHA-256 of its token."""

    key: ApiKey
    hash: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that is to be done once, under a key of its tenant's choice."""

    tenant: TenantId
    key: str
    operation: str
    body: bytes  # its SHA-256
    created_at: datetime
    expected: str | None = None  # the ids of what it is about to make
    result: str | None = None  # the ids of what it has made: it is done


@dataclass(frozen=True, slots=True)
class Recorded:
    """Everything that lives, oldest first: no destroyed machines, no deleted snapshots.

    `is_new` is True when this database has never had a machine and has no pool: one that was made a moment ago, or the
    wrong one. `attempts` are those without a result. `cluster` and `secret` are made once, at random.
    """

    cluster: str
    secret: str = field(repr=False)  # of this installation: traffic tokens are made with it
    tenants: Sequence[Tenant]
    keys: Sequence[StoredKey]
    machines: Sequence[Machine]
    snapshots: Sequence[Snapshot]
    pools: Sequence[Pool]
    volumes: Sequence[Volume]
    sessions: Sequence[Session]
    webhooks: Sequence[Webhook]
    domains: Sequence[Domain]
    attempts: Sequence[Attempt]
    is_new: bool


@dataclass(frozen=True, slots=True)
class Horizon:
    """What is older than this is forgotten; None: nothing is."""

    events: datetime | None = None
    deliveries: datetime | None = None  # those that are delivered or given up
    attempts: datetime | None = None
    jobs: datetime | None = None  # those that have ended
    builds: datetime | None = None  # those that have ended, with their phases
    snapshots: datetime | None = None  # those that were deleted


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events of a tenant's machines, the deleted ones included; None: all. Both moments are within."""

    tenant: TenantId
    machine: MachineId | None = None
    snapshot: SnapshotId | None = None
    kinds: Collection[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    newest_first: bool = True
    offset: int = 0
    limit: int = 100


class TenantRecords(Protocol):
    """Tenants, their keys, and what they have besides machines."""

    async def add_tenant(self, tenant: Tenant) -> None:
        """`Conflict` for a name that is taken."""

    async def save_tenant(self, tenant: Tenant) -> None:
        """Replace the record of a tenant; nothing if there is none."""

    async def add_key(self, stored: StoredKey) -> None:
        """Keep a key of a tenant that is there."""

    async def remove_key(self, key: KeyId) -> None:
        """No error if it is not there."""

    async def add_snapshot(self, snapshot: Snapshot) -> None:
        """`Conflict` for a name that another snapshot of the tenant has that is not deleted."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the record of a snapshot; nothing if it is gone. `Conflict` as above."""

    async def get_snapshot(self, snapshot: SnapshotId) -> Snapshot | None:
        """Also a deleted one."""

    async def list_deleted_snapshots(self, tenant: TenantId, limit: int) -> Sequence[Snapshot]:
        """The last `limit` that were deleted, the latest first."""

    async def remove_snapshot(self, snapshot: SnapshotId) -> None:
        """No error if it is not there."""

    async def add_pool(self, pool: Pool) -> None:
        """`Conflict` for a name that another pool of the tenant has."""

    async def save_pool(self, pool: Pool) -> None:
        """Replace the record of a pool; nothing if it is gone. `Conflict` as above."""

    async def remove_pool(self, pool: PoolId) -> None:
        """No error if it is not there."""

    async def add_volume(self, volume: Volume, turn: Turn) -> None:
        """`Conflict` for a name that another volume of the tenant has."""

    async def remove_volume(self, volume: VolumeId, turn: Turn) -> None:
        """No error if it is not there."""


class MachineRecords(Protocol):
    """Machines and what happened to them."""

    async def add_machine(self, machine: Machine, event: Event) -> None:
        """`Conflict` for a name that a living machine of the tenant has."""

    async def add_machines(self, made: Sequence[tuple[Machine, Event]]) -> None:
        """Several at once, all or none: each as in `add_machine`."""

    async def save_machine(self, machine: Machine, was: State, event: Event, turn: Turn | None = None) -> None:
        """Replace the record of a machine. `Conflict` unless its state in the store is `was`, and for names as above.

        `turn`: what changes of its usage with it. The sessions, jobs and domains of one that is destroyed go too.
        """

    async def save_machines(self, changes: Sequence[tuple[Machine, State, Event]], turns: Sequence[Turn] = ()) -> None:
        """Several at once, all or none: each as in `save_machine`."""

    async def get_machine(self, machine: MachineId) -> Machine | None:
        """Also a destroyed one."""

    async def list_destroyed_machines(self, tenant: TenantId, limit: int) -> Sequence[Machine]:
        """The last `limit` that were destroyed, the latest first."""

    async def add_event(self, event: Event) -> None:
        """Something happened to a machine without changing its record."""

    async def list_events(self, machine: MachineId, limit: int) -> Sequence[Event]:
        """The last `limit` of them, oldest first, in the order they were added."""

    async def find_events(self, query: EventQuery) -> Sequence[Event]:
        """A page of those of a tenant, in the order they were added or the other way round."""


class WorkRecords(Protocol):
    """Sessions and jobs: they go with their machine."""

    async def add_session(self, session: Session) -> None:
        """`Conflict` for an id that another session of the machine has."""

    async def save_session(self, session: Session) -> None:
        """Replace its record; nothing if it is gone."""

    async def remove_session(self, session: Session) -> None:
        """No error if it is not there."""

    async def add_job(self, job: Job) -> None:
        """Keep a new one."""

    async def save_job(self, job: Job) -> None:
        """Replace its record; nothing if it is gone."""

    async def get_job(self, machine: MachineId, job: str) -> Job | None:
        """One of a machine's."""

    async def list_jobs(self, machine: MachineId, limit: int) -> Sequence[Job]:
        """The last `limit` of a machine, newest first."""

    async def list_running_jobs(self) -> Sequence[Job]:
        """Those of all machines that were running when they were last seen, oldest first."""


class BuildRecords(Protocol):
    """Builds and their phases."""

    async def add_build(self, build: Build) -> None:
        """Keep a new one."""

    async def save_build(self, build: Build) -> None:
        """Replace its record; nothing if it is gone."""

    async def get_build(self, build: BuildId) -> Build | None:
        """By id."""

    async def list_builds(self, tenant: TenantId, limit: int) -> Sequence[Build]:
        """The last `limit` of a tenant, newest first."""

    async def list_unfinished_builds(self) -> Sequence[Build]:
        """Everybody's that are pending or running, oldest first."""

    async def add_phase(self, phase: Phase) -> None:
        """What a build has begun. `Conflict` if there is no such build."""

    async def list_phases(self, build: BuildId) -> Sequence[Phase]:
        """A build's, oldest first, in the order they were added."""


class WebhookRecords(Protocol):
    """Webhooks and their deliveries."""

    async def add_webhook(self, webhook: Webhook) -> None:
        """Keep a new one."""

    async def save_webhook(self, webhook: Webhook) -> None:
        """Replace its record; nothing if it is gone."""

    async def remove_webhook(self, webhook: str) -> None:
        """With its deliveries; no error if it is not there."""

    async def add_deliveries(self, new: Sequence[Delivery]) -> None:
        """Keep new ones, without those whose webhook is gone."""

    async def save_delivery(self, delivery: Delivery) -> None:
        """Replace its record; nothing if it is gone."""

    async def get_delivery(self, delivery: str) -> Delivery | None:
        """By id."""

    async def waiting_deliveries(self) -> Sequence[Delivery]:
        """All that are to be tried again, the one longest due first."""

    async def list_deliveries(self, webhook: str, limit: int) -> Sequence[Delivery]:
        """The last `limit` of a webhook, newest first."""


class DomainRecords(Protocol):
    """Names of tenants' own: they go with the machine they lead to. `Conflict` where another tenant has it verified."""

    async def add_domain(self, domain: Domain) -> None:
        """`Conflict` for a name that the tenant has already."""

    async def save_domain(self, domain: Domain) -> None:
        """Replace the record of a tenant's name; nothing if it is gone."""

    async def remove_domain(self, domain: Domain) -> None:
        """No error if it is not there."""


class UsageRecords(Protocol):
    """What was used. Intervals begin and end with the change of a record, in the same transaction."""

    async def beat(self, at: datetime, execs: Sequence[ExecCount], turns: Sequence[Turn] = ()) -> None:
        """Every open interval goes on at least until `at`, after these turns have been taken.

        Each count replaces that of the same minute and run.
        """

    async def list_intervals(
        self, start: datetime, end: datetime, tenant: TenantId | None = None, subject: str | None = None
    ) -> Sequence[Interval]:
        """Those that begin before `end`, and are open or end not before `start`; of a tenant, a subject, or both."""

    async def list_execs(
        self, start: datetime, end: datetime, tenant: TenantId | None = None, subject: str | None = None
    ) -> Sequence[ExecCount]:
        """Of the minutes from `start` (inclusive) to `end` (exclusive)."""

    async def fold(self, before: datetime) -> bool:
        """Keep some of what ended before by the day alone; False when there is no more of it.

        Days of what has no interval and no count any more become its tenant's.
        """

    async def list_days(
        self, end: datetime, tenant: TenantId | None = None, subject: str | None = None
    ) -> Sequence[Day]:
        """Those that begin before `end`."""


class AttemptRecords(Protocol):
    """Requests that are to be done once."""

    async def add_attempt(self, attempt: Attempt) -> None:
        """`Conflict` for a key that the tenant has used."""

    async def save_attempt(self, attempt: Attempt) -> None:
        """Replace its record; nothing if it is gone."""

    async def get_attempt(self, tenant: TenantId, key: str) -> Attempt | None:
        """By the tenant's key."""

    async def remove_attempt(self, tenant: TenantId, key: str) -> None:
        """No error if it is not there."""


class Store(
    TenantRecords,
    MachineRecords,
    WorkRecords,
    BuildRecords,
    WebhookRecords,
    DomainRecords,
    UsageRecords,
    AttemptRecords,
    Protocol,
):
    """The record of what should be."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date."""

    async def close(self) -> None:
        """Disconnect; no error if not open."""

    async def ping(self) -> None:
        """Raise unless the database answers."""

    async def load(self) -> Recorded:
        """Everything that lives."""

    async def touch(
        self,
        machines: Mapping[MachineId, datetime],
        keys: Mapping[KeyId, datetime],
        snapshots: Mapping[SnapshotId, datetime],
    ) -> None:
        """When these were last used. Whatever is gone meanwhile is passed over."""

    async def prune(self, horizon: Horizon) -> None:
        """Forget what is old."""
