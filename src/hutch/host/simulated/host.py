"""A host without virtual machines, for tests: as fast as the box, the same promises as the real one.

A machine is a directory and its processes are local ones, so a command sees this box's files, not the guest's:
`cat file` works in the machine's directory, `cat /workspace/file` does not.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from hutch.host.interface import (
    Capacity,
    Died,
    HostInfo,
    HostMachine,
    Life,
    OnProgress,
    Progress,
    ignore_progress,
)
from hutch.host.simulated import processes
from hutch.host.simulated.files import SimulatedFiles
from hutch.host.simulated.images import SimulatedImages
from hutch.host.simulated.processes import SimulatedProcesses
from hutch.host.simulated.world import Machine, World
from hutch.model import errors, guest
from hutch.model.ids import MachineId
from hutch.model.machine import MachineSpec

_TERM_GRACE = 1.0


class SimulatedHost:
    """Implements `hutch.host.interface.Host` on a `World`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._died: asyncio.Queue[Died] = asyncio.Queue()
        self.images = SimulatedImages(world)
        self.processes = SimulatedProcesses(self._reach)
        self.files = SimulatedFiles(world, self._reach)

    async def open(self) -> list[HostMachine]:
        self.world.listener = self._died
        return [machine.told for machine in self.world.machines.values()]

    async def close(self) -> None:
        if self.world.listener is self._died:
            self.world.listener = None

    def info(self) -> HostInfo:
        return HostInfo("simulated", "machines are local processes", "none", "none", "none")

    async def capacity(self) -> Capacity:
        return self.world.capacity()

    async def create(self, machine: MachineId, spec: MachineSpec) -> None:
        if self.world.faults.disk_full:
            raise errors.DiskFull("the host has no space left on its disk: remove machines or images")
        if machine not in self.world.machines:
            self.world.machines[machine] = Machine(machine, spec, self.world.root / machine)

    async def start(self, machine: MachineId, on_progress: OnProgress = ignore_progress) -> None:
        it = self._machine(machine)
        if it.life is Life.RUNNING:
            return
        on_progress(Progress("starting"))
        if self.world.faults.gate is not None:
            await self.world.faults.gate.wait()
        if self.world.faults.starts:
            error = self.world.faults.starts.pop(0)
            await self.world.end(it, Life.FAILED, str(error))
            raise error
        await self.images.ensure(it.spec.image, on_progress)
        self.world.run(it)
        it.console += b"simulated machine\n"
        await processes.start_main(it)

    async def stop(self, machine: MachineId, grace: float) -> None:
        it = self._machine(machine)
        if self.world.faults.stops:
            raise self.world.faults.stops.pop(0)
        if it.life is not Life.STOPPED:
            await self.world.end(it, Life.STOPPED, grace=min(grace, _TERM_GRACE))

    async def destroy(self, machine: MachineId) -> None:
        it = self.world.machines.get(machine)
        if it is None:
            return
        if self.world.faults.destroys:
            raise self.world.faults.destroys.pop(0)
        await self.world.end(it, Life.STOPPED)
        it.erase()
        self.world.machines.pop(machine, None)

    def get(self, machine: MachineId) -> HostMachine | None:
        it = self.world.machines.get(machine)
        return it.told if it is not None else None

    async def stats(self, machine: MachineId) -> guest.GuestStats:
        it = self._reach(machine)
        memory, disk = it.spec.resources.memory_mib * 2**20, it.spec.resources.disk_gib * 2**30
        uptime = time.monotonic() - it.started_at
        return guest.GuestStats(
            uptime=uptime,
            cpu_busy=0.0,
            cpu_total=uptime * it.spec.resources.cpus,
            memory_total=memory,
            memory_available=memory // 2,
            disk_total=disk,
            disk_available=disk // 2,
            processes=1 + len(it.processes),
        )

    async def console(self, machine: MachineId) -> bytes:
        return bytes(self._machine(machine).console)

    async def deaths(self) -> AsyncIterator[Died]:
        while True:
            yield await self._died.get()

    def _machine(self, machine: MachineId) -> Machine:
        it = self.world.machines.get(machine)
        if it is None:
            raise errors.NotFound("machine not found")
        return it

    def _reach(self, machine: MachineId) -> Machine:
        """A machine that runs and answers."""
        it = self._machine(machine)
        if it.life is not Life.RUNNING:
            raise errors.NotRunning(f"machine {machine} is {it.life}: start it first")
        if machine in self.world.faults.silent:
            raise errors.AgentUnavailable(f"the agent of machine {machine} does not answer")
        return it
