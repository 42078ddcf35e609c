"""What the service says of itself. Needs no key: nothing of any tenant is in it."""

from collections.abc import Mapping
from dataclasses import dataclass

from hutch.host.interface import Capacity as Capacity
from hutch.host.interface import HostInfo as HostInfo
from hutch.model.states import State


@dataclass(frozen=True, slots=True)
class Report:
    """One look at the service. `uptime` is in seconds."""

    cluster: str  # made once per database
    version: str
    uptime: float
    host: HostInfo
    machines: Mapping[State, int]


class Health:
    """Uptime, cluster id, host and counts."""

    def report(self) -> Report:
        """From memory, at once."""
        raise NotImplementedError

    async def capacity(self) -> Capacity:
        """What the box has, and what of it is free."""
        raise NotImplementedError

    async def is_ready(self) -> bool:
        """Whether requests can be served: the plane is open and its database answers."""
        raise NotImplementedError
