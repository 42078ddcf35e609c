"""What machines and saved states must have in common for one to stand on the other."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal, Phase
from hutch.host.saved.manifest import Manifest
from hutch.model import errors
from hutch.model.machine import MachineSpec
from hutch.model.volumes import Mount


def check(spec: MachineSpec, state: Manifest) -> None:
    """`InvalidRequest` unless a machine of this spec can go on from the state."""
    ours, theirs = spec.resources, state.spec.resources
    for what, asked, there in (
        ("image", spec.image.digest, state.spec.image.digest),
        ("cpus", ours.cpus, theirs.cpus),
        ("memory (MiB)", ours.memory_mib, theirs.memory_mib),
    ):
        if asked != there:
            raise errors.InvalidRequest(f"{what}: {asked} asked for, but the snapshot has {there}, which cannot change")
    if spec.mounts != state.spec.mounts:
        raise errors.InvalidRequest(
            f"mounts: {_told(spec.mounts)} asked for, but the snapshot has {_told(state.spec.mounts)}, "
            "which cannot change"
        )
    if ours.disk_gib < state.disk_gib:
        raise errors.InvalidRequest(
            f"disk: {ours.disk_gib} GiB asked for, but the snapshot has {state.disk_gib} GiB: ask for as much or more"
        )


def check_same(wanted: MachineSpec, there: MachineSpec) -> None:
    """`Conflict` unless a machine can take over another's process."""
    mine, theirs = ((spec.image.digest, spec.resources, spec.network, spec.mounts) for spec in (wanted, there))
    if mine != theirs:
        raise errors.Conflict("the two machines differ in image, resources, network or mounts")


def _told(mounts: Sequence[Mount]) -> str:
    return ", ".join(f"{it.volume} at {it.path}{' read-only' * it.readonly}" for it in mounts) or "none"


@contextlib.asynccontextmanager
async def standing_on(context: Context, journal: Journal, state: Manifest) -> AsyncIterator[Journal]:
    """The journal of a machine suspended in a state, with a new layer of its own; to be recorded within."""
    template = context.paths.template(state.template)
    below = context.paths.layer(state.layers[-1]) if state.layers else template.disk
    known = context.engine.templates.read(state.template)
    blank = template.blank if known is not None and known.disk_gib == state.disk_gib else None
    async with context.layers.fresh(below, state.disk_gib, blank) as layer:
        yield replace(
            journal,
            phase=Phase.SUSPENDED,
            reason=None,
            process=None,
            template=state.template,
            layers=(*state.layers, layer),
            disk_gib=state.disk_gib,
            grow=False,
            booted=True,
            on_template=state.on_template,
            memory=state.memory,
            saved=state.id,
        )
