"""The steps of a resize: the disk grows where it is; other vCPUs or another memory need a boot.

    suspended ──► running, paused ──► stopping ──► stopped ──(host.reshape)──► starting ──► running
                                                      ▲      there it stays,      │ failed: it has its former size,
                                           failed ────┘      unless it ran        ▼ and is started so

The board can plug in neither, so what is in memory is lost and the disk is kept: also what the guest has not written
yet, for which a suspended one is woken. Whether the new size fits is found out before anything is stopped.
"""

import contextlib
import dataclasses

from hutch.control import quotas
from hutch.control.operation import Ended, Operation, Resize
from hutch.control.records import Entry
from hutch.control.starting import Starting
from hutch.control.steps import HAS_PROCESS, Steps
from hutch.control.stopping import Stopping
from hutch.model import errors
from hutch.model.kinds import Kind
from hutch.model.machine import Level, Machine, Resources
from hutch.model.states import State


class Resizing:
    """Takes these steps."""

    def __init__(self, steps: Steps, starting: Starting, stopping: Stopping) -> None:
        self._steps = steps
        self._starting = starting
        self._stopping = stopping
        self._records = steps.records
        self._host = steps.host

    async def resize(self, entry: Entry, operation: Resize) -> None:
        """Raises why it is not so. A disk that has grown before that stays so, and so does what its host has done."""
        machine = entry.machine
        has = machine.spec.resources
        wanted = operation.resize(has)
        with self._steps.quotas.claim(machine.tenant, {machine.id: quotas.of_machine(_with(machine, wanted))}):
            try:
                if machine.state is State.RUNNING:
                    await self._steps.admission.enlarge(machine.id, wanted.memory_mib)
                if wanted.disk_gib != has.disk_gib:
                    await self._grow(entry, operation, wanted.disk_gib)
                if (wanted.cpus, wanted.memory_mib) != (has.cpus, has.memory_mib):
                    await self._reshape(entry, operation, wanted)
            except (Ended, errors.HutchError):
                await self._settle(entry)
                raise
            finally:
                self._steps.count(entry, self._steps.real(entry))

    async def outgrow(self, entry: Entry, operation: Operation, saved: Resources) -> None:
        """One that is just being made of a snapshot with this much gets what its record says, and is at rest then.

        It goes on for a moment, to write what it holds. Raises why it has not got it; it is to be removed then.
        """
        machine, its, admission = entry.machine, entry.machine.spec.resources, self._steps.admission
        use = quotas.of_machine(_with(machine, saved), is_up=True)
        with self._steps.quotas.claim(machine.tenant, {machine.id: use}):
            await admission.admit(machine.id, saved.memory_mib)
            try:
                await operation.act(self._host.start(machine.id))
                await operation.act(self._host.stop(machine.id, self._steps.stop_grace))
                await self._host.reshape(machine.id, its.cpus, its.memory_mib)
            finally:
                admission.release(machine.id)

    async def _settle(self, entry: Entry) -> None:
        """The size that is recorded is what its host says, if that can be written."""
        real = self._steps.real(entry)
        if real is not None:
            with contextlib.suppress(errors.HutchError):
                await self._steps.settle_size(entry, real)

    async def _grow(self, entry: Entry, operation: Operation, disk_gib: int) -> None:
        try:
            await operation.act(self._host.resize(entry.machine.id, disk_gib))
        except Ended:
            raise
        except Exception as error:
            raise await self._refused(entry, error) from error
        spec = _with(entry.machine, dataclasses.replace(entry.machine.spec.resources, disk_gib=disk_gib)).spec
        await self._records.update(entry, f"its disk has {disk_gib} GiB now", Kind.RESIZED, spec=spec)

    async def _reshape(self, entry: Entry, operation: Operation, wanted: Resources) -> None:
        was, had = entry.machine.state, entry.machine.spec.resources
        if was is State.SUSPENDED:
            await self._starting.start(entry, operation)
        if entry.machine.state in HAS_PROCESS:
            await self._stopping.shut_down(entry, operation)
            if was is State.RUNNING:
                self._steps.admission.hold(entry.machine.id, wanted.memory_mib)  # nobody else gets it meanwhile
            await self._stopping.note_stopped(entry)
        try:
            await self._host.reshape(entry.machine.id, wanted.cpus, wanted.memory_mib)  # a line in a journal: not ended
        except Exception as error:
            told = await self._refused(entry, error)
            if was is State.RUNNING:
                await self._start_again(entry, operation)
            raise told from error
        try:
            await self._record(entry, wanted, "its disk is kept")
            if was is State.RUNNING:
                await self._starting.start(entry, operation)
        except errors.HutchError as error:
            await self._undo(entry, had, error)
            if was is State.RUNNING:
                await self._start_again(entry, operation)
            raise

    async def _record(self, entry: Entry, its: Resources, how: str) -> None:
        spec = _with(entry.machine, its).spec
        message = f"it has {its.cpus} vCPUs and {its.memory_mib} MiB of memory now: {how}"
        await self._records.update(entry, message, Kind.RESIZED, spec=spec)

    async def _undo(self, entry: Entry, had: Resources, error: errors.HutchError) -> None:
        """Its size is what it was. If that fails it is the new one, which is no reason not to start it again."""
        with contextlib.suppress(errors.HutchError):
            await self._host.reshape(entry.machine.id, had.cpus, had.memory_mib)
            if entry.machine.spec.resources != had:
                await self._record(entry, had, f"as before, because it failed with another size ({error.message})")

    async def _start_again(self, entry: Entry, operation: Operation) -> None:
        """As it was before. If that fails too, its state and its events tell."""
        with contextlib.suppress(errors.HutchError):
            await self._starting.start(entry, operation)

    async def _refused(self, entry: Entry, error: Exception) -> errors.HutchError:
        told = self._steps.told(entry, error)
        await self._settle(entry)
        await self._records.note(entry, f"not resized: {told.message}", Level.WARNING, Kind.REFUSED)
        return told


def _with(machine: Machine, resources: Resources) -> Machine:
    return dataclasses.replace(machine, spec=dataclasses.replace(machine.spec, resources=resources))
