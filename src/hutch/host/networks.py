"""Networks of this host's machines: where they are reached, and what they may reach."""

from collections.abc import Callable

from hutch.host.machines.owner import Owner
from hutch.model.ids import MachineId
from hutch.model.machine import NetworkPolicy
from hutch.model.network import Endpoint, NetworkFacts, Traffic


class LocalNetworks:
    """Implements `hutch.host.interface.Networks`."""

    def __init__(self, find: Callable[[MachineId], Owner]) -> None:
        self._find = find

    async def endpoint(self, machine: MachineId, port: int) -> Endpoint:
        """See the interface."""
        return await self._find(machine).endpoint(port)

    async def set_policy(self, machine: MachineId, policy: NetworkPolicy) -> None:
        """See the interface."""
        await self._find(machine).set_policy(policy)

    def facts(self, machine: MachineId) -> NetworkFacts | None:
        """See the interface."""
        connection = self._find(machine).connection
        return None if connection is None else connection.facts()

    async def traffic(self, machine: MachineId) -> Traffic:
        """See the interface."""
        connection = self._find(machine).connection
        return Traffic(0, 0) if connection is None else await connection.traffic()
