"""Nouns to rows and back. Pydantic carries what is JSON: a field added later with a default reads old rows."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter

from hutch.model.builds import Build, Phase
from hutch.model.domains import Domain
from hutch.model.jobs import Job
from hutch.model.keys import ApiKey, Tenant
from hutch.model.machine import (
    Checkout,
    Defaults,
    EndsOn,
    Event,
    Level,
    Machine,
    MachineSpec,
    Persistence,
    Pool,
    Snapshot,
    Timers,
)
from hutch.model.network import Grant, PublishedPort
from hutch.model.sessions import Session
from hutch.model.states import State
from hutch.model.usage import Charge, Day, ExecCount, Interval, Rate
from hutch.model.volumes import Volume
from hutch.model.webhooks import Delivery, Webhook
from hutch.store.interface import Attempt, StoredKey
from hutch.store.tables import machines

Row = Mapping[str, Any]

T = TypeVar("T")


class Plain(Generic[T]):
    """A noun whose fields are exactly the columns of its table."""

    def __init__(self, noun: type[T]) -> None:
        self._adapter = TypeAdapter(noun)

    def write(self, it: T) -> dict[str, Any]:
        """All columns."""
        row: dict[str, Any] = self._adapter.dump_python(it)
        return row

    def read(self, row: Row) -> T:
        """From its columns; others (a position) are passed over."""
        return self._adapter.validate_python(dict(row))


tenants = Plain(Tenant)
volumes = Plain(Volume)
sessions = Plain(Session)
jobs = Plain(Job)
builds = Plain(Build)
phases = Plain(Phase)
webhooks = Plain(Webhook)
domains = Plain(Domain)
deliveries = Plain(Delivery)
execs = Plain(ExecCount)
days = Plain(Day)
attempts = Plain(Attempt)

_spec = TypeAdapter(MachineSpec)
_timers = TypeAdapter(Timers)
_ports = TypeAdapter(tuple[PublishedPort, ...])
_grants = TypeAdapter(tuple[Grant, ...])
_checkout = TypeAdapter(Checkout | None)
_defaults = TypeAdapter(Defaults)
_pool = TypeAdapter(Pool)


def from_machine(machine: Machine) -> dict[str, Any]:
    """All columns of `machines`."""
    return {
        "id": machine.id,
        "tenant": machine.tenant,
        "name": machine.name,
        "state": machine.state.value,
        "reason": machine.reason,
        "spec": _spec.dump_python(machine.spec, mode="json"),
        "labels": dict(machine.labels),
        "timers": _timers.dump_python(machine.timers, mode="json"),
        "created_at": machine.created_at,
        "updated_at": machine.updated_at,
        "ready_at": machine.ready_at,
        "last_activity_at": machine.last_activity_at,
        "persistence": machine.persistence.value,
        "priority": machine.priority,
        "parent": machine.parent,
        "snapshot": machine.snapshot,
        "suspended_at": machine.suspended_at,
        "metadata": dict(machine.metadata),
        "ports": _ports.dump_python(machine.ports, mode="json"),
        "token_generation": machine.token_generation,
        "share_generation": machine.share_generation,
        "checkout": _checkout.dump_python(machine.checkout, mode="json"),
        "wakes_on_traffic": machine.wakes_on_traffic,
        "starts_on_traffic": machine.starts_on_traffic,
        "private_traffic": machine.private_traffic,
        "grants": _grants.dump_python(machine.grants, mode="json"),
        "ends_on": machine.ends_on.value,
        "build": machine.build,
        "is_recreated": machine.is_recreated,
    }


def to_machine(row: Row) -> Machine:
    """From all columns of `machines`."""
    columns = dict(row)
    return Machine(
        **columns
        | {
            "state": State(columns["state"]),
            "spec": _spec.validate_python(columns["spec"]),
            "timers": _timers.validate_python(columns["timers"]),
            "persistence": Persistence(columns["persistence"]),
            "ports": _ports.validate_python(columns["ports"]),
            "grants": _grants.validate_python(columns["grants"]),
            "checkout": _checkout.validate_python(columns["checkout"]),
            "ends_on": EndsOn(columns["ends_on"]),
        }
    )


def from_event(event: Event) -> dict[str, Any]:
    """All columns of `events` but the position, which the database gives; the tenant is its machine's."""
    return {
        "id": event.id,
        "machine": event.machine,
        "level": event.level.value,
        "message": event.message,
        "created_at": event.created_at,
        "kind": event.kind,
        "tenant": sa.select(machines.c.tenant).where(machines.c.id == event.machine).scalar_subquery(),
        "snapshot": event.snapshot,
    }


