"""Jobs: commands that run on when their caller has gone, with a record that outlives them and their machine's stops.

A job is a process of the guest's agent, kept; its record is in the store. When the agent does not know it any more
(the machine was stopped, or failed) and it was not seen to end, it is `lost`. One that stands still with its machine
(paused, suspended) still runs. Who looks sees it as it is (`job_watch.py`), without waking the machine. A job alone
does not keep its machine from being idle.
"""

import builtins
import dataclasses
import signal
from dataclasses import dataclass

from hutch.control import commands, ending, follower
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.commands import Command, Stream
from hutch.control.fleet import Fleet
from hutch.control.job_watch import JobWatch
from hutch.control.keys import Principal
from hutch.control.processes import Processes
from hutch.control.records import Entry
from hutch.model import errors, guest
from hutch.model.ids import MachineId
from hutch.model.jobs import Job as Job
from hutch.model.jobs import JobState as JobState
from hutch.store.interface import Store

MOST_RUNNING = 64
"""Jobs of one machine at the same time: the agent keeps a few hundred processes in all."""

MOST_LISTED = 100
MOST_OUTPUT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """Output of a job from `offset` on."""

    stream: Stream
    offset: int  # where the bytes really begin
    data: bytes
    is_end: bool

    @property
    def next_offset(self) -> int:
        """Where the next page begins."""
        return self.offset + len(self.data)


class Jobs:
    """The jobs of all machines."""

    def __init__(
        self, fleet: Fleet, processes: Processes, watch: JobWatch, background: Background, store: Store, clock: Clock
    ) -> None:
        self._fleet = fleet
        self._host = fleet.host.processes
        self._processes = processes
        self._watch = watch
        self._background = background
        self._store = store
        self._clock = clock

    async def start(self, principal: Principal, machine: MachineId, command: Command) -> Job:
        """Starts a stopped machine, wakes a suspended one. Needs `machine:exec`. `GuestNotFound`, `GuestError`.

        `Conflict` when as many run as may. Also done if the caller goes away.
        """
        entry = self._fleet.entry(principal, machine, "machine:exec")
        if self._watch.count(machine) >= MOST_RUNNING:
            raise errors.Conflict(f"{MOST_RUNNING} jobs run in the machine already: cancel one, or wait for its end")
        command = dataclasses.replace(command, background=True, interactive=False)
        return await self._background.finish(self._start(principal, entry, command))

    async def _start(self, principal: Principal, entry: Entry, command: Command) -> Job:
        machine, argv = entry.machine.id, commands.make_spec(command).argv
        info = await self._processes.start(principal, machine, command)
        job = Job(info.id, machine, argv, JobState.RUNNING, self._clock.now())
        try:
            await self._store.add_job(job)
        except errors.HutchError:
            self._background.go_on("ending an unrecorded job", self._host.forget(machine, info.id))
            raise
        self._watch.add(job)
        return job

    async def list(self, principal: Principal, machine: MachineId, limit: int = MOST_LISTED) -> builtins.list[Job]:
        """Newest first, at most 100. Needs `machine:read`."""
        if limit < 1:
            raise errors.InvalidRequest("limit is 1 or more")
        entry = self._fleet.entry(principal, machine, "machine:read")
        await self._watch.look(entry)
        stored = await self._store.list_jobs(machine, min(limit, MOST_LISTED))
        return [self._watch.get(machine, job.id) or job for job in stored]

    async def get(self, principal: Principal, machine: MachineId, job: str) -> Job:
        """As it is now. Needs `machine:read`. `NotFound`."""
        return await self._get(self._fleet.entry(principal, machine, "machine:read"), job)

    async def _get(self, entry: Entry, job: str) -> Job:
        machine = entry.machine.id
        if self._watch.get(machine, job) is not None:
            await self._watch.look(entry)
        found = self._watch.get(machine, job) or await self._store.get_job(machine, job)
        if found is None:
            raise errors.NotFound("job not found")
        return found

    async def output(
        self, principal: Principal, machine: MachineId, job: str, stream: Stream, offset: int = 0, limit: int = 262144
    ) -> Page:
        """At most 1 MiB, at once. Needs `machine:exec`. The agent keeps the last 1 MiB of each stream.

        Wakes a paused or suspended machine. What was lost with the machine's memory is an empty page, the last.
        """
        if offset < 0 or limit < 1:
            raise errors.InvalidRequest("offset is 0 or more, limit 1 or more")
        entry = self._fleet.entry(principal, machine, "machine:exec")
        found = await self._get(entry, job)
        if not entry.keeps_processes:
            return Page(stream, offset, b"", is_end=True)
        async with self._fleet.used(entry):
            try:
                return await self._read(found, stream, offset, min(limit, MOST_OUTPUT))
            except errors.GuestNotFound:
                return Page(stream, offset, b"", is_end=True)

    async def _read(self, job: Job, stream: Stream, offset: int, limit: int) -> Page:
        """Page by page, without telling the agent that anything of the other stream was received."""
        info = await ending.find_process(self._host, job.machine, job.id)
        begin, data = offset, b""
        while len(data) < limit:
            at, more = await self._read_once(job, stream, begin + len(data), limit - len(data))
            if not data:
                begin = at
            elif at != begin + len(data):
                break  # bytes between were dropped meanwhile
            if not more:
                break
            data += more
        has_ended = info is None or info.exit is not None
        return Page(stream, begin, data, has_ended and begin + len(data) >= _size(info, stream))

    async def _read_once(self, job: Job, stream: Stream, at: int, limit: int) -> tuple[int, bytes]:
        offsets = (at, 0) if stream is Stream.STDOUT else (0, at)
        page = await self._host.read(job.machine, job.id, *offsets, wait=0.0, limit=min(limit, follower.READ_LIMIT))
        return (page.stdout_at, page.stdout) if stream is Stream.STDOUT else (page.stderr_at, page.stderr)

    async def cancel(self, principal: Principal, machine: MachineId, job: str) -> Job:
        """TERM to its group, KILL after a grace; its exit code is 143 then. Nothing if it has ended.

        Returns when it has ended. Needs `machine:exec`. Wakes a paused or suspended machine.
        """
        entry = self._fleet.entry(principal, machine, "machine:exec")
        found = await self._get(entry, job)
        if found.state is JobState.RUNNING and entry.keeps_processes:
            self._watch.note_cancelled(found)
            await self._background.finish(self._cancel(entry, found))
        return await self._get(entry, job)

    async def _cancel(self, entry: Entry, job: Job) -> None:
        async with self._fleet.used(entry) as id:
            await ending.end_process(self._host, id, job.id, signal.SIGTERM)
            await self._watch.look(entry)


def _size(info: guest.ProcessInfo | None, stream: Stream) -> int:
    if info is None:
        return 0
    return info.stdout_bytes if stream is Stream.STDOUT else info.stderr_bytes
