"""How a member of a warm pool is made: restored, warmed by the pool's command, and paused."""

import asyncio
import dataclasses

from hutch.host.interface import Host
from hutch.model import errors, guest
from hutch.model.ids import MachineId
from hutch.model.machine import Pool

WARM_UP_TIMEOUT = 120.0
"""Seconds a pool's command may run in a new member."""

SLACK = 15.0
"""Seconds the guest has beyond that to end it and to tell so."""

_QUICK = 0.01
"""Seconds between pages that hold nothing: a guest that answers at once must not keep us busy."""

_WARM_UP = "warm-up"


async def make(host: Host, pool: Pool, member: MachineId) -> None:
    """A paused machine of this id; on an error what there is of it is the caller's to destroy."""
    await host.create(member, dataclasses.replace(pool.spec, hostname=f"member-{member}"))
    await host.start(member)
    if pool.warm_up is not None:
        try:
            async with asyncio.timeout(WARM_UP_TIMEOUT + SLACK):
                await _warm_up(host, member, pool.warm_up)
        except TimeoutError:
            raise errors.MachineFailed("its warm-up command did not end, though its time was over") from None
    await host.pause(member)


async def _warm_up(host: Host, member: MachineId, argv: tuple[str, ...]) -> None:
    processes, at, words = host.processes, (0, 0), b""
    spec = guest.ProcessSpec(argv, timeout=WARM_UP_TIMEOUT)
    await processes.start(member, _WARM_UP, spec)
    while True:
        page = await processes.read(member, _WARM_UP, *at, wait=20.0)
        at = (page.stdout_at + len(page.stdout), page.stderr_at + len(page.stderr))
        words = (words + page.stdout + page.stderr)[-200:]
        if page.exit is not None:
            break
        if not page.stdout and not page.stderr:
            await asyncio.sleep(_QUICK)
    await processes.forget(member, _WARM_UP)
    if page.exit.shell_code != 0:
        told = words.decode(errors="replace").strip()
        raise errors.MachineFailed(f"its warm-up command ended with {page.exit.shell_code}: {told or 'no output'}")
