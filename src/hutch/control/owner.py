"""The one task that changes a machine, and the queue before it.

Only while there is something to do is there a task, so ten thousand machines at rest cost none. Callers wait for an
operation's end without owning it: one that goes away ends nothing.
"""

import asyncio
import contextlib

import structlog

from hutch.control import policy
from hutch.control.lifecycle import Lifecycle
from hutch.control.operation import Ended, Operation
from hutch.control.policy import Answer, Verb
from hutch.control.records import Entry
from hutch.model import errors

log = structlog.get_logger(__name__)


class Owner:
    """Serialises what happens to one machine."""

    def __init__(self, entry: Entry, lifecycle: Lifecycle) -> None:
        self._entry = entry
        self._lifecycle = lifecycle
        self._waiting: list[Operation] = []  # the running one first
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Owner of {self._entry!r} {self._waiting}>"

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way or waiting."""
        return not self._waiting

    def is_only(self, verbs: frozenset[Verb]) -> bool:
        """Whether nothing but these is under way or waiting."""
        return all(operation.verb in verbs for operation in self._waiting)

    def submit(self, operation: Operation) -> Operation | None:
        """Accept it: the operation to wait for, or None if there is nothing to do. Raises why it is refused."""
        verb, machine = operation.verb, self._entry.machine
        answer = policy.decide(verb, machine.state, [other.verb for other in self._waiting])
        refused = policy.refusal(answer, verb, machine.id, machine.state, machine.reason)
        if refused is not None:
            raise refused
        if answer is Answer.NOTHING:
            return None
        if answer is Answer.JOIN and operation.is_like(self._waiting[-1]):
            return self._waiting[-1]
        self.end(policy.ENDS[verb], f"a {verb}")
        self._waiting.append(operation)
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name=f"owner of {machine.id}")
        return operation

    def end(self, verbs: frozenset[Verb], by: str) -> None:
        """End what is under way or waiting, of these kinds."""
        for operation in self._waiting:
            if operation.verb in verbs:
                operation.end(by)

    async def wait_idle(self, limit: float) -> None:
        """Return when all is done; what is not within `limit` seconds is cut short."""
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=limit)
        for task in late:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._do(self._waiting[0])
                self._waiting.pop(0)
        finally:
            self._task = None
            for operation in self._waiting:
                operation.done.set_exception(errors.HutchError("the service is shutting down"))
            self._waiting.clear()

    async def _do(self, operation: Operation) -> None:
        """Perform it and tell its callers; nothing it raises gets out."""
        try:
            if operation.ended_by is not None:
                raise Ended
            await self._lifecycle.perform(self._entry, operation)
        except Ended:
            operation.done.set_exception(operation.ended_error())
        except errors.HutchError as error:
            log.info("refused or failed", verb=operation.verb, machine=self._entry.machine.id, error=error.message)
            operation.done.set_exception(error)
        except Exception as error:
            log.exception("unexpected error", verb=operation.verb, machine=self._entry.machine.id)
            internal = errors.HutchError()
            internal.__cause__ = error
            operation.done.set_exception(internal)
        else:
            operation.done.set_result(self._entry.machine)
