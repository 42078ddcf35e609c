"""Networks of this host's machines: where they are reached, and what they may reach."""

from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import NetworkPolicy
from hutch.model.network import Endpoint, NetworkFacts, Traffic


class LocalNetworks:
    """Implements `hutch.host.interface.Networks`."""

    async def endpoint(self, machine: MachineId, port: int) -> Endpoint:
        raise errors.Unsupported(f"machine {machine}: ports of guests cannot be reached on this host")

    async def set_policy(self, machine: MachineId, policy: NetworkPolicy) -> None:
        raise errors.Unsupported(f"machine {machine}: its network cannot be changed on this host")

    def facts(self, machine: MachineId) -> NetworkFacts | None:
        return None

    async def traffic(self, machine: MachineId) -> Traffic:
        return Traffic(0, 0)
