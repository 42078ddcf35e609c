"""What control adds to a command: who asks, whether they may, what is metered and told, in front of a host that does
nothing. `python -m bench.overhead` measures it alone.

Both sides run in turns in one process: the host's two calls for a command on their own, and a command through control
with its key looked up, its rate counted, a listener to all events and a webhook, on SQLite.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from hutch import settings
from hutch.control import plane
from hutch.control.clock import SystemClock
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane
from hutch.control.processes import Command
from hutch.host.simulated.host import SimulatedHost
from hutch.host.simulated.processes import SimulatedProcesses
from hutch.host.simulated.world import World
from hutch.model import guest, ids
from hutch.model.ids import MachineId
from hutch.notify.memory import MemoryProofs, MemorySender
from hutch.store.database import Database

TURNS = 10
COMMANDS = 200

_ARGV = ("sh", "-c", "echo hi")

Figures = dict[str, list[float]]


class NoProcesses(SimulatedProcesses):
    """Every command has ended before it began."""

    async def start(self, machine: MachineId, process: str, spec: guest.ProcessSpec) -> guest.ProcessInfo:
        return guest.ProcessInfo(process, 1, spec.argv, 0.0, 0, 0)

    async def read(
        self, machine: MachineId, process: str, stdout_at: int, stderr_at: int, wait: float, limit: int = 256 * 1024
    ) -> guest.Output:
        return guest.Output(b"hi\n", 0, b"", 0, guest.Exit(0))

    async def write(self, machine: MachineId, process: str, data: bytes, end: bool = False) -> None:
        pass

    async def forget(self, machine: MachineId, process: str) -> None:
        pass


def measure() -> Figures:
    """`exec_host_ms` (the host alone) and `exec_control_ms` (through control), of each command; `exec_overhead_ms`."""
    with tempfile.TemporaryDirectory(prefix="hutch-overhead-") as work:
        return asyncio.run(_measure(Path(work)))


async def _measure(work: Path) -> Figures:
    host = SimulatedHost(World(work / "machines"))
    host.processes = NoProcesses(host._reach)
    store = Database(f"sqlite+aiosqlite:///{work}/hutch.db")
    its = settings.load({"HUTCH_TENANTS_REQUESTS_PER_SECOND": "1000000"})
    parts = plane.Parts(store, host, SystemClock(), contextlib.nullcontext(), "bench", MemorySender(), MemoryProofs())
    control = plane.assemble(parts, its)
    await control.open()
    try:
        return await _in_turns(control, host)
    finally:
        await control.close()


async def _in_turns(control: ControlPlane, host: SimulatedHost) -> Figures:
    token = await control.keys.bootstrap()
    assert token is not None
    me = control.keys.authenticate(token)
    await control.webhooks.create(me, "https://example.org/")
    machine = (await control.machines.launch(me, MachineRequest("debian"))).id
    command, spec = Command(_ARGV), guest.ProcessSpec(_ARGV)

    async def alone() -> None:
        process = ids.random_id()
        await host.processes.start(machine, process, spec)
        await host.processes.read(machine, process, 0, 0, wait=20.0)

    async def through_control() -> None:
        caller = control.keys.authenticate(token)
        control.rates.take(caller)
        done = await control.processes.run(caller, machine, command)
        assert done.stdout == b"hi\n"

    bare: list[float] = []
    ours: list[float] = []
    async with contextlib.aclosing(control.feed.listen(me)) as events:
        listening = asyncio.ensure_future(anext(events))
        for _ in range(TURNS):
            bare += await _timed(alone)
            ours += await _timed(through_control)
        listening.cancel()
        await asyncio.wait([listening])
    overhead = statistics.median(ours) - statistics.median(bare)
    return {"exec_host_ms": bare, "exec_control_ms": ours, "exec_overhead_ms": [overhead]}


async def _timed(run: Callable[[], Awaitable[None]]) -> list[float]:
    times = []
    for _ in range(COMMANDS):
        began = time.perf_counter()
        await run()
        times.append(1000 * (time.perf_counter() - began))
    return times


def main() -> int:
    """Measure and print the medians."""
    for name, values in measure().items():
        print(f"{name} {statistics.median(values):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
