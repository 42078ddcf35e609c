"""Rows of older versions are read: what came later has a default."""

from datetime import UTC, datetime
from typing import Any

from hutch.model.machine import NetworkMode, Timers
from hutch.store import rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_row(**changes: Any) -> dict[str, Any]:
    spec = {
        "image": {"reference": "alpine", "digest": "sha256:1"},
        "resources": {"cpus": 1, "memory_mib": 512, "disk_gib": 20},
        "hostname": "web",
    }
    row = {"id": "m", "tenant": "t", "name": "web", "state": "stopped", "reason": None, "spec": spec, "labels": {}}
    times = {"created_at": NOW, "updated_at": NOW, "ready_at": None, "last_activity_at": None}
    later = {"persistence": "sticky", "priority": 5, "parent": None, "snapshot": None, "suspended_at": None}
    later |= {"ports": [], "grants": [], "checkout": None, "ends_on": "rest", "build": None, "is_recreated": False}
    return row | times | later | {"timers": {}} | changes


def test_what_an_old_row_lacks_has_its_default() -> None:
    machine = rows.to_machine(a_row())
    assert (machine.timers, machine.spec.network.mode, machine.spec.command) == (Timers(), NetworkMode.OPEN, None)


def test_what_only_a_newer_version_knows_is_passed_over() -> None:
    assert rows.to_machine(a_row(timers={"idle": 9, "from_the_future": 1})).timers == Timers(idle=9)


def test_a_machine_is_the_same_after_both_ways() -> None:
    machine = rows.to_machine(a_row())
    assert rows.to_machine(rows.from_machine(machine)) == machine
