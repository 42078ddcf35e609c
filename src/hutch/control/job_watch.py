"""What becomes of running jobs: seen when somebody asks, and now and then when nobody does.

One question to the agent tells of all jobs of a machine. It is asked more seldom the longer they run, and again at
once when the machine stops, fails or is put back. Looking wakes nothing.
"""

import asyncio
import dataclasses
from datetime import datetime, timedelta

import structlog

from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.records import Entry
from hutch.model import errors, guest
from hutch.model.ids import MachineId, TenantId
from hutch.model.jobs import Job, JobState
from hutch.model.kinds import Kind
from hutch.model.machine import Event
from hutch.model.states import State
from hutch.store.interface import Recorded, Store

log = structlog.get_logger(__name__)

INTERVAL = 1.0
"""Seconds between rounds."""

AT_ONCE = 16
"""Machines that are asked at the same time."""

SELDOM = 30.0
"""Most seconds between two looks at a machine; a tenth of the youngest job's age otherwise."""

CANCELLED = 143

_LOSES = frozenset({State.STOPPED, State.FAILED, State.LOST})
"""States in which no process of a machine is left."""


class _Machine:
    """The running jobs of one machine."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.cancelled: set[str] = set()
        self.turn = asyncio.Lock()
        self.next_look: datetime | None = None  # None: at once


class JobWatch:
    """Holds the running jobs of all machines, and records their ends."""

    def __init__(self, fleet: Fleet, store: Store, clock: Clock) -> None:
        self._fleet = fleet
        self._host = fleet.host.processes
        self._store = store
        self._clock = clock
        self._machines: dict[MachineId, _Machine] = {}
        self._asking = asyncio.Semaphore(AT_ONCE)

    async def load(self, _: Recorded) -> None:
        """Take up what the store has."""
        for job in await self._store.list_running_jobs():
            if self._fleet.records.get(job.machine) is not None:
                self.add(job)

    def add(self, job: Job) -> None:
        """A new one."""
        its = self._machines.setdefault(job.machine, _Machine())
        its.jobs[job.id] = job
        its.next_look = None

    def get(self, machine: MachineId, job: str) -> Job | None:
        """A running one, as it was last seen."""
        its = self._machines.get(machine)
        return None if its is None else its.jobs.get(job)

    def count(self, machine: MachineId) -> int:
        """How many run."""
        its = self._machines.get(machine)
        return 0 if its is None else len(its.jobs)

    def note_cancelled(self, job: Job) -> None:
        """However it ends now, it was cancelled."""
        its = self._machines.get(job.machine)
        if its is not None:
            its.cancelled.add(job.id)

    def note(self, _: TenantId, event: Event) -> None:
        """Something happened to a machine: its jobs may be gone."""
        if event.kind == Kind.DESTROYED:
            self._machines.pop(event.machine, None)
        elif event.machine in self._machines:
            self._machines[event.machine].next_look = None

    async def serve(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await asyncio.gather(*(self._look_in_turn(entry) for entry in self._due()))
            except Exception:
                log.exception("jobs could not be looked after")
            await self._clock.sleep(INTERVAL)

    async def close(self) -> None:
        """All that was seen is in the store."""

    def _due(self) -> list[Entry]:
        now = self._clock.now()
        due = [machine for machine, its in self._machines.items() if its.next_look is None or its.next_look <= now]
        return [entry for machine in due if (entry := self._fleet.records.get(machine)) is not None]

    async def _look_in_turn(self, entry: Entry) -> None:
        async with self._asking:
            await self.look(entry)

    async def look(self, entry: Entry) -> None:
        """See how the running jobs of a machine are. If the agent does not answer, they are as they were."""
        its = self._machines.get(entry.machine.id)
        if its is None:
            return
        async with its.turn:
            its.next_look = self._clock.now() + self._pause(its)
            try:
                await self._look(entry, its)
            except errors.HutchError as error:
                log.info("jobs were not seen", machine=entry.machine.id, error=error.message)
            if not its.jobs and self._machines.get(entry.machine.id) is its:
                del self._machines[entry.machine.id]

    def _pause(self, its: _Machine) -> timedelta:
        ages = [(self._clock.now() - job.created_at).total_seconds() for job in its.jobs.values()]
        return timedelta(seconds=min(max(min(ages, default=0.0) / 10, INTERVAL), SELDOM))

    async def _look(self, entry: Entry, its: _Machine) -> None:
        jobs = list(its.jobs.values())  # one that is added while the agent answers is not missing there
        if entry.machine.state in _LOSES:
            for job in jobs:
                await self._end(its, dataclasses.replace(job, state=JobState.LOST))
        if entry.machine.state is not State.RUNNING:
            return
        known = {info.id: info for info in await self._host.list(entry.machine.id)}
        for job in jobs:
            await self._see(its, job, known.get(job.id))

    async def _see(self, its: _Machine, job: Job, info: guest.ProcessInfo | None) -> None:
        if info is None:
            await self._end(its, dataclasses.replace(job, state=JobState.LOST))
            return
        job = dataclasses.replace(job, stdout_bytes=info.stdout_bytes, stderr_bytes=info.stderr_bytes)
        if info.exit is None:
            its.jobs[job.id] = job
            return
        code = CANCELLED if job.id in its.cancelled else info.exit.shell_code
        await self._end(its, dataclasses.replace(job, state=JobState.EXITED, exit_code=code))

    async def _end(self, its: _Machine, job: Job) -> None:
        await self._store.save_job(dataclasses.replace(job, finished_at=self._clock.now()))
        its.jobs.pop(job.id, None)
        its.cancelled.discard(job.id)
