"""A host without virtual machines, for tests: as fast as the box, the same promises as the real one.

A machine is a directory and its processes are local ones, so a command sees this box's files, not the guest's:
`cat file` works in the machine's directory, `cat /workspace/file` does not.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from hutch.host import consoles, mounts
from hutch.host.interface import (
    START,
    Capacity,
    Console,
    Cursor,
    Died,
    HostInfo,
    HostMachine,
    Life,
    OnProgress,
    Progress,
    SavedState,
    ignore_progress,
)
from hutch.host.simulated import freezing, processes, volumes
from hutch.host.simulated.files import SimulatedFiles
from hutch.host.simulated.images import SimulatedImages
from hutch.host.simulated.machine import Machine
from hutch.host.simulated.networks import SimulatedNetworks
from hutch.host.simulated.processes import SimulatedProcesses
from hutch.host.simulated.volumes import SimulatedVolumes
from hutch.host.simulated.world import World
from hutch.model import errors, guest
from hutch.model.facts import ProcessFacts
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.machine import MachineSpec

_TERM_GRACE = 1.0


class SimulatedHost:
    """Implements `hutch.host.interface.Host` on a `World`."""

    def __init__(self, world: World, owns_world: bool = False) -> None:
        """With `owns_world` nothing outlives `close`."""
        self.world = world
        self._owns_world = owns_world
        self._died: asyncio.Queue[Died] = asyncio.Queue()
        self.images = SimulatedImages(world)
        self.processes = SimulatedProcesses(self._reach)
        self.files = SimulatedFiles(world, self._reach)
        self.volumes = SimulatedVolumes(world)
        self.networks = SimulatedNetworks(world, self._machine)

    async def open(self) -> list[HostMachine]:
        self.world.listener = self._died
        self._drop_transient()
        return [machine.told for machine in self.world.machines.values()]

    async def close(self) -> None:
        if self.world.listener is self._died:
            self.world.listener = None
            self._drop_transient()
        if self._owns_world:
            await self.world.close()

    def _drop_transient(self) -> None:
        for saved in list(self.world.snapshots.values()):
            if saved.is_transient:
                self.world.drop(saved.id)

    def info(self) -> HostInfo:
        return HostInfo("simulated", "machines are local processes", "none", "none", "none")

    async def capacity(self) -> Capacity:
        return self.world.capacity()

    async def create(self, machine: MachineId, spec: MachineSpec, snapshot: SnapshotId | None = None) -> None:
        await self.world.faults.meet("create")
        freezing.check_space(self.world)
        if machine in self.world.machines:
            return
        mounts.check(spec.mounts)
        volumes.check_there(self.world, spec.mounts)
        made = Machine(machine, spec, self.world.root / machine)
        if snapshot is not None:
            saved = freezing.find(self.world, snapshot)
            saved.check_fits(spec)
            made.suspend_in(saved)
        self.world.machines[machine] = made

    async def start(self, machine: MachineId, on_progress: OnProgress = ignore_progress) -> None:
        if self._machine(machine).life is Life.RUNNING:
            return
        on_progress(Progress("starting"))
        if self.world.faults.gate is not None:
            await self.world.faults.gate.wait()
        async with self._turn(machine) as it:
            if it.life is Life.PAUSED:
                self._resume(it)
            elif it.life is not Life.RUNNING:
                await self._bring_up(it, on_progress)

    async def _bring_up(self, it: Machine, on_progress: OnProgress) -> None:
        volumes.check_free(self.world, it)
        it.is_starting = True
        try:
            await self._run(it, on_progress)
        finally:
            it.is_starting = False

    async def _run(self, it: Machine, on_progress: OnProgress) -> None:
        if self.world.faults.starts:
            error = self.world.faults.starts.pop(0)
            if it.life is not Life.SUSPENDED:
                await self.world.end(it, Life.FAILED, str(error))
            raise error
        if it.life is Life.SUSPENDED:
            volumes.attach(self.world, it)
            await freezing.wake(self.world, it)
            return
        await self.images.ensure(it.spec.image, on_progress)
        volumes.attach(self.world, it)
        it.renew()
        self.world.run(it)
        it.console += b"simulated machine\n"
        try:
            await processes.start_main(it)
        except BaseException:
            await self.world.end(it, Life.STOPPED)
            raise

    async def stop(self, machine: MachineId, grace: float) -> None:
        self._machine(machine)
        if self.world.faults.stops:
            raise self.world.faults.stops.pop(0)
        if grace > 0:
            await self.world.faults.meet("stop")  # a guest that does not shut down
        async with self._turn(machine) as it:
            if it.life is not Life.STOPPED:
                in_order = min(grace, _TERM_GRACE) if it.life is Life.RUNNING else 0
                await self.world.end(it, Life.STOPPED, grace=in_order)

    async def pause(self, machine: MachineId) -> None:
        async with self._turn(machine, "pause") as it:
            freezing.check_alive(it)
            if it.life is Life.RUNNING:
                await self.world.pause(it)

    async def resume(self, machine: MachineId) -> None:
        async with self._turn(machine, "resume") as it:
            freezing.check_alive(it)
            self._resume(it)

    def _resume(self, it: Machine) -> None:
        if it.life is Life.PAUSED:
            it.go_on()
            it.life = Life.RUNNING

    async def suspend(self, machine: MachineId) -> None:
        async with self._turn(machine, "suspend") as it:
            await freezing.suspend(self.world, it)

    async def snapshot(self, machine: MachineId, snapshot: SnapshotId, transient: bool = False) -> SavedState:
        async with self._turn(machine, "snapshot") as it:
            return freezing.snapshot(self.world, it, snapshot, transient)

    async def rollback(self, machine: MachineId, snapshot: SnapshotId) -> None:
        async with self._turn(machine, "rollback") as it:
            await freezing.rollback(self.world, it, snapshot)

    async def claim(self, machine: MachineId, spare: MachineId) -> None:
        freezing.check_claim(self._machine(machine), self._machine(spare))
        try:
            await self.world.faults.meet("claim")
        except Exception:
            await self.destroy(spare)
            raise
        first, second = sorted((machine, spare))
        async with self._turn(first), self._turn(second):
            it = self._machine(machine)
            freezing.check_claim(it, self._machine(spare))
            it.is_starting = True
            try:
                await freezing.claim(self.world, it, self._machine(spare))
            finally:
                it.is_starting = False

    async def resize(self, machine: MachineId, disk_gib: int) -> None:
        async with self._turn(machine, "resize") as it:
            has = it.spec.resources
            if disk_gib < has.disk_gib:
                raise errors.InvalidRequest(f"a disk cannot shrink: machine {machine} has {has.disk_gib} GiB")
            it.spec = replace(it.spec, resources=replace(has, disk_gib=disk_gib))

    async def reshape(self, machine: MachineId, cpus: int, memory_mib: int) -> None:
        async with self._turn(machine, "reshape") as it:
            if it.life in (Life.RUNNING, Life.PAUSED):
                raise errors.Conflict(f"machine {machine} is {it.life}: stop it first")
            resources = replace(it.spec.resources, cpus=cpus, memory_mib=memory_mib)
            if resources != it.spec.resources:
                it.spec = replace(it.spec, resources=resources)
                if it.life is Life.SUSPENDED:
                    await self.world.end(it, Life.STOPPED)

    async def optimize(self, snapshot: SnapshotId) -> None:
        await self.world.faults.meet("optimize")
        freezing.optimize(self.world, freezing.find(self.world, snapshot))

    async def optimize_machine(self, machine: MachineId) -> None:
        async with self._turn(machine, "optimize") as it:
            freezing.optimize_machine(self.world, it)

    def snapshots(self) -> list[SavedState]:
        kept = [saved.told for saved in self.world.snapshots.values() if not saved.is_transient]
        return sorted(kept, key=lambda state: state.created_at)

    async def verify(self, snapshot: SnapshotId) -> list[str]:
        freezing.find(self.world, snapshot)
        await self.world.faults.meet("verify")
        return [f"{part}: not what was saved" for part in freezing.find(self.world, snapshot).damaged]

    async def remove_snapshot(self, snapshot: SnapshotId) -> None:
        await self.world.faults.meet("remove_snapshot")
        self.world.drop(snapshot)

    async def storage(self, machine: MachineId) -> int:
        return self._machine(machine).storage

    async def destroy(self, machine: MachineId) -> None:
        if machine not in self.world.machines:
            return
        if self.world.faults.destroys:
            raise self.world.faults.destroys.pop(0)
        with contextlib.suppress(errors.NotFound):
            async with self._turn(machine) as it:
                await self.world.end(it, Life.STOPPED)
                it.erase()
                self.world.machines.pop(machine, None)

    def get(self, machine: MachineId) -> HostMachine | None:
        it = self.world.machines.get(machine)
        return it.told if it is not None else None

    def facts(self, machine: MachineId) -> ProcessFacts:
        return ProcessFacts("none", "simulated", str(self.world.root / machine), pid=self._machine(machine).told.pid)

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

    async def console(self, machine: MachineId, since: Cursor = START) -> Console:
        it = self._machine(machine)
        told = consoles.Kept(str(id(it.console)), bytes(it.console), len(it.console)).since(since)
        return await consoles.with_command(told, self.processes, machine, "main")

    async def deaths(self) -> AsyncIterator[Died]:
        while True:
            yield await self._died.get()

    def _machine(self, machine: MachineId) -> Machine:
        it = self.world.machines.get(machine)
        if it is None:
            raise errors.NotFound("machine not found")
        return it

    @contextlib.asynccontextmanager
    async def _turn(self, machine: MachineId, verb: str | None = None) -> AsyncIterator[Machine]:
        """A machine that nobody else changes meanwhile; first of all what a test has put in the way of a verb."""
        it = self._machine(machine)
        if verb is not None:
            await self.world.faults.meet(verb)
        async with it.turn:
            if self.world.machines.get(machine) is not it:
                raise errors.NotFound("machine not found")
            yield it

    def _reach(self, machine: MachineId) -> Machine:
        """A machine that runs and answers."""
        it = self._machine(machine)
        if it.life is not Life.RUNNING:
            how = "resume" if it.life is Life.PAUSED else "start"
            raise errors.NotRunning(f"machine {machine} is {it.life}: {how} it first")
        if machine in self.world.faults.silent:
            raise errors.AgentUnavailable(f"the agent of machine {machine} does not answer")
        return it
