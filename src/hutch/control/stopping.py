"""The steps of a stop, in order or at once, and of the stop that is a part of something else.

running, paused ──► stopping ──► stopped          suspended, failed ──► stopped
                       │ ephemeral
                       ▼
                   destroying ──► destroyed
"""

from hutch.control.operation import Ended, Operation
from hutch.control.policy import Verb
from hutch.control.records import Entry
from hutch.control.steps import HAS_PROCESS, Steps
from hutch.model.machine import Persistence
from hutch.model.states import State


class Stopping:
    """Brings a machine to `stopped`, from whatever state."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._records = steps.records
        self._host = steps.host

    async def stop(self, entry: Entry, operation: Operation) -> None:
        """Raises why it was not stopped."""
        await self.shut_down(entry, operation)
        if entry.machine.persistence is Persistence.EPHEMERAL:
            await self._steps.remove(entry, "deleting: it is ephemeral and has stopped")
        else:
            await self.note_stopped(entry)

    async def shut_down(self, entry: Entry, operation: Operation) -> None:
        """Its process ends; the record says `stopping`, or what it said of one without a process."""
        machine, records = entry.machine.id, self._records
        await self._steps.traffic.count(entry)
        if entry.machine.state in HAS_PROCESS:
            await records.transition(entry, State.STOPPING, f"stopping: {operation.cause}")
        grace = 0.0 if operation.verb is Verb.KILL else self._steps.stop_grace
        try:
            await operation.act(self._host.stop(machine, grace))
        except Ended:
            raise  # what ended it goes on from here
        except Exception as error:
            told = self._steps.told(entry, error)
            if entry.machine.state is State.STOPPING:
                await self._steps.fail(entry, "could not be stopped", told)
            raise told from error
        self._steps.admission.release(machine)
        if (real := self._steps.real(entry)) is not None:
            await self._steps.settle_size(entry, real)  # a resize that was ended may have been done by its host since

    async def note_stopped(self, entry: Entry) -> None:
        """It has no process."""
        if entry.machine.state is not State.STOPPED:
            await self._records.transition(entry, State.STOPPED, "stopped", reason=None)
