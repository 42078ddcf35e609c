"""Shortening a chain of disk layers: what the layers below hold is copied into the machine's own, while it runs."""

import asyncio
import contextlib

from hutch.host import files
from hutch.host.machines import hardware
from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal
from hutch.host.qemu import process, vm
from hutch.model import errors

DEPTH = 10
"""So many layers over the template's are flattened to one."""

MOST = 40
"""A machine with so many is not given another one before they are flattened."""

SPEED = 256 * 2**20
"""Bytes a second at most: the machine's own reads and writes go first."""

LOOK = 0.05
_JOB, _ENDED = "flatten", "concluded"


async def flatten(context: Context, machine: vm.Vm, journal: Journal) -> None:
    """Returns when the top layer stands on the template's. Cancelling it leaves a chain that is as good as before.

    `DiskFull` before the host's reserve is touched: machines would die of that.
    """
    *below, last = journal.layers
    top, reserve = hardware.node(last), context.settings.disk_reserve_mib * 2**20
    files.require_space(context.paths.layers, sum(map(context.layers.size, below)) + reserve, "joining disk layers")
    try:
        await machine.monitor.execute(
            "block-stream",
            job_id=_JOB,
            device=top,
            base_node=hardware.TEMPLATE,
            speed=SPEED,
            auto_dismiss=False,
        )
        job = await _job(machine)
        while job is not None and job["status"] != _ENDED:
            await asyncio.sleep(LOOK)
            files.require_space(context.paths.layers, reserve, "joining disk layers")
            job = await _job(machine)
    except BaseException:
        await process.to_the_end(cancel(machine))
        raise
    await machine.monitor.execute("job-dismiss", id=_JOB)
    if job is not None and "error" in job:
        raise errors.MachineFailed(f"the machine's disk layers could not be joined: {job['error']}")


async def cancel(machine: vm.Vm) -> None:
    """Give up what is under way, also of a former service; nothing if there is none.

    A job that has come to its end must be dismissed all the same: its disk takes no new layer as long as it is known,
    and QEMU 7.2 dies when it is asked for its nodes.
    """
    if machine.watch.ended.is_set():
        return
    is_cancelled = False
    while (job := await _job(machine)) is not None:
        if job["status"] == _ENDED:
            await machine.monitor.execute("job-dismiss", id=_JOB)
        elif not is_cancelled:
            with contextlib.suppress(errors.MachineFailed):  # it came to its end meanwhile
                await machine.monitor.execute("block-job-cancel", device=_JOB)
            is_cancelled = True
        else:
            await asyncio.sleep(LOOK)


async def _job(machine: vm.Vm) -> dict[str, str] | None:
    jobs = await machine.monitor.execute("query-jobs")
    return next((job for job in jobs if job["id"] == _JOB), None)
