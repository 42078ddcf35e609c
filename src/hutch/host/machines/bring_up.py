"""From a machine at rest to one whose agent has answered.

Three ways: out of its template (the first time), from its own disk, or out of the saved state it is suspended in. The
first and the last are one mechanism: map a memory file privately, put back the pages that were written, load the
device state, go on.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hutch.host import disks, files
from hutch.host.interface import Image, OnProgress, Progress
from hutch.host.machines import hardware, identity
from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal, Phase
from hutch.host.qemu import guest_network, process, vm
from hutch.host.saved import memory
from hutch.host.saved.manifest import Manifest
from hutch.host.templates.templates import Template
from hutch.model import errors, ids
from hutch.model.ids import VolumeId

MIB = 2**20

Record = Callable[[Journal], None]
Hold = Callable[[vm.Vm], None]


def template_disk_gib(disk_gib: int, default: int = 20) -> int:
    """How large the template's disk is: disks can grow after a restore but not shrink."""
    return min(disk_gib, default)


async def bring_up(context: Context, journal: Journal, record: Record, hold: Hold, on_progress: OnProgress) -> None:
    """Start it; `hold` is given what runs, and the journal tells `RUNNING`.

    `record` gets each new journal entry before the step it tells of. On an error no process is left. Once a restored
    guest goes on the start is finished even if we are cancelled: its saved memory is of the past then.
    """
    on_progress(Progress("preparing the image"))
    image = await context.images.ensure(journal.spec.image, on_progress)
    await context.volumes.prepare(journal)
    is_known, stale = False, frozenset[VolumeId]()
    if journal.saved is not None:
        state = context.states.get(journal.saved)
        is_known = state.machine == journal.id
        stale = context.volumes.rewritten(journal, state.volumes)
        machine, journal = await _wake(context, journal, record, on_progress)
    elif journal.booted:
        await _boot(context, journal, image, record, hold, on_progress)
        return
    else:
        machine, journal = await _restore(context, journal, image, record, on_progress)
    try:
        journal = await _grow(machine, journal)
        # The disk goes on without the saved memory from the next step on.
        record(replace(journal, phase=Phase.WAKING, process=machine.watch.process, booted=True, saved=None))
    except BaseException:
        await machine.kill()
        raise
    await process.to_the_end(go_on(context, journal, machine, record, hold, is_known, stale))


async def go_on(
    context: Context,
    journal: Journal,
    machine: vm.Vm,
    record: Record,
    hold: Hold,
    is_known: bool = False,
    stale: frozenset[VolumeId] = frozenset(),
) -> None:
    """Let a guest that was restored run, as itself. On an error no process is left.

    `is_known`: it has its names; `stale`: volumes that it has mounted and that were written since.
    """
    journal = replace(journal, process=machine.watch.process, booted=True, saved=None, reason=None)
    image = context.images.get(journal.spec.image.digest)
    try:
        await machine.connection.enforce(journal.spec.network)
        await machine.monitor.execute("cont")
        agent = await machine.connect_agent(context.settings.restore_timeout)
        introducing = identity.introduce(agent, journal, image, is_known, stale)
        await vm.while_alive(machine.watch, introducing, machine.last_words)
        record(replace(journal, phase=Phase.RUNNING, grow=False))
    except BaseException:
        await machine.kill()
        raise
    hold(machine)


async def _restore(
    context: Context, journal: Journal, image: Image, record: Record, on_progress: OnProgress
) -> tuple[vm.Vm, Journal]:
    """Out of its template, stopped."""
    template = await template_of(context, journal, image, on_progress)
    on_progress(Progress("restoring"))
    standing = replace(journal, template=template.key, on_template=True, memory=None)
    if spare := context.spares.take(context, standing, template.disk_gib):
        machine = spare.machine
        journal = replace(spare.journal, id=journal.id, spec=journal.spec, phase=journal.phase)
        await _record_spare(journal, machine, record)
    else:
        async with context.layers.fresh(template.paths.disk, template.disk_gib, template.paths.blank) as layer:
            journal = out_of(template, journal, layer)
            record(journal)
        machine = await launch(context, journal, record, incoming=True)
    await _load(context, machine, template.paths.devices)
    return machine, journal


async def _record_spare(journal: Journal, machine: vm.Vm, record: Record) -> None:
    """It is the machine's process from now on."""
    try:
        record(replace(journal, process=machine.watch.process))
    except BaseException:
        await machine.kill()
        raise


async def _load(context: Context, machine: vm.Vm, devices: Path) -> None:
    try:
        loading = machine.monitor.load_devices(devices, context.settings.restore_timeout)
        await vm.while_alive(machine.watch, loading, machine.last_words)
    except BaseException:
        await machine.kill()
        raise


def out_of(template: Template, journal: Journal, layer: str) -> Journal:
    """A machine that is to be restored out of a template, with its own disk layer."""
    return replace(
        journal,
        template=template.key,
        on_template=True,
        memory=None,
        layers=(layer,),
        disk_gib=template.disk_gib,
        run=ids.random_id(),
    )


