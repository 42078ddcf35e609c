"""The suite, held against the fake."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.host_suite.rig import Rig
from contract.host_suite.suite import HostSuite
from hutch.host.interface import Host
from hutch.host.simulated.host import SimulatedHost
from hutch.host.simulated.world import World
from hutch.model.ids import MachineId


class SimulatedRig:
    image = "busybox"

    def __init__(self, world: World) -> None:
        self.world = world
        self.host: Host = SimulatedHost(world)

    async def reopen(self) -> Host:
        await self.host.close()
        self.host = SimulatedHost(self.world)
        await self.host.open()
        return self.host

    async def kill(self, machine: MachineId) -> None:
        await self.world.die(machine)


class TestSimulatedHost(HostSuite):
    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[Rig]:
        world = World(tmp_path / "world")
        rig = SimulatedRig(world)
        await rig.host.open()
        yield rig
        await rig.host.close()
        await world.close()
        assert not world.root.exists()
