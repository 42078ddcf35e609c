"""A service and keys of every kind to it, for tests of who may do what in a dialect."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp

from hutch import settings
from hutch.api.metrics import Metrics
from hutch.api.observe import Observe
from hutch.api.service import Service
from hutch.control import plane
from hutch.control.clock import ManualClock
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane
from hutch.host.simulated.host import SimulatedHost
from hutch.host.simulated.world import World
from hutch.model.machine import Machine
from hutch.notify.memory import MemoryProofs, MemorySender
from hutch.store.memory import MemoryStore

Operation = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Office:
    """`key` is the first tenant's admin's, `theirs` another tenant's."""

    http: httpx.AsyncClient
    control: ControlPlane
    clock: ManualClock
    key: str
    theirs: str
    bodies: Mapping[Operation, Any]
    queries: Mapping[Operation, Mapping[str, str]]

    async def ask(self, operation: Operation, id: str, key: str | None) -> httpx.Response:
        """One operation on one machine."""
        method, path = operation
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        body = {"json": self.bodies[operation]} if operation in self.bodies else {}
        query = self.queries.get(operation)
        return await self.http.request(method, path.replace("{id}", id), headers=headers, params=query, **body)

    async def machine(self) -> Machine:
        """One of the first tenant's, which runs."""
        me = self.control.keys.authenticate(self.key)
        return await self.control.machines.launch(me, MachineRequest("debian"))

    async def with_scopes(self, *scopes: str) -> str:
        """A key of the first tenant."""
        return (await self.control.keys.create(self.control.keys.authenticate(self.key), scopes=scopes))[1]

    async def dead_keys(self) -> tuple[str | None, ...]:
        """None, a wrong one, a revoked one and an expired one."""
        keys, me = self.control.keys, self.control.keys.authenticate(self.key)
        revoked, was = await keys.create(me)
        await keys.revoke(me, revoked.id)
        _, expired = await keys.create(me, expires_in=timedelta(seconds=10))
        self.clock.advance(11)
        return None, "wrong", was, expired


@contextlib.asynccontextmanager
async def opened(
    root: Path,
    build: Callable[[Service], ASGIApp],
    bodies: Mapping[Operation, Any],
    queries: Mapping[Operation, Mapping[str, str]] | None = None,
) -> AsyncIterator[Office]:
    """With one dialect, and open while within."""
    world, clock = World(root), ManualClock()
    told = (MemorySender(), MemoryProofs())
    parts = plane.Parts(MemoryStore(), SimulatedHost(world), clock, contextlib.nullcontext(), "test", *told)
    its = settings.load({"HUTCH_TENANTS_REQUESTS_PER_SECOND": "0"})
    control = plane.assemble(parts, its)
    await control.open()
    key = await control.keys.bootstrap(force=True)
    assert key is not None
    me = control.keys.authenticate(key)
    other = await control.tenants.create(me, "other")
    _, theirs = await control.keys.create(me, scopes=["admin"], tenant=other.id)
    metrics = Metrics()
    transport = httpx.ASGITransport(Observe(build(Service(control, its, metrics)), metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        yield Office(http, control, clock, key, theirs, bodies, queries or {})
    await control.close()
    await world.close()
