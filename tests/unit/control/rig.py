"""A control plane over fakes, and a few words to use it by: simulated host, store in memory, time that stands still."""

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from hutch import settings
from hutch.control import plane
from hutch.control.clock import ManualClock
from hutch.control.keys import Principal
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane
from hutch.control.processes import Command, Completed
from hutch.host.interface import Host, Life
from hutch.host.simulated import process
from hutch.host.simulated.host import SimulatedHost
from hutch.host.simulated.world import World
from hutch.model.ids import MachineId, TenantId
from hutch.model.keys import Tenant
from hutch.model.machine import Machine
from hutch.model.states import State
from hutch.notify.memory import MemoryProofs, MemorySender
from hutch.store.interface import Store
from hutch.store.memory import MemoryStore

LIMIT = 10.0
"""Seconds that anything awaited here may take."""


class Rig:
    """`plane` is the one that is open now; `world` and `store` outlive it."""

    def __init__(self, root: Path, limits: settings.Machines) -> None:
        self.world = World(root)
        self.store: Store = MemoryStore()
        self.clock = ManualClock()
        self.limits = limits
        self.tenants = settings.Tenants()
        self.sender = MemorySender()
        self.proofs = MemoryProofs()
        self.plane: ControlPlane = self.assemble(self.store, SimulatedHost(self.world))
        self.me = Principal(TenantId(""), "", frozenset())  # type: ignore[arg-type]

    def assemble(self, store: Store, host: Host) -> ControlPlane:
        parts = plane.Parts(store, host, self.clock, contextlib.nullcontext(), "test", self.sender, self.proofs)
        its = settings.Settings(machines=self.limits, tenants=self.tenants, webhooks=settings.Webhooks(attempts=3))
        return plane.assemble(parts, its)

    async def open(self) -> None:
        """Open it, and be its admin."""
        await self.plane.open()
        token = await self.plane.keys.bootstrap(force=True)
        assert token is not None
        self.me = self.plane.keys.authenticate(token)

    async def restart(self) -> None:
        """Close it in order, and open the next."""
        await self.plane.close()
        self.plane = self.assemble(self.store, SimulatedHost(self.world))
        await self.open()

    async def crash(self) -> None:
        """Let it die where it stands; nothing of it is left but what is in the world and in the store."""
        me = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not me and task.get_name() != process.TASK]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def crash_and_restart(self) -> None:
        await self.crash()
        self.plane = self.assemble(self.store, SimulatedHost(self.world))
        await self.open()

    async def someone(self, *scopes: str, tenant: str = "") -> Principal:
        """Another principal: of our tenant with these scopes, or an admin of a tenant of this name."""
        if tenant:
            await self.store.add_tenant(Tenant(TenantId(tenant), tenant, self.clock.now()))
            return Principal(TenantId(tenant), self.me.key, frozenset({"admin"}))
        _, token = await self.plane.keys.create(self.me, scopes=scopes)
        return self.plane.keys.authenticate(token)

    async def create(self, **fields: Any) -> MachineId:
        return (await self.plane.machines.create(self.me, MachineRequest(**{"image": "alpine", **fields}))).id

    async def launch(self, **fields: Any) -> MachineId:
        machine = await self.create(**fields)
        await self.plane.machines.start(self.me, machine)
        return machine

    def get(self, machine: MachineId) -> Machine:
        return self.plane.machines.get(self.me, machine)

    def state(self, machine: MachineId) -> State:
        return self.get(machine).state

    def life(self, machine: MachineId) -> Life | None:
        it = self.world.machines.get(machine)
        return None if it is None else it.life

    async def come(self, machine: MachineId, *states: State) -> Machine:
        """Wait until it is in one of these states."""
        return await self.plane.machines.wait(self.me, machine, states, LIMIT)

    async def messages(self, machine: MachineId) -> list[str]:
        return [event.message for event in await self.plane.machines.events(self.me, machine)]

    async def run(self, machine: MachineId, line: str, **options: Any) -> Completed:
        command = Command(argv=("sh", "-c", line), **options)
        return await self.plane.processes.run(self.me, machine, command)

    def line(self, line: str) -> Command:
        """A line of shell whose stdin stays open."""
        return Command(argv=("sh", "-c", line), interactive=True)

    async def output(self, machine: MachineId, process: str) -> bytes:
        """All its stdout, to its end."""
        data = b""
        async with asyncio.timeout(LIMIT):
            while True:
                page = await self.plane.processes.output(self.me, machine, process, (len(data), 0), wait=LIMIT)
                data += page.stdout
                if page.exit is not None:
                    return data

    async def settle(self) -> None:
        """Wait until nobody works on any machine, and nothing is left to be done after an answer."""
        core = self.plane.core
        async with asyncio.timeout(LIMIT):
            while not all(core.fleet.is_idle(entry) for entry in core.fleet.records.all()):
                await asyncio.sleep(0)
        await core.background.close(LIMIT)


async def turn(times: int = 10) -> None:
    """Let others have their turn."""
    for _ in range(times):
        await asyncio.sleep(0)


def soon(work: Awaitable[Any]) -> "asyncio.Future[Any]":
    return asyncio.ensure_future(work)
