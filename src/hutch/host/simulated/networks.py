"""Networks of a simulated host: its guests' ports are this box's own loopback ports, and no policy is enforced."""

from collections.abc import Callable
from dataclasses import replace

from hutch.host.interface import Life
from hutch.host.simulated.machine import Machine
from hutch.host.simulated.world import World
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import NetworkPolicy
from hutch.model.network import Endpoint, NetworkFacts, Traffic


class SimulatedNetworks:
    """Implements `hutch.host.interface.Networks`."""

    def __init__(self, world: World, find: Callable[[MachineId], Machine]) -> None:
        self._world = world
        self._find = find

    async def endpoint(self, machine: MachineId, port: int) -> Endpoint:
        if self._find(machine).life is not Life.RUNNING:
            raise errors.NotRunning(f"machine {machine} is not running")
        return Endpoint("127.0.0.1", port)

    async def set_policy(self, machine: MachineId, policy: NetworkPolicy) -> None:
        await self._world.faults.meet("set_policy")
        it = self._find(machine)
        it.spec = replace(it.spec, network=policy)

    def facts(self, machine: MachineId) -> NetworkFacts | None:
        if machine not in self._world.running:
            return None
        return NetworkFacts(None, None, "127.0.0.1", "00:00:00:00:00:00", None)

    async def traffic(self, machine: MachineId) -> Traffic:
        await self._world.faults.meet("traffic")
        self._find(machine)
        return Traffic(self._world.received.get(machine, 0), self._world.sent.get(machine, 0))
