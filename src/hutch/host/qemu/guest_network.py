"""The guest's side of its network: the same addresses for every machine, set by the agent (no DHCP)."""

from hutch.host.agent.client import Agent

ADDRESS = "10.0.2.15/24"
GATEWAY = "10.0.2.2"
RESOLVER = "10.0.2.3"


async def configure(agent: Agent) -> None:
    """Bring the guest's interface up. QEMU's `-netdev user` answers on these addresses, and so does every slot."""
    await agent.network(address=ADDRESS, gateway=GATEWAY, dns=[RESOLVER], interface="eth0")
