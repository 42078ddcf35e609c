"""Doing a request once, however often it is sent: the same key and body give the same result for 24 hours.

What is made has its id before it is made. Whoever makes something within a request tells that id here first
(`expect`), so after a crash it is known what the request has begun: if all of it is there the request is done, else it
never was.
"""

import asyncio
import contextvars
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from datetime import timedelta
from typing import Any

import structlog

from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.keys import Principal
from hutch.model import errors
from hutch.model.ids import TenantId
from hutch.store.interface import Attempt, Store

log = structlog.get_logger(__name__)

KEPT = timedelta(hours=24)
KEY_LENGTH = 255

_current: contextvars.ContextVar["_Current | None"] = contextvars.ContextVar("idempotency", default=None)


class _Current:
    """The attempt that is under way in this task, and in those it began."""

    def __init__(self, store: Store, attempt: Attempt) -> None:
        self._store = store
        self.attempt = attempt

    async def expect(self, ids: Collection[str]) -> None:
        if self.attempt.expected is None:
            self.attempt = dataclasses.replace(self.attempt, expected=",".join(ids))
            await self._store.save_attempt(self.attempt)


async def expect(ids: Collection[str]) -> None:
    """These are about to be made. Nothing, if no request with a key is under way here."""
    current = _current.get()
    if current is not None:
        await current.expect(ids)


class Idempotency:
    """The idempotency keys of all tenants."""

    def __init__(self, store: Store, clock: Clock, background: Background, is_made: Callable[[str], bool]) -> None:
        self._store = store
        self._clock = clock
        self._background = background
        self._is_made = is_made  # whether a thing of this id is there, whole
        self._under_way: dict[tuple[TenantId, str], tuple[Attempt, asyncio.Task[str]]] = {}

    async def settle(self, attempts: Iterable[Attempt]) -> None:
        """What the last service left without a result."""
        for attempt in attempts:
            await self._settle(attempt)

    async def _settle(self, attempt: Attempt) -> str | None:
        """The result of an attempt that nobody works on: what it was to make if that is there; else it is undone."""
        if attempt.result is not None:
            return attempt.result
        if attempt.expected is not None and all(self._is_made(id) for id in attempt.expected.split(",")):
            await self._store.save_attempt(dataclasses.replace(attempt, result=attempt.expected))
            return attempt.expected
        await self._store.remove_attempt(attempt.tenant, attempt.key)
        return None

    async def once(
        self, principal: Principal, key: str | None, operation: str, body: bytes, work: Callable[[], Awaitable[str]]
    ) -> str:
        """The result of `work` (the ids of what it made, with commas), or that of the request with this key before.

        Duplicates at the same time wait for the first. A failure is not kept. If the caller goes away the work goes
        on. Across a restart: the key is recorded before the work begins and the result after; what a crash left
        without a result is done if what it was to make is there, and forgotten if not.
        Needs `machine:create`. `IdempotencyMismatch` for another operation or body; `InvalidRequest` for a key that is
        empty or longer than 255. `key` None: just do it.
        """
        principal.require("machine:create")  # what was made before is told only to those who could make it
        if key is None:
            return await work()
        if not 1 <= len(key) <= KEY_LENGTH:
            raise errors.InvalidRequest(f"the idempotency key has {len(key)} characters: 1 to {KEY_LENGTH}")
        digest = hashlib.sha256(body).digest()
        attempt = Attempt(principal.tenant, key, operation, digest, self._clock.now())
        known = self._under_way.get((principal.tenant, key))
        if known is None:
            known = attempt, self._begin(attempt, work)
        _check(known[0], attempt)
        return await asyncio.shield(known[1])

    def _begin(self, attempt: Attempt, work: Callable[[], Awaitable[str]]) -> asyncio.Task[str]:
        place = (attempt.tenant, attempt.key)
        task = self._background.keep(self._do(attempt, work))
        self._under_way[place] = attempt, task
        task.add_done_callback(lambda _: self._under_way.pop(place, None))
        return task

    async def _do(self, attempt: Attempt, work: Callable[[], Awaitable[str]]) -> str:
        before = await self._store.get_attempt(attempt.tenant, attempt.key)
        if before is not None and before.created_at + KEPT > attempt.created_at:
            _check(before, attempt)
            result = await self._settle(before)
            if result is not None:
                return result
        elif before is not None:
            await self._store.remove_attempt(attempt.tenant, attempt.key)
        await self._store.add_attempt(attempt)
        current = _Current(self._store, attempt)
        _current.set(current)
        try:
            result = await work()
        except Exception:
            await self._write("forgotten", self._store.remove_attempt(attempt.tenant, attempt.key))
            raise
        await self._write("kept", self._store.save_attempt(dataclasses.replace(current.attempt, result=result)))
        return result

    async def _write(self, what: str, write: Coroutine[Any, Any, None]) -> None:
        """It is done either way; when it is asked for again, what was expected tells."""
        try:
            await write
        except errors.HutchError as error:
            log.warning(f"a request that is to be done once could not be {what}", error=error.message)


def _check(before: Attempt, now: Attempt) -> None:
    if (before.operation, before.body) != (now.operation, now.body):
        raise errors.IdempotencyMismatch(
            f"the idempotency key {now.key[:80]!a} was used before for another request: use a new key for a new request"
        )
