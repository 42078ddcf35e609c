"""A connection to the database: the engine, transactions, and the one place where its errors become ours."""

import asyncio
import contextlib
import functools
import inspect
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hutch.model import errors
from hutch.store import migrations, rows

_BUSY_TIMEOUT_MS = 10_000

T = TypeVar("T")


class Connected:
    """What every part of the database's queries works through."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connected: AsyncEngine | None = None
        self._calls: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        await _check_sqlite(sa.make_url(self._url))
        with _told():
            self._connected = _engine(self._url)
            async with self._connected.begin() as connection:
                await connection.run_sync(migrations.upgrade)

    async def close(self) -> None:
        if self._calls:
            await asyncio.wait(self._calls, timeout=_BUSY_TIMEOUT_MS / 1000)
        engine, self._connected = self._connected, None
        if engine is not None:
            await engine.dispose()

    async def _finish(self, call: Coroutine[Any, Any, T]) -> T:
        """Do it to its end, also when the caller is cancelled."""
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have gone

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        if self._connected is None:
            raise errors.HutchError("the database is closed")
        with _told():
            async with self._connected.begin() as connection:
                yield connection

    async def _do(self, *statements: sa.Executable) -> None:
        """All in one transaction."""
        async with self._transaction() as connection:
            for statement in statements:
                await connection.execute(statement)

    async def _insert(self, table: sa.Table, row: dict[str, Any], refused: str) -> None:
        """`Conflict` with these words if a rule of the schema forbids it."""
        await self._write(sa.insert(table).values(row), refused)

    async def _write(self, statement: sa.Insert | sa.Update, refused: str) -> None:
        """The same of any change."""
        async with self._transaction() as connection:
            with refused_as(refused):
                await connection.execute(statement)

    async def _find(self, query: sa.Select[Any]) -> Sequence[rows.Row]:
        async with self._transaction() as connection:
            return await find(connection, query)


def uncut(cls: type[T]) -> type[T]:
    """Have every call of a store go on to its end when its caller is cancelled.

    A transaction that is cut short leaves SQLAlchemy without its connection, and SQLite with the lock.
    """
    for name, method in inspect.getmembers(cls, inspect.iscoroutinefunction):
        if not name.startswith("_") and name not in ("open", "close"):
            setattr(cls, name, _finishing(method))
    return cls


def _finishing(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def call(self: Connected, *arguments: Any, **named: Any) -> Any:
        return await self._finish(method(self, *arguments, **named))

    return call


async def find(connection: AsyncConnection, query: sa.Select[Any]) -> Sequence[rows.Row]:
    """All rows."""
    found: Sequence[Any] = (await connection.execute(query)).mappings().all()
    return found


def unindexed(column: sa.Column[str]) -> sa.ColumnElement[str]:
    """The same, where another column is known to leave fewer rows: SQLite keeps no statistics and may take either."""
    return sa.func.coalesce(column, "")


@contextlib.contextmanager
def refused_as(message: str) -> Iterator[None]:
    """A broken rule of the schema is the caller's conflict."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise errors.Conflict(message, database=str(error.orig)) from None


async def _check_sqlite(url: sa.URL) -> None:
    """Whether the file can be opened, asked first: aiosqlite leaves a thread behind when it cannot."""

    def touch() -> None:
        sqlite3.connect(url.database or "").close()

    if url.get_backend_name() == "sqlite":
        try:
            await asyncio.to_thread(touch)
        except sqlite3.Error as error:
            raise errors.HutchError(f"the database {url.database} cannot be opened: {error}") from None


def _engine(url: str) -> AsyncEngine:
    if sa.make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, pool_pre_ping=True)
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=60)
    sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    # Python's sqlite3 would begin no transaction before DDL; so it begins none, and `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The one place where the database's errors become ours."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        words = str(getattr(error, "orig", None) or error)
        if "disk is full" in words or "No space left" in words:
            raise errors.DiskFull("the database cannot be written: its disk is full", database=words) from error
        raise errors.HutchError("the database failed; the service's log has the details", database=words) from error
