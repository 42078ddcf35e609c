"""What the service says of itself. Needs no key: nothing of any tenant is in it."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hutch.control.core import Core
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
    pools: int


class Health:
    """Uptime, cluster id, host and counts."""

    def __init__(self, core: Core, version: str) -> None:
        self._core = core
        self._version = version

    def report(self) -> Report:
        """From memory, at once."""
        core = self._core
        counts = Counter(entry.machine.state for entry in core.fleet.records.all())
        uptime, pools = time.monotonic() - core.opened_at, len(core.fleet.members.all())
        return Report(core.cluster, self._version, uptime, core.host.info(), counts, pools)

    async def capacity(self) -> Capacity:
        """What the box has, and what of it is free."""
        return await self._core.host.capacity()

    async def is_ready(self) -> bool:
        """Whether requests can be served: the plane is open and its database answers."""
        return await self._core.is_ready()