def to_event(row: Row) -> Event:
    """From all columns of `events`."""
    its = (row["id"], row["machine"], Level(row["level"]), row["message"], row["created_at"], row["kind"])
    return Event(*its, row["snapshot"])


def from_key(stored: StoredKey) -> dict[str, Any]:
    """All columns of `keys`."""
    key = stored.key
    return {
        "id": key.id,
        "tenant": key.tenant,
        "hash": stored.hash,
        "prefix": key.prefix,
        "scopes": sorted(key.scopes),
        "description": key.description,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }


def to_key(row: Row) -> StoredKey:
    """From all columns of `keys`."""
    columns = dict(row)
    digest = columns.pop("hash")
    return StoredKey(ApiKey(**columns | {"scopes": frozenset(columns["scopes"])}), digest)


def from_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """All columns of `snapshots`."""
    return {
        "id": snapshot.id,
        "tenant": snapshot.tenant,
        "name": snapshot.name,
        "machine": snapshot.machine,
        "spec": _spec.dump_python(snapshot.spec, mode="json"),
        "created_at": snapshot.created_at,
        "size": snapshot.size,
        "damage": list(snapshot.damage),
        "verified_at": snapshot.verified_at,
        "metadata": dict(snapshot.metadata),
        "persistence": snapshot.persistence.value,
        "priority": snapshot.priority,
        "build": snapshot.build,
        "recipe": snapshot.recipe,
        "defaults": _defaults.dump_python(snapshot.defaults, mode="json"),
        "used_at": snapshot.used_at,
        "deleted_at": snapshot.deleted_at,
    }


def to_snapshot(row: Row) -> Snapshot:
    """From all columns of `snapshots`."""
    columns = dict(row)
    return Snapshot(
        **columns
        | {
            "spec": _spec.validate_python(columns["spec"]),
            "damage": tuple(columns["damage"]),
            "persistence": Persistence(columns["persistence"]),
            "defaults": _defaults.validate_python(columns["defaults"]),
        }
    )


def from_pool(pool: Pool) -> dict[str, Any]:
    """All columns of `pools`."""
    moments = {"created_at": pool.created_at, "updated_at": pool.updated_at}
    row: dict[str, Any] = _pool.dump_python(pool, mode="json")
    return row | moments


def to_pool(row: Row) -> Pool:
    """From all columns of `pools`."""
    return _pool.validate_python(dict(row))


def from_interval(interval: Interval) -> dict[str, Any]:
    """All columns of `intervals` but the position, which the database gives."""
    rate = interval.rate
    return {
        "subject": interval.subject,
        "tenant": interval.tenant,
        "charge": interval.charge.value,
        "start": interval.start,
        "until": interval.until,
        "is_open": interval.is_open,
        "cpus": rate.cpus,
        "memory_mib": rate.memory_mib,
        "disk_gib": rate.disk_gib,
    }


def to_interval(row: Row) -> Interval:
    """From all columns of `intervals`."""
    return Interval(
        row["subject"],
        row["tenant"],
        Charge(row["charge"]),
        row["start"],
        row["until"],
        row["is_open"],
        Rate(row["cpus"], row["memory_mib"], row["disk_gib"]),
    )
