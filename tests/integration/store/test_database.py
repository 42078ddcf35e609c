"""What only the real database can show: its schema, its file, and a process that dies."""

import asyncio
import dataclasses
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId, TenantId
from hutch.model.keys import Limits, Tenant
from hutch.model.machine import Defaults, Persistence, Timers
from hutch.store import migrations, tables
from hutch.store.database import Database
from hutch.store.interface import EventQuery

SPEC = """{
    "image": {"reference": "alpine", "digest": "d"},
    "resources": {"cpus": 1, "memory_mib": 64, "disk_gib": 1},
    "hostname": "h"
}"""


def url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}/hutch.db"


def test_the_migrations_make_exactly_the_tables_that_are_declared(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/hutch.db")
    with engine.begin() as connection:
        migrations.upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_the_migrations_make_exactly_the_indexes_and_constraints_that_are_declared(tmp_path: Path) -> None:
    migrated, declared = (sa.create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("migrated", "declared"))
    with migrated.begin() as connection:
        migrations.upgrade(connection)
    tables.metadata.create_all(declared)
    assert shape(migrated) == shape(declared)
    migrated.dispose()
    declared.dispose()


def shape(engine: sa.Engine) -> dict[str, object]:
    seen = sa.inspect(engine)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in seen.get_columns(table)],
            sorted(
                (
                    str(index["name"]),
                    index["column_names"],
                    index["unique"],
                    str(index["dialect_options"].get("sqlite_where")),
                )
                for index in seen.get_indexes(table)
            ),
            seen.get_pk_constraint(table),
            seen.get_foreign_keys(table),
            sorted(str(constraint) for constraint in seen.get_unique_constraints(table)),
        )
        for table in seen.get_table_names()
        if table != "alembic_version"
    }


