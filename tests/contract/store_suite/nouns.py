"""Nouns to put into a store."""

from datetime import UTC, datetime, timedelta

from hutch.model import ids
from hutch.model.builds import Build, BuildState
from hutch.model.domains import Domain
from hutch.model.ids import BuildId, KeyId, MachineId, TenantId
from hutch.model.jobs import Job, JobState
from hutch.model.keys import ApiKey, Tenant
from hutch.model.machine import (
    Event,
    ImageRef,
    Level,
    Machine,
    MachineSpec,
    NetworkMode,
    NetworkPolicy,
    Resources,
    Snapshot,
    Timers,
)
from hutch.model.states import State
from hutch.model.usage import Charge, Interval, Rate, Turn
from hutch.model.webhooks import Delivery, Webhook
from hutch.store.interface import StoredKey

NOW = datetime(2026, 3, 4, 5, 6, 7, 891234, UTC)
OURS = Tenant(TenantId("ours"), "ours", NOW)
THEIRS = Tenant(TenantId("theirs"), "theirs", NOW)


def a_machine(name: str = "web", tenant: Tenant = OURS, state: State = State.CREATING) -> Machine:
    spec = MachineSpec(
        ImageRef("alpine", "sha256:1"),
        Resources(1, 512, 20),
        hostname=name,
        network=NetworkPolicy(NetworkMode.ALLOW, cidrs=("10.0.0.0/8",)),
        env={"A": "ä"},
        command=("sleep", "1"),
    )
    return Machine(
        ids.new_machine_id(), tenant.id, name, spec, state, NOW, NOW, labels={"k": "v"}, timers=Timers(idle=9)
    )


def an_event(machine: Machine, message: str = "made") -> Event:
    return Event(ids.random_id(), machine.id, Level.INFO, message, NOW)


def a_key(id: str = "k1") -> StoredKey:
    key = ApiKey(KeyId(id), OURS.id, "smk", frozenset({"admin"}), "mine", NOW, expires_at=NOW + timedelta(days=1))
    return StoredKey(key, id.encode().ljust(32))


def a_snapshot(name: str = "before", tenant: Tenant = OURS) -> Snapshot:
    machine = a_machine()
    return Snapshot(ids.new_snapshot_id(), tenant.id, name, machine.id, machine.spec, NOW, size=2**40)


def an_interval(subject: str, charge: Charge = Charge.RUNNING, start: datetime = NOW) -> Interval:
    return Interval(subject, OURS.id, charge, start, start, is_open=True, rate=Rate(1, 512, 0))


def a_beginning(subject: str, charge: Charge = Charge.RUNNING, start: datetime = NOW) -> Turn:
    return Turn(subject, frozenset(), None, (an_interval(subject, charge, start),))


def a_job(machine: MachineId, id: str = "j") -> Job:
    return Job(id, machine, ("sleep", "1"), JobState.RUNNING, NOW)


def a_build(id: str = "b", tenant: Tenant = OURS, state: BuildState = BuildState.RUNNING) -> Build:
    planned = ("base", "layer 1")
    snapshot = ids.new_snapshot_id()
    return Build(BuildId(id), tenant.id, "ri-1", state, snapshot, None, "f" * 64, planned, NOW, NOW)


def a_webhook(id: str = "w") -> Webhook:
    return Webhook(id, OURS.id, "https://example.org/", "secret", ("machine.*",), NOW)


def a_delivery(id: str = "d", webhook: str = "w", **changes: datetime | None) -> Delivery:
    fields = {"created_at": NOW, "next_attempt_at": NOW} | changes
    return Delivery(id, webhook, "e", "machine.started", {"deep": [1, "ä"]}, **fields)  # type: ignore[arg-type]


def a_domain(machine: MachineId, name: str = "shop.example", tenant: Tenant = OURS) -> Domain:
    return Domain(name, tenant.id, machine, 8080, "token", NOW)
