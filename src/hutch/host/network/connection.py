"""What joins a QEMU process to the network: a slot, or QEMU's own user network. One for each process, gone with it."""

from typing import Protocol

from hutch.host.qemu import argv, guest_network
from hutch.host.qemu.monitor import Monitor
from hutch.model.machine import NetworkPolicy
from hutch.model.network import Endpoint, NetworkFacts, Traffic

GUEST = guest_network.ADDRESS.partition("/")[0]


class Connection(Protocol):
    """One process's."""

    @property
    def slot(self) -> int | None:
        """The number of its slot, by which a restarted service finds it again."""

    @property
    def netdev(self) -> argv.Netdev:
        """What QEMU is started with."""

    def handed_over(self) -> None:
        """The process has been started, and has its own of every descriptor."""

    async def enforce(self, policy: NetworkPolicy) -> None:
        """In force when this returns; quick if it is already. `Unsupported`."""

    async def endpoint(self, monitor: Monitor, port: int) -> Endpoint:
        """Where a port of the guest is reached from this service."""

    def facts(self) -> NetworkFacts:
        """How the guest is connected."""

    async def traffic(self) -> Traffic:
        """Bytes since the process was started. `Unsupported`."""

    def end(self) -> None:
        """The process has ended. No error if that is known."""


class Connector(Protocol):
    """Makes connections."""

    def base(self, policy: NetworkPolicy) -> NetworkPolicy:
        """What a process must be started with, so that its guest can later be put under `policy`. `Unsupported`."""

    async def connect(self, policy: NetworkPolicy) -> Connection:
        """For a process that is about to be started; the policy is in force. `Unsupported`, `NoCapacity`."""

    async def adopt(self, slot: int | None, policy: NetworkPolicy) -> Connection:
        """Of a process that a former service has left; the policy is in force. `MachineFailed` if it is gone."""

    def abandon(self, slot: int | None) -> None:
        """The process of a slot has ended without having been taken over."""
