"""What a machine's process is started with, and what its saved states must fit. From the journal, nothing else."""

from pathlib import Path

from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal
from hutch.host.qemu import argv, process, vm
from hutch.host.saved.manifest import Fit, Manifest

IMAGE, TEMPLATE = "image", "template"


def board(context: Context, journal: Journal) -> argv.Board:
    """The board of a machine."""
    resources = journal.spec.resources
    volumes = len(journal.spec.mounts)
    return argv.Board(context.engine.accelerator, resources.cpus, resources.memory_mib, volumes)


def fit(context: Context, journal: Journal) -> Fit:
    """What a saved state of it must have been made with to be loaded here now."""
    shape = board(context, journal)
    return Fit(shape, argv.CPU_MODELS[shape.accelerator], context.engine.vmm)


def node(layer: str) -> str:
    """What QEMU calls a disk layer: a name must begin with a letter."""
    return f"l{layer}"


def memory_file(context: Context, journal: Journal) -> Path:
    """What its process maps, or is to map."""
    assert journal.run is not None
    return shared_memory(context, journal) or context.paths.run(journal.run).memory


def shared_memory(context: Context, it: Journal | Manifest) -> Path | None:
    """The memory file that a machine or saved state stands on; None if its memory was empty at first."""
    if it.memory is not None:
        return context.paths.memory(it.memory)
    assert it.template is not None
    return context.paths.template(it.template).memory if it.on_template else None


def blank(context: Context, journal: Journal) -> Path | None:
    """An empty layer of the size of its disk, if its template has one."""
    assert journal.template is not None
    template = context.engine.templates.read(journal.template)
    return template.paths.blank if template is not None and template.disk_gib == journal.disk_gib else None


def of(context: Context, journal: Journal, *, incoming: bool = False, grow: bool = False) -> vm.Hardware:
    """All of it."""
    assert journal.template is not None
    root_image = context.images.root_image(journal.spec.image.digest)
    layers = [root_image, context.paths.template(journal.template).disk, *map(context.paths.layer, journal.layers)]
    return vm.Hardware(
        board(context, journal),
        memory_file(context, journal),
        layers,
        names=(IMAGE, TEMPLATE, *map(node, journal.layers)),
        policy=journal.spec.network,
        incoming=incoming,
        grow=grow,
        owner=_owner(context, journal),
        volumes=[
            vm.Volume(context.paths.volume(mount.volume), mount.volume, mount.readonly) for mount in journal.spec.mounts
        ],
    )


def _owner(context: Context, journal: Journal) -> process.Owner | None:
    if journal.uid is None:
        return None
    gid = None
    if journal.memory is not None:
        gid = context.states.memories.group(journal.memory)
    elif journal.on_template:
        assert journal.template is not None
        gid = context.engine.templates.group(journal.template)
    return process.Owner(journal.uid, (gid,) if gid is not None else ())
