"""What a machine is given instead of what it has: a larger disk, other CPUs and memory, another network policy."""

import contextlib
from dataclasses import replace

from hutch.host import disks
from hutch.host.machines import hardware
from hutch.host.machines.body import Body
from hutch.host.machines.journal import Phase
from hutch.host.qemu import process, vm
from hutch.model import errors
from hutch.model.machine import MachineSpec, NetworkPolicy


async def resize(body: Body, disk_gib: int) -> None:
    """At once if it has a process, else at its next start. `InvalidRequest` for less than it has."""
    had = body.journal.spec.resources.disk_gib
    if disk_gib < had:
        raise errors.InvalidRequest(f"a disk of {had} GiB cannot be made smaller: {disk_gib} GiB asked for")
    spec = replace(body.journal.spec, resources=replace(body.journal.spec.resources, disk_gib=disk_gib))
    if body.held is None:
        body.record(replace(body.journal, spec=spec))
        return
    await process.to_the_end(_enlarge(body, body.held.machine, spec))
    if body.journal.phase is Phase.RUNNING:
        await (await body.running().agent()).grow()
        body.note(replace(body.journal, grow=False))


async def _enlarge(body: Body, machine: vm.Vm, spec: MachineSpec) -> None:
    """The disk, and the journal that tells so; its guest is told after it, and may take its time."""
    top, disk_gib = hardware.node(body.journal.layers[-1]), spec.resources.disk_gib
    await machine.monitor.execute("block_resize", node_name=top, size=disk_gib * disks.GIB)
    body.record(replace(body.journal, spec=spec, disk_gib=disk_gib, grow=True))


async def reshape(body: Body, cpus: int, memory_mib: int) -> None:
    """At its next boot; what a suspended one has in memory is given up. `Conflict` while it has a process."""
    if body.held is not None:
        raise errors.Conflict(f"machine {body.journal.id} is {body.journal.phase}: stop it first")
    journal, has = body.journal, body.journal.spec.resources
    resources = replace(has, cpus=cpus, memory_mib=memory_mib)
    if resources == has:
        return
    phase = Phase.STOPPED if journal.phase is Phase.SUSPENDED else journal.phase
    body.record(replace(journal, spec=replace(journal.spec, resources=resources), phase=phase, saved=None))
    body.context.collect()


async def set_policy(body: Body, policy: NetworkPolicy) -> None:
    """In force when this returns; on an error the former one is."""
    body.context.engine.launcher.networks.base(policy)
    before, connection = body.journal, body.connection
    try:
        if connection is not None:
            await connection.enforce(policy)
        body.record(replace(before, spec=replace(before.spec, network=policy)))
    except BaseException:
        if connection is not None:
            with contextlib.suppress(errors.HutchError):
                await connection.enforce(before.spec.network)
        raise
