"""From a machine at rest to one whose agent has answered: out of its template, or from its own disk."""

import functools
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from hutch.host import disks, files
from hutch.host.agent.client import Agent
from hutch.host.interface import Image, OnProgress, Progress
from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal
from hutch.host.qemu import argv, guest_network, process, vm
from hutch.host.templates.templates import Template
from hutch.model import errors, guest
from hutch.model.machine import NetworkMode

MIB = 2**20
ENTROPY_BYTES = 64
MAIN = "main"
"""The id of the process that runs a machine's own command."""

Record = Callable[[Journal], None]


def template_disk_gib(context: Context, disk_gib: int, default: int = 20) -> int:
    """How large the template's disk is: disks can grow after a restore but not shrink."""
    return min(disk_gib, default)


def board(context: Context, journal: Journal) -> argv.Board:
    """The board of a machine."""
    return argv.Board(context.engine.accelerator, journal.spec.resources.cpus, journal.spec.resources.memory_mib)


async def bring_up(context: Context, journal: Journal, record: Record, on_progress: OnProgress) -> vm.Vm:
    """Start it. `record` gets each new journal entry before the step it tells of. On an error no process is left."""
    on_progress(Progress("preparing the image"))
    image = await context.images.ensure(journal.spec.image, on_progress)
    if journal.booted:
        return await _boot(context, journal, image, record, on_progress)
    return await _restore(context, journal, image, record, on_progress)


async def _restore(context: Context, journal: Journal, image: Image, record: Record, on_progress: OnProgress) -> vm.Vm:
    engine, where = context.engine, context.paths.machine(journal.id)
    shape = board(context, journal)
    disk_gib = template_disk_gib(context, journal.spec.resources.disk_gib)
    recipe = engine.templates.recipe(image, shape, disk_gib, engine.vmm)
    root_image = context.images.root_image(image.ref.digest)
    template = engine.templates.get(recipe)
    if template is None:
        template = await engine.templates.ensure(recipe, root_image, on_progress)
    on_progress(Progress("restoring"))
    disks.copy_blank(template.paths.blank, where.disk)
    layers = (root_image, template.paths.disk, where.disk)
    hardware = vm.Hardware(
        shape,
        template.paths.memory,
        layers,
        reach_network=_reaches(journal),
        incoming=True,
        owner=_owner(journal, template),
    )
    journal = replace(journal, template=recipe.key)
    machine = await _launch(context, journal, hardware, record)
    try:
        loading = machine.monitor.load_devices(template.paths.devices, context.settings.restore_timeout)
        await vm.while_alive(machine.watch, loading, machine.last_words)
        if grow := journal.spec.resources.disk_gib > disk_gib:
            await machine.monitor.execute(
                "block_resize", node_name="d2", size=journal.spec.resources.disk_gib * disks.GIB
            )
        record(replace(journal, process=machine.watch.process, booted=True))
        await machine.monitor.execute("cont")
        agent = await machine.connect_agent(context.settings.restore_timeout)
        await vm.while_alive(machine.watch, _introduce(agent, journal, image, grow), machine.last_words)
    except BaseException:
        await machine.kill()
        raise
    return machine


async def _boot(context: Context, journal: Journal, image: Image, record: Record, on_progress: OnProgress) -> vm.Vm:
    where = context.paths.machine(journal.id)
    assert journal.template is not None
    template_disk = context.paths.template(journal.template).disk
    layers = (context.images.root_image(image.ref.digest), template_disk, where.disk)
    files.require_space(where.root, 2**20, "a start")
    with where.memory.open("wb") as memory:
        memory.truncate(journal.spec.resources.memory_mib * MIB)
    if journal.uid is not None:
        os.chown(where.memory, journal.uid, journal.uid)
    hardware = vm.Hardware(
        board(context, journal), where.memory, layers, reach_network=_reaches(journal), grow=True, owner=_owner(journal)
    )
    on_progress(Progress("booting"))
    machine = await _launch(context, journal, hardware, record)
    try:
        agent = await machine.connect_agent(context.settings.boot_timeout)
        await guest_network.configure(agent)
        await vm.while_alive(machine.watch, _introduce(agent, journal, image, False), machine.last_words)
    except BaseException:
        await machine.kill()
        raise
    return machine


async def _launch(context: Context, journal: Journal, hardware: vm.Hardware, record: Record) -> vm.Vm:
    where = context.paths.machine(journal.id)
    tell = functools.partial(_record_process, journal, record)
    return await vm.Vm.start(context.engine.launcher, journal.id, where, hardware, tell)


def _record_process(journal: Journal, record: Record, identity: process.Identity) -> None:
    record(replace(journal, process=identity))


async def _introduce(agent: Agent, journal: Journal, image: Image, grow: bool) -> None:
    """Tell the guest who it is now, before anything else runs in it: fresh randomness, time, names, environment."""
    spec = journal.spec
    env = {**(image.config.env or {}), **spec.env, "HUTCH_MACHINE_ID": journal.id}
    await agent.restore(
        entropy=os.urandom(ENTROPY_BYTES),
        time_ns=time.time_ns(),
        machine_id=hashlib.sha256(f"machine-id {journal.id}".encode()).hexdigest()[:32],
        hostname=spec.hostname,
        instance_id=str(uuid.uuid4()),
        env=env,
    )
    if grow:
        await agent.grow()
    if spec.workdir:
        await agent.files.make_directory(spec.workdir, 0o755)
    if spec.command:
        await agent.processes.start(
            MAIN, with_defaults(guest.ProcessSpec(spec.command, overflow=guest.Overflow.DROP), journal, image)
        )


def with_defaults(spec: guest.ProcessSpec, journal: Journal, image: Image | None) -> guest.ProcessSpec:
    """A process's cwd and user, where it names none: the machine's workdir, then the image's."""
    config = image.config if image else None
    cwd = spec.cwd or journal.spec.workdir or (config.workdir if config else None) or "/"
    user = spec.user or (config.user if config else None) or "root"
    return replace(spec, cwd=cwd, user=user)


def _reaches(journal: Journal) -> bool:
    if journal.spec.network.mode is NetworkMode.ALLOW:
        raise errors.Unsupported("allow lists need network slots, which this host does not have: use open or blocked")
    return journal.spec.network.mode is NetworkMode.OPEN


def _owner(journal: Journal, template: Template | None = None) -> process.Owner | None:
    if journal.uid is None:
        return None
    groups = (template.gid,) if template is not None and template.gid is not None else ()
    return process.Owner(journal.uid, groups)
