"""Ending a process of a guest: a signal to its group, and KILL when that was not enough."""

import asyncio
import signal

from hutch.host.interface import Processes
from hutch.model import guest
from hutch.model.ids import MachineId

GRACE = 5.0
"""Seconds between the first signal and KILL, and again for the end to be told after that."""

_LOOK = 0.02
_LOOK_MOST = 0.5


async def end_process(host: Processes, machine: MachineId, process: str, number: int) -> guest.ProcessInfo | None:
    """What became of it: ended, or (the agent is slow) not yet. None if the agent does not know it."""
    info = await find_process(host, machine, process)
    if info is None or info.exit is not None:
        return info
    await host.signal(machine, process, number)
    info = await _wait_end(host, machine, process)
    if info is None or info.exit is not None:
        return info
    await host.signal(machine, process, signal.SIGKILL)
    return await _wait_end(host, machine, process)


async def find_process(host: Processes, machine: MachineId, process: str) -> guest.ProcessInfo | None:
    """What the agent says of it."""
    return next((info for info in await host.list(machine) if info.id == process), None)


async def _wait_end(host: Processes, machine: MachineId, process: str) -> guest.ProcessInfo | None:
    """Return when it has ended, or after `GRACE`."""
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + GRACE, _LOOK
    while True:
        info = await find_process(host, machine, process)
        if info is None or info.exit is not None or loop.time() >= until:
            return info
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LOOK_MOST)
