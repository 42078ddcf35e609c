"""The steps of a resize: the disk grows where it is; other vCPUs or another memory need a boot.

    running ──► stopping ──► stopped ──(host.reshape)──► starting ──► running
                                ▲                            │ failed: it has its former size, and is started so
    paused, suspended, failed ──┘ and there it stays

The board can plug in neither, so what is in memory is lost and the disk is kept. Whether the new size fits is found out
before anything is stopped.
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
        """Raises why it is not so; a disk that has grown before that stays so."""
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
            finally:
                self._steps.count(entry, self._steps.real(entry))

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
        if was in HAS_PROCESS:
            await self._stopping.shut_down(entry, operation)
            if was is State.RUNNING:
                self._steps.admission.hold(entry.machine.id, wanted.memory_mib)  # nobody else gets it meanwhile
            await self._stopping.note_stopped(entry)
        try:
            await operation.act(self._host.reshape(entry.machine.id, wanted.cpus, wanted.memory_mib))
        except Ended:
            raise
        except Exception as error:
            told = await self._refused(entry, error)
            if was is State.RUNNING:
                await self._start_again(entry, operation)
            raise told from error
        try:
            await self._record(entry, wanted, "its disk is kept")
        except errors.HutchError:
            await self._host.reshape(entry.machine.id, had.cpus, had.memory_mib)
            raise
        if was is State.RUNNING:
            await self._start(entry, operation, had)

    async def _record(self, entry: Entry, its: Resources, how: str) -> None:
        spec = _with(entry.machine, its).spec
        message = f"it has {its.cpus} vCPUs and {its.memory_mib} MiB of memory now: {how}"
        if entry.machine.state is State.SUSPENDED:  # its memory went with its size
            await self._records.transition(entry, State.STOPPED, message, kind=Kind.RESIZED, spec=spec)
        else:
            await self._records.update(entry, message, Kind.RESIZED, spec=spec)

    async def _start(self, entry: Entry, operation: Operation, had: Resources) -> None:
        try:
            await self._starting.start(entry, operation)
        except errors.HutchError as error:
            await self._host.reshape(entry.machine.id, had.cpus, had.memory_mib)
            await self._record(entry, had, f"it could not be started with more ({error.message})")
            await self._start_again(entry, operation)
            raise

    async def _start_again(self, entry: Entry, operation: Operation) -> None:
        """As it was before. If that fails too, its state and its events tell."""
        with contextlib.suppress(errors.HutchError):
            await self._starting.start(entry, operation)

    async def _refused(self, entry: Entry, error: Exception) -> errors.HutchError:
        told = self._steps.told(entry, error)
        await self._records.note(entry, f"not resized: {told.message}", Level.WARNING, Kind.REFUSED)
        return told


def _with(machine: Machine, resources: Resources) -> Machine:
    return dataclasses.replace(machine, spec=dataclasses.replace(machine.spec, resources=resources))