async def test_a_migration_that_fails_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (id INTEGER)")
        raise errors.DiskFull

    monkeypatch.setattr(migrations, "upgrade", broken)
    store = Database(url(tmp_path))
    with pytest.raises(errors.DiskFull):
        await store.open()
    await store.close()
    with sqlite3.connect(tmp_path / "hutch.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()


async def test_the_file_is_in_wal_mode_and_holds_to_its_foreign_keys(tmp_path: Path) -> None:
    store = Database(url(tmp_path))
    await store.open()
    async with store._transaction() as connection:
        values = [
            (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert values == ["wal", 1, 1, 10_000]
    await store.close()


async def test_many_calls_at_once_wait_for_each_other(tmp_path: Path) -> None:
    store = Database(url(tmp_path))
    await store.open()
    await asyncio.gather(*(store.ping() for _ in range(200)))
    await store.close()


async def test_who_goes_away_in_the_middle_of_a_call_leaves_the_database_to_others(tmp_path: Path) -> None:
    store = Database(url(tmp_path))
    await store.open()
    for turns in range(40):
        others = [asyncio.create_task(store.load()), asyncio.create_task(store.touch({}, {}, {}))]
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        for other in others:
            other.cancel()
        async with asyncio.timeout(60):
            await store.ping()
    gone = asyncio.create_task(store.add_tenant(Tenant(TenantId("t"), "t", datetime(2026, 1, 1, tzinfo=UTC))))
    await asyncio.sleep(0)
    gone.cancel()
    await store.close()
    await store.open()
    assert [it.name for it in (await store.load()).tenants] == ["t"]
    await store.close()


async def test_a_database_that_cannot_be_opened_is_a_typed_error(tmp_path: Path) -> None:
    store = Database(url(tmp_path / "missing"))
    with pytest.raises(errors.HutchError, match="database"):
        await store.open()
    await store.close()


async def test_a_closed_store_says_so() -> None:
    with pytest.raises(errors.HutchError, match="closed"):
        await Database("sqlite+aiosqlite:///nowhere").ping()


def _make_first_version(path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{path}/hutch.db")
    with engine.begin() as connection:
        migrations.upgrade(connection, "0001")
        connection.exec_driver_sql("INSERT INTO tenants VALUES ('t', 't', '2026-01-01 00:00:00')")
        for name, ephemeral, timers in (("gone", 1, '{"idle_stop": 9, "lifetime": 99}'), ("kept", 0, "{}")):
            connection.exec_driver_sql(
                "INSERT INTO machines VALUES (?, 't', ?, 'stopped', NULL, ?, '{}', ?, ?, ?, ?, NULL, NULL)",
                (name, name, SPEC, ephemeral, timers, "2026-01-01 00:00:00", "2026-01-01 00:00:00"),
            )
    engine.dispose()


async def test_a_database_of_the_first_version_is_carried_over(tmp_path: Path) -> None:
    _make_first_version(tmp_path)
    store = Database(url(tmp_path))
    await store.open()
    machines = {machine.name: machine for machine in (await store.load()).machines}
    await store.close()
    assert machines["gone"].persistence is Persistence.EPHEMERAL
    assert machines["kept"].persistence is Persistence.PERSISTENT
    assert machines["gone"].timers == Timers(idle=9, lifetime=99)
    assert machines["kept"].timers == Timers()


async def test_the_usage_of_machines_that_were_there_before_begins_with_what_is_known_of_them(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/hutch.db")
    with engine.begin() as connection:
        migrations.upgrade(connection, "0002")
        connection.exec_driver_sql("INSERT INTO tenants VALUES ('t', 't', '2026-01-01 00:00:00')")
        for state in ("running", "paused", "stopped", "destroyed"):
            connection.exec_driver_sql(
                "INSERT INTO machines (id, tenant, name, state, spec, labels, timers, created_at, updated_at, ready_at)"
                " VALUES (?, 't', ?, ?, ?, '{}', '{}', '2026-01-01', '2026-01-03', '2026-01-02')",
                (state, state, state, SPEC),
            )
    engine.dispose()
    store = Database(url(tmp_path))
    await store.open()
    (tenant,) = (await store.load()).tenants
    found = await store.list_intervals(tenant.created_at, tenant.created_at + timedelta(days=9), tenant.id)
    await store.close()
    assert (tenant.is_suspended, tenant.limits) == (False, Limits())
    assert {(it.subject, it.charge.value, it.start.day) for it in found} == {
        ("running", "disk", 1),
        ("running", "running", 2),
        ("paused", "disk", 1),
        ("paused", "paused", 3),
        ("stopped", "disk", 1),
    }


async def test_events_that_were_there_before_have_their_tenant_and_their_snapshot(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/hutch.db")
    with engine.begin() as connection:
        migrations.upgrade(connection, "0003")
        for line in (
            "INSERT INTO tenants (id, name, created_at) VALUES ('t', 't', '2026-01-01')",
            "INSERT INTO machines (id, tenant, name, state, spec, labels, timers, created_at, updated_at)"
            f" VALUES ('m', 't', 'm', 'stopped', '{SPEC}', '{{}}', '{{}}', '2026-01-01', '2026-01-01')",
            "INSERT INTO snapshots (id, tenant, name, machine, spec, created_at, size, damage)"
            f" VALUES ('s', 't', 'kept', 'm', '{SPEC}', '2026-01-01', 1, '[]')",
            "INSERT INTO events (id, machine, level, message, created_at, kind) VALUES"
            " ('e', 'm', 'info', 'snapshot kept was made of it', '2026-01-01', 'machine.snapshotted'),"
            " ('f', 'm', 'info', 'snapshot lost was made of it', '2026-01-01', 'machine.snapshotted')",
        ):
            connection.exec_driver_sql(line)
    engine.dispose()
    store = Database(url(tmp_path))
    await store.open()
    found = await store.find_events(EventQuery(TenantId("t"), newest_first=False))
    await store.close()
    assert [(it.id, it.snapshot) for it in found] == [("e", "s"), ("f", None)]


async def test_snapshots_that_were_there_before_are_kept_and_a_name_is_free_once_one_is_deleted(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/hutch.db")
    with engine.begin() as connection:
        migrations.upgrade(connection, "0004")
        connection.exec_driver_sql("INSERT INTO tenants (id, name, created_at) VALUES ('t', 't', '2026-01-01')")
        connection.exec_driver_sql(
            "INSERT INTO snapshots (id, tenant, name, machine, spec, created_at, size, damage)"
            f" VALUES ('s', 't', 'kept', 'm', '{SPEC}', '2026-01-01', 1, '[]')"
        )
    engine.dispose()
    store = Database(url(tmp_path))
    await store.open()
    (kept,) = (await store.load()).snapshots
    again = dataclasses.replace(kept, id=SnapshotId("again"))
    with pytest.raises(errors.Conflict):
        await store.add_snapshot(again)
    await store.save_snapshot(dataclasses.replace(kept, deleted_at=kept.created_at))
    await store.add_snapshot(again)
    found = list((await store.load()).snapshots)
    await store.close()
    assert (kept.persistence, kept.defaults) == (Persistence.PERSISTENT, Defaults())
    assert found == [again]


async def plans(store: Database, work: Callable[[], Awaitable[object]]) -> str:
    """How SQLite finds the rows of what this asks."""
    asked: list[tuple[str, Any]] = []

    def note(_1: object, _2: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    assert store._connected is not None
    engine = store._connected.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    await work()
    sa.event.remove(engine, "before_cursor_execute", note)
    async with store._transaction() as connection:
        lines = [await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {line}", values) for line, values in asked]
        return "; ".join(str(row[3]) for found in lines for row in found)


async def test_one_machines_events_and_execs_are_found_without_its_tenants(tmp_path: Path) -> None:
    store, tenant, machine = Database(url(tmp_path)), TenantId("t"), MachineId("m")
    await store.open()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    of_one = await plans(store, lambda: store.find_events(EventQuery(tenant, machine)))
    of_all = await plans(store, lambda: store.find_events(EventQuery(tenant)))
    execs = await plans(store, lambda: store.list_execs(now, now, tenant, machine))
    intervals = await plans(store, lambda: store.list_intervals(now, now, tenant, machine))
    destroyed = await plans(store, lambda: store.list_destroyed_machines(tenant, 9))
    deleted = await plans(store, lambda: store.list_deleted_snapshots(tenant, 9))
    await store.close()
    assert "ix_events_machine_position" in of_one
    assert "ix_events_tenant_position" in of_all
    assert "(machine=? AND minute>? AND minute<?)" in execs
    assert "ix_intervals_subject" in intervals
    assert "ix_machines_destroyed" in destroyed
    assert "ix_snapshots_deleted" in deleted
