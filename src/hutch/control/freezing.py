"""The steps that keep a machine's memory: pause, suspend, optimize, copy, put back.

    running ──► pausing ──► paused            running, paused ──► suspending ──► suspended
       ▲───────────┘ failed                          ▲─────────────────┘ failed

A copy leaves the state as it is, and what is optimized is suspended. A rollback goes through `suspending`: what it is
put back to is a suspended machine, which goes on from there if it ran before.
"""

import structlog

from hutch.control import policy
from hutch.control.operation import Copying, Ended, Operation, Rollback
from hutch.control.records import Entry
from hutch.control.starting import Starting
from hutch.control.steps import HAS_PROCESS, Steps
from hutch.model import errors
from hutch.model.ids import SnapshotId
from hutch.model.kinds import Kind
from hutch.model.machine import Level
from hutch.model.states import State

log = structlog.get_logger(__name__)


class Freezing:
    """Takes these steps."""

    def __init__(self, steps: Steps, starting: Starting) -> None:
        self._steps = steps
        self._starting = starting
        self._records = steps.records
        self._host = steps.host

    async def pause(self, entry: Entry, operation: Operation) -> None:
        """Raises why it runs on."""
        if entry.machine.state is State.PAUSED:
            return
        await self._records.transition(entry, State.PAUSING, f"pausing: {operation.cause}")
        try:
            await operation.act(self._host.pause(entry.machine.id))
        except Ended:
            raise  # only a deletion ends it, and that goes on from here
        except Exception as error:
            told = self._steps.told(entry, error)
            await self._steps.fall_back(entry, "not paused", told)
            raise told from error
        await self._records.transition(entry, State.PAUSED, "paused")

    async def suspend(self, entry: Entry, operation: Operation) -> None:
        """Raises why it is as it was."""
        machine = entry.machine.id
        if entry.machine.state is State.SUSPENDED:
            return
        if policy.ends_at_rest(entry.machine):
            await self._steps.remove(entry, f"deleting: it is ephemeral and is not to be suspended: {operation.cause}")
            return
        await self._steps.traffic.count(entry)
        await self._records.transition(entry, State.SUSPENDING, f"suspending: {operation.cause}")
        try:
            await self._steps.with_disk_room(lambda: operation.act(self._host.suspend(machine)))
        except Ended:
            raise
        except Exception as error:
            told = self._steps.told(entry, error)
            await self._steps.fall_back(entry, "not suspended", told)
            raise told from error
        self._steps.admission.release(machine)
        await self._records.transition(entry, State.SUSPENDED, "suspended")

    async def optimize(self, entry: Entry, operation: Operation) -> None:
        """Raises why it is as it was, or only suspended."""
        if entry.machine.state in HAS_PROCESS:
            if policy.ends_at_rest(entry.machine):
                raise errors.Conflict(
                    f"machine {entry.machine.id} is ephemeral: it would be deleted, as it is not to be suspended"
                )
            await self.suspend(entry, operation)
        try:
            await self._steps.with_disk_room(lambda: operation.act(self._host.optimize_machine(entry.machine.id)))
        except Ended:
            raise
        except Exception as error:
            told = self._steps.told(entry, error)
            await self._records.note(entry, f"not optimized: {told.message}", Level.WARNING, Kind.REFUSED)
            raise told from error
        await self._records.note(entry, "optimized: it and its copies share one memory file", kind=Kind.OPTIMIZED)

    async def copy(self, entry: Entry, operation: Copying) -> None:
        """Raises why there is no copy; the machine is as it was in any case."""
        machine, it = entry.machine.id, operation
        try:
            it.saved = await self._steps.with_disk_room(
                lambda: it.act(self._host.snapshot(machine, it.snapshot, it.transient))
            )
        except Ended:
            await self._drop(it.snapshot)
            raise
        except Exception as error:
            told = self._steps.told(entry, error)
            await self._drop(it.snapshot)
            await self._records.note(entry, f"not copied: {told.message}", Level.WARNING, Kind.REFUSED)
            raise told from error

    async def _drop(self, snapshot: SnapshotId) -> None:
        """It may have been made all the same. If it stays, the next service finds that no record tells of it."""
        try:
            await self._host.remove_snapshot(snapshot)
        except errors.HutchError as error:
            log.warning("a snapshot may be left behind", snapshot=snapshot, error=error.message)

    async def roll_back(self, entry: Entry, operation: Rollback) -> None:
        """Raises why it was not put back, or does not run after it."""
        was, snapshot = entry.machine.state, operation.snapshot
        await self._steps.traffic.count(entry)
        if was in HAS_PROCESS:
            await self._records.transition(entry, State.SUSPENDING, f"going back to snapshot {snapshot.name}")
        try:
            await operation.act(self._host.rollback(entry.machine.id, snapshot.id))
        except Ended:
            raise
        except Exception as error:
            told = self._steps.told(entry, error)
            await self._steps.fall_back(entry, f"not put back to snapshot {snapshot.name}", told)
            raise told from error
        self._steps.admission.release(entry.machine.id)
        entry.rollbacks += 1
        message = f"put back to snapshot {snapshot.name}"
        if was is State.SUSPENDED:
            await self._records.update(entry, message, Kind.ROLLED_BACK, suspended_at=self._steps.clock.now())
        else:
            await self._records.transition(entry, State.SUSPENDED, message, kind=Kind.ROLLED_BACK, reason=None)
        if was is State.RUNNING:
            await self._starting.start(entry, operation)
