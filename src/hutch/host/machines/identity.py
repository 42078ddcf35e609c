"""Who a guest is: told to it before anything else runs in it, after every start, restore and claim."""

import hashlib
import os
import time
import uuid
from collections.abc import Collection
from dataclasses import replace

from hutch.host.agent.client import Agent
from hutch.host.interface import Image
from hutch.host.machines.journal import Journal
from hutch.model import guest
from hutch.model.ids import VolumeId

ENTROPY_BYTES = 64
MAIN = "main"
"""The id of the process that runs a machine's own command."""


async def introduce(
    agent: Agent, journal: Journal, image: Image | None, is_known: bool = False, stale: Collection[VolumeId] = ()
) -> None:
    """Fresh randomness, time, names, environment; then what the machine is to have: its disks, its command.

    `is_known`: it comes out of a saved state of its own and has its names already; telling the guest's init of
    them again costs a good part of a wake. `stale`: volumes it has mounted that were written since.
    """
    spec = journal.spec
    instance = str(uuid.uuid4())
    told = {"HUTCH_MACHINE_ID": journal.id, "HUTCH_MACHINE_NAME": spec.hostname, "HUTCH_INSTANCE_ID": instance}
    await agent.restore(
        entropy=os.urandom(ENTROPY_BYTES),
        time_ns=time.time_ns(),
        machine_id=None if is_known else hashlib.sha256(f"machine-id {journal.id}".encode()).hexdigest()[:32],
        hostname=None if is_known else spec.hostname,
        instance_id=instance,
        env={**((image.config.env if image else None) or {}), **spec.env, **told},
    )
    if journal.grow:
        await agent.grow()
    for mount in spec.mounts:
        await agent.mount(mount.volume, mount.path, readonly=mount.readonly, again=mount.volume in stale)
    if spec.workdir:
        await agent.files.make_directory(spec.workdir, 0o755)
    if spec.command and not await _runs_already(agent):
        main = guest.ProcessSpec(spec.command, overflow=guest.Overflow.DROP)
        await agent.processes.start(MAIN, with_defaults(main, journal, image))


async def _runs_already(agent: Agent) -> bool:
    """A guest that comes out of a saved state has its command with it."""
    return any(process.id == MAIN for process in await agent.processes.list())


async def set_clock(agent: Agent) -> None:
    """After it has stood still, in place."""
    await agent.restore(b"", time_ns=time.time_ns())


def with_defaults(spec: guest.ProcessSpec, journal: Journal, image: Image | None) -> guest.ProcessSpec:
    """A process's cwd and user, where it names none: the machine's, then the image's."""
    config = image.config if image else None
    cwd = spec.cwd or journal.spec.workdir or (config.workdir if config else None) or "/"
    user = spec.user or journal.spec.user or (config.user if config else None) or "root"
    return replace(spec, cwd=cwd, user=user)
