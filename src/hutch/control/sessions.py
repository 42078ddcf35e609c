"""Sessions: a working directory and an environment kept from one command to the next, `cd` and `export` included.

A session is a record; no process waits between commands. Each command runs in a shell that begins with the session's
directory and variables and tells both at its end. Commands of one session run one after the other. An argv runs with
the session's directory and variables, and changes neither. A session lives as long as its machine.
"""

import builtins
from collections.abc import AsyncGenerator, Mapping

from hutch.control.commands import Chunk, Command, Completed, Started
from hutch.control.keys import Principal
from hutch.model.guest import Exit
from hutch.model.ids import MachineId
from hutch.model.sessions import Session as Session


class Sessions:
    """The sessions of all machines."""

    async def create(
        self,
        principal: Principal,
        machine: MachineId,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Session:
        """Needs `machine:exec`. `Conflict` for an id that is taken. Does not start the machine."""
        raise NotImplementedError

    def list(self, principal: Principal, machine: MachineId) -> builtins.list[Session]:
        """Oldest first. Needs `machine:read`."""
        raise NotImplementedError

    def get(self, principal: Principal, machine: MachineId, session: str) -> Session:
        """Needs `machine:read`. `NotFound`."""
        raise NotImplementedError

    async def run(self, principal: Principal, machine: MachineId, session: str, command: Command) -> Completed:
        """As `Processes.run`; what the command names goes over what the session has, for this once."""
        raise NotImplementedError

    def stream(
        self, principal: Principal, machine: MachineId, session: str, command: Command
    ) -> AsyncGenerator[Started | Chunk | Exit, None]:
        """As `Processes.stream`."""
        raise NotImplementedError

    async def delete(self, principal: Principal, machine: MachineId, session: str) -> None:
        """Needs `machine:exec`. A command that runs in it is ended. `NotFound`."""
        raise NotImplementedError
