"""The suite, held against this box: real machines."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.host_suite.rig import Rig
from contract.host_suite.suite import HostSuite
from hutch import settings
from hutch.host.interface import Host
from hutch.host.local import LocalHost
from hutch.host.machines import journal
from hutch.host.paths import Paths
from hutch.host.qemu.process import Watch
from hutch.model.ids import MachineId
from machines import left, traces


class LocalRig:
    def __init__(self, wanted: settings.Settings, image: str) -> None:
        self._settings = wanted
        self._paths = Paths(wanted.service.home)
        self.image = image
        self.host: Host = LocalHost(wanted, self._paths)

    async def reopen(self) -> Host:
        await self.host.close()
        self.host = LocalHost(self._settings, self._paths)
        await self.host.open()
        return self.host

    async def kill(self, machine: MachineId) -> None:
        entry = journal.read(self._paths.machine(machine).journal)
        assert entry is not None
        assert entry.process is not None
        watch = Watch(entry.process)
        os.kill(entry.process.pid, signal.SIGKILL)
        assert await watch.wait(10)

    async def clean(self) -> None:
        for directory in self._paths.machines.iterdir():
            await self.host.destroy(MachineId(directory.name))
        for saved in self.host.snapshots():
            await self.host.remove_snapshot(saved.id)
        for volume in self.host.volumes.list():
            await self.host.volumes.remove(volume.id)
        await self.host.close()


class TestLocalHost(HostSuite):
    @pytest.fixture
    async def rig(self, wanted: settings.Settings, tools: str, home: Path) -> AsyncIterator[Rig]:
        rig = LocalRig(wanted, tools)
        await rig.host.open()
        before = traces(home)
        yield rig
        await rig.clean()
        assert await left(home, before) == before