async def template_of(context: Context, journal: Journal, image: Image, on_progress: OnProgress) -> Template:
    """The template of its image and shape; made now if it is not there."""
    templates = context.engine.templates
    disk_gib = template_disk_gib(journal.spec.resources.disk_gib)
    recipe = templates.recipe(image, hardware.board(context, journal), disk_gib, context.engine.vmm)
    found = templates.get(recipe)
    return found or await templates.ensure(recipe, context.images.root_image(image.ref.digest), on_progress)


async def _wake(context: Context, journal: Journal, record: Record, on_progress: OnProgress) -> tuple[vm.Vm, Journal]:
    """Out of the state it is suspended in, stopped."""
    assert journal.saved is not None
    on_progress(Progress("restoring"))
    with context.states.pinned(journal.saved):
        state = await asyncio.to_thread(context.states.load, journal.saved, hardware.fit(context, journal))
        return await _wake_in(context, journal, state, record)


async def _wake_in(context: Context, journal: Journal, state: Manifest, record: Record) -> tuple[vm.Vm, Journal]:
    """A machine in a state that stays as it is meanwhile."""
    saved = context.paths.state(state.id)
    journal = replace(journal, on_template=state.on_template, memory=state.memory)
    is_new = journal.layers[-1] not in state.layers  # its own layer is empty yet: another will do as well
    spare = context.spares.take(context, journal, state.disk_gib, state.layers) if is_new else None
    if spare is not None:
        machine = spare.machine
        top = spare.journal.layers[-1]
        journal = replace(journal, uid=spare.journal.uid, run=spare.journal.run, layers=(*state.layers, top))
        await _record_spare(journal, machine, record)
    else:
        journal = replace(journal, run=ids.random_id())
        machine = await launch(context, journal, record, incoming=True)
    try:
        if spare is not None:
            await _put_on(context, machine, spare.journal.layers[:-1], journal.layers)
        if state.runs:
            mapping = memory.find(machine.watch.process.pid, hardware.memory_file(context, journal))
            await asyncio.to_thread(memory.load, mapping, state.runs, saved.pages)
    except BaseException as error:
        await machine.kill()
        if isinstance(error, OSError):
            raise errors.MachineFailed(f"the saved memory cannot be put back: {error.strerror or error}") from error
        raise
    await _load(context, machine, saved.devices)
    return machine, journal


async def _put_on(context: Context, machine: vm.Vm, has: Sequence[str], layers: Sequence[str]) -> None:
    """Have the disk of a spare process, an empty layer on the first of these, stand on all of them but the last."""
    *below, top = layers
    backing = hardware.node(has[-1]) if has else hardware.TEMPLATE
    for layer in below[len(has) :]:
        await machine.monitor.add_layer(hardware.node(layer), context.paths.layer(layer), backing)
        backing = hardware.node(layer)
    if len(below) > len(has):
        await machine.monitor.put_on(hardware.node(top), backing)


async def _boot(
    context: Context, journal: Journal, image: Image, record: Record, hold: Hold, on_progress: OnProgress
) -> None:
    files.require_space(context.paths.runs, MIB, "a start")
    journal = replace(journal, run=ids.random_id(), on_template=False, memory=None)
    on_progress(Progress("booting"))
    if (wanted := journal.spec.resources.disk_gib) > journal.disk_gib:
        await disks.grow(context.paths.layer(journal.layers[-1]), wanted)
        journal = replace(journal, disk_gib=wanted)
    machine = await launch(context, journal, record, grow=True)
    journal = replace(journal, process=machine.watch.process)
    try:
        agent = await machine.connect_agent(context.settings.boot_timeout)
        await guest_network.configure(agent)
        await vm.while_alive(machine.watch, identity.introduce(agent, journal, image), machine.last_words)
        record(replace(journal, phase=Phase.RUNNING, grow=False, reason=None))
    except BaseException:
        await machine.kill()
        raise
    hold(machine)


async def launch(
    context: Context, journal: Journal, record: Record, *, incoming: bool = False, grow: bool = False
) -> vm.Vm:
    """Its process. On an error none is left."""
    assert journal.run is not None
    where = context.paths.run(journal.run)
    where.root.mkdir(mode=0o700)
    if hardware.shared_memory(context, journal) is None:
        with where.memory.open("xb") as file:
            file.truncate(journal.spec.resources.memory_mib * MIB)
        if journal.uid is not None:
            os.chown(where.memory, journal.uid, journal.uid)
    wanted = hardware.of(context, journal, incoming=incoming, grow=grow)

    def tell(started: process.Identity) -> None:
        record(replace(journal, process=started))

    return await vm.Vm.start(context.engine.launcher, journal.id, where, wanted, tell)


async def _grow(machine: vm.Vm, journal: Journal) -> Journal:
    """Give the disk the size it is to have; the guest is told when it goes on."""
    wanted = journal.spec.resources.disk_gib
    if wanted <= journal.disk_gib:
        return journal
    await machine.monitor.execute("block_resize", node_name=hardware.node(journal.layers[-1]), size=wanted * disks.GIB)
    return replace(journal, disk_gib=wanted, grow=True)
