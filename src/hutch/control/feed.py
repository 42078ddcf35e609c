"""Events as they happen: to those who listen now. `Machines.events` tells of what was."""

from collections.abc import AsyncGenerator, Collection

from hutch.control.keys import Principal
from hutch.model.ids import MachineId
from hutch.model.machine import Event


class Feed:
    """The live events of all tenants. A listener that does not keep up loses the oldest and is told so."""

    def listen(
        self, principal: Principal, machine: MachineId | None = None, kinds: Collection[str] = ()
    ) -> AsyncGenerator[Event, None]:
        """Of one machine, or of all of the tenant's; `kinds` like `machine.*`, none: all. Needs `machine:read`."""
        raise NotImplementedError
