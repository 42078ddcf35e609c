"""Jobs: commands that run on when their caller has gone, with a record that outlives them and their machine's stops.

A job is a process of the guest's agent, kept; its record is in the store. When the agent does not know it any more
(the machine was stopped, or failed) and it was not seen to end, it is `lost`.
"""

import builtins
from dataclasses import dataclass

from hutch.control.commands import Command, Stream
from hutch.control.keys import Principal
from hutch.model.ids import MachineId
from hutch.model.jobs import Job as Job
from hutch.model.jobs import JobState as JobState


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

    async def start(self, principal: Principal, machine: MachineId, command: Command) -> Job:
        """Starts a stopped machine, wakes a suspended one. Needs `machine:exec`. `GuestNotFound`, `GuestError`."""
        raise NotImplementedError

    async def list(self, principal: Principal, machine: MachineId, limit: int = 100) -> builtins.list[Job]:
        """Newest first. Needs `machine:read`."""
        raise NotImplementedError

    async def get(self, principal: Principal, machine: MachineId, job: str) -> Job:
        """As it is now. Needs `machine:read`. `NotFound`."""
        raise NotImplementedError

    async def output(
        self, principal: Principal, machine: MachineId, job: str, stream: Stream, offset: int = 0, limit: int = 262144
    ) -> Page:
        """At most 1 MiB, at once. Needs `machine:exec`. The agent keeps the last 1 MiB of each stream."""
        raise NotImplementedError

    async def cancel(self, principal: Principal, machine: MachineId, job: str) -> Job:
        """TERM to its group, KILL after a grace; its exit code is 143 then. Nothing if it has ended."""
        raise NotImplementedError
