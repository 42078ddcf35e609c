"""One accepted request to change a machine, from its place in the queue to its end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hutch.control.policy import Verb
from hutch.model import errors
from hutch.model.machine import Machine

T = TypeVar("T")


class Ended(Exception):
    """Another request made this one pointless while it was under way."""


class Operation:
    """`done` holds the machine as it is after it, or the error; any number of callers wait for it, shielded."""

    def __init__(self, verb: Verb, cause: str) -> None:
        self.verb = verb
        self.cause = cause  # why, for the event: "asked for", "idle for 300 s"
        self.done: asyncio.Future[Machine] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(_retrieve)
        self.ended_by: str | None = None
        self._acting: asyncio.Task[Any] | None = None

    def __repr__(self) -> str:
        return f"<Operation {self.verb}{f' ended by {self.ended_by}' if self.ended_by else ''}>"

    async def act(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the one part that may be interrupted: the host's. Raises `Ended`, after the host has tidied up."""
        if self.ended_by is not None:
            work.close()
            raise Ended
        acting: asyncio.Task[T] = asyncio.create_task(work)
        self._acting = acting
        try:
            return await acting
        except asyncio.CancelledError:
            if self.ended_by is None:
                raise
            raise Ended from None
        finally:
            self._acting = None

    def end(self, by: str) -> None:
        """Interrupt it, or drop it before it begins."""
        self.ended_by = self.ended_by or by
        if self._acting is not None:
            self._acting.cancel()

    def ended_error(self) -> errors.Conflict:
        """What its callers are told."""
        return errors.Conflict(f"the {self.verb} was ended by {self.ended_by}")


def _retrieve(done: asyncio.Future[Machine]) -> None:
    """An error that nobody waits for any more is no news: its event is recorded."""
    if not done.cancelled():
        done.exception()
