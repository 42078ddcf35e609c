"""Asking a guest that runs: a short command whose answer is taken for text, within bounds.

Looking: it wakes no machine and is no use of it. What changes something in a guest goes through `processes`.
"""

import asyncio
import contextlib
import signal
from dataclasses import dataclass

from hutch.control import follower
from hutch.host.interface import Processes
from hutch.model import errors, guest, ids
from hutch.model.guest import Exit
from hutch.model.ids import MachineId

MOST = 4 * 1024 * 1024
"""Bytes of each output that are read."""

CUT = Exit(signal=signal.SIGKILL)

TIDY_LIMIT = 3.0
"""Seconds that the guest has to forget what was asked, so that whoever was cancelled ends soon. It is ended anyway."""

_READ_WAIT = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What it wrote. `exit` is None if it was not at its end in time, and `CUT` if it wrote more than is read."""

    stdout: bytes
    stderr: bytes
    exit: Exit | None


async def ask(host: Processes, machine: MachineId, argv: tuple[str, ...], limit: float) -> Answer:
    """Run it as root, for at most so many seconds.

    `GuestNotFound` if the guest has no such program; `NotRunning`, `AgentUnavailable`.
    """
    process, out, err = ids.random_id(), bytearray(), bytearray()
    end: Exit | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            await host.start(machine, process, guest.ProcessSpec(argv, user="root", cwd="/", timeout=limit))
            try:
                while end is None:
                    page = await host.read(machine, process, len(out), len(err), wait=_READ_WAIT)
                    out += page.stdout
                    err += page.stderr
                    end = page.exit or (CUT if max(len(out), len(err)) > MOST else None)
                    if end is None and not page.stdout and not page.stderr:
                        await asyncio.sleep(follower.QUICK)  # a guest that answers at once must not keep us busy
            finally:
                with contextlib.suppress(errors.HutchError, TimeoutError):
                    async with asyncio.timeout(TIDY_LIMIT):
                        await host.forget(machine, process)
    return Answer(bytes(out), bytes(err), end)
