"""Doing a request once, however often it is sent: the same key and body give the same result for 24 hours."""

from collections.abc import Awaitable, Callable

from hutch.control.keys import Principal


class Idempotency:
    """The idempotency keys of all tenants."""

    async def once(
        self, principal: Principal, key: str | None, operation: str, body: bytes, work: Callable[[], Awaitable[str]]
    ) -> str:
        """The result of `work` (ids, as text), or that of the request that was made with this key before.

        Duplicates at the same time wait for the first. A failure is not kept. Across a restart: the key is recorded
        before the work begins and the result after; one that a crash left without a result is `Conflict` until what
        it began is known. `IdempotencyMismatch` for another operation or body; `InvalidRequest` for a key that is
        empty or longer than 255. `key` None: just do it.
        """
        raise NotImplementedError
