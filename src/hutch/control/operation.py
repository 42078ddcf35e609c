"""One accepted request to change a machine, from its place in the queue to its end."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from hutch.control.brood import Brood
from hutch.control.policy import Verb
from hutch.host.interface import Died, SavedState
from hutch.model import errors
from hutch.model.ids import SnapshotId
from hutch.model.kinds import Kind
from hutch.model.machine import Machine, NetworkPolicy, Resources, Snapshot

T = TypeVar("T")


class Ended(Exception):
    """Another request made this one pointless while it was under way."""


class Operation:
    """`done` holds the machine as it is after it, or the error; any number of callers wait for it, shielded."""

    def __init__(self, verb: Verb, cause: str, prelude: Kind | None = None) -> None:
        self.verb = verb
        self.cause = cause  # why, for the event: "asked for", "idle for 300 s"
        self.prelude = prelude  # an event that tells the cause before anything is done: a timer, an eviction
        self.done: asyncio.Future[Machine] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(_retrieve)
        self.ended_by: str | None = None
        self._acting: asyncio.Task[Any] | None = None

    def __repr__(self) -> str:
        return f"<Operation {self.verb}{f' ended by {self.ended_by}' if self.ended_by else ''}>"

    def is_like(self, other: "Operation") -> bool:
        """Whether the end of another one, of the same kind, is its own answer."""
        return True

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


class Creation(Operation):
    """Make it: anew, suspended in a snapshot, or (with a brood) running from one, together with others.

    `saved` is what its snapshot has, where it may be something else than it is to have.
    """

    def __init__(
        self, snapshot: SnapshotId | None = None, brood: Brood | None = None, saved: Resources | None = None
    ) -> None:
        super().__init__(Verb.CREATE, "asked for")
        self.snapshot = snapshot
        self.brood = brood
        self.saved = saved


class Copying(Operation):
    """Keep a copy of it under this id; `saved` tells of it afterwards."""

    def __init__(self, snapshot: SnapshotId, transient: bool) -> None:
        super().__init__(Verb.SNAPSHOT, "asked for")
        self.snapshot = snapshot
        self.transient = transient
        self.saved: SavedState | None = None


class Rollback(Operation):
    """Put it back to this snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(Verb.ROLLBACK, "asked for")
        self.snapshot = snapshot


class Restart(Operation):
    """Stop it and start it again; if it `resumes`, one that is paused or suspended goes on where it was instead."""

    def __init__(self, resumes: bool) -> None:
        super().__init__(Verb.RESTART, "restarted")
        self.resumes = resumes

    def is_like(self, other: Operation) -> bool:
        return isinstance(other, Restart) and other.resumes == self.resumes


class Resize(Operation):
    """Give it what is named of these; the rest is as it is when its turn comes."""

    def __init__(self, disk_gib: int | None, cpus: int | None = None, memory_mib: int | None = None) -> None:
        is_disk_alone = cpus is None and memory_mib is None
        super().__init__(Verb.RESIZE if is_disk_alone else Verb.RESHAPE, "resized, which takes a boot")
        named = {"disk_gib": disk_gib, "cpus": cpus, "memory_mib": memory_mib}
        self._changes = {name: value for name, value in named.items() if value is not None}

    def resize(self, has: Resources) -> Resources:
        """What one with this much is to have."""
        return dataclasses.replace(has, **self._changes)


class Setting(Operation):
    """Other fields of its record, which its host knows nothing of: timers, published ports."""

    def __init__(self, kind: Kind, message: str, **changes: object) -> None:
        super().__init__(Verb.SET, "asked for")
        self.kind = kind
        self.message = message
        self.changes = changes


class Amending(Operation):
    """Other fields of its record, made of what it is when its turn comes; `change` returns the event's message too."""

    def __init__(self, kind: Kind, change: Callable[[Machine], tuple[str, Mapping[str, object]]]) -> None:
        super().__init__(Verb.SET, "asked for")
        self.kind = kind
        self.change = change


class Networking(Operation):
    """Give it this network policy."""

    def __init__(self, policy: NetworkPolicy) -> None:
        super().__init__(Verb.NETWORK, "asked for")
        self.policy = policy


class Death(Operation):
    """What the host told of a machine's end, in its place among the requests."""

    def __init__(self, died: Died) -> None:
        super().__init__(Verb.DIED, died.reason)
        self.died = died


def _retrieve(done: asyncio.Future[Machine]) -> None:
    """An error that nobody waits for any more is no news: its event is recorded."""
    if not done.cancelled():
        done.exception()
