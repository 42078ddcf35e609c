"""Freezing a machine that runs: its memory, devices and disk at one moment become a saved state.

The guest stands still only while its written pages are copied into the host's page cache and its disk gets a new top
layer; checksums and the way to the platters come after it goes on. Conversations with the guest are not disturbed.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

import structlog

from hutch.host import files
from hutch.host.machines import hardware
from hutch.host.machines.context import Context
from hutch.host.machines.journal import Journal
from hutch.host.paths import StatePaths
from hutch.host.qemu import process, vm
from hutch.host.saved import memory
from hutch.host.saved.manifest import Manifest
from hutch.model import errors
from hutch.model.ids import SnapshotId

log = structlog.get_logger(__name__)

SLACK = 16 * 2**20
"""Bytes kept free beside what the guest has written: it goes on writing until it stands still."""

Record = Callable[[Journal], None]


class Use(Enum):
    """What a state is saved for."""

    SUSPEND = auto()
    SNAPSHOT = auto()
    FORK = auto()


@dataclass(frozen=True, slots=True)
class Frozen:
    """What was copied while the guest stood still."""

    runs: memory.Runs
    pause: float  # seconds


async def suspend(context: Context, journal: Journal, machine: vm.Vm, state: SnapshotId) -> None:
    """Save a running or paused machine as a state of its own. The guest stands still when this returns.

    On an error it goes on, or stays paused, as before. `DiskFull`, `MachineFailed`.
    """
    mapping = _mapping(context, journal, machine)
    _require_space(context, await asyncio.to_thread(memory.written, mapping))
    was_running = await machine.monitor.is_running()
    with context.states.making(state) as building:
        try:
            await machine.monitor.execute("stop")
            frozen = await _copy(machine, mapping, building)
            manifest = await _sum_up(context, journal, state, building, frozen, Use.SUSPEND)
            await _to_the_platters(context, building, journal.layers)
            await context.states.write(building, manifest)
            context.states.publish(building, manifest)
        except BaseException:
            if was_running:
                await process.to_the_end(_go_on(machine))
            raise
    log.info("frozen", machine=journal.id, state=state, written_mib=memory.size(frozen.runs) >> 20)


async def snapshot(
    context: Context, journal: Journal, machine: vm.Vm, state: SnapshotId, record: Record, transient: bool
) -> Manifest:
    """Save a running or paused machine, which goes on as it was with a new top layer on its disk."""
    mapping = _mapping(context, journal, machine)
    _require_space(context, await asyncio.to_thread(memory.written, mapping))
    was_running = await machine.monitor.is_running()
    old = journal
    with context.states.making(state) as building:
        below = context.paths.layer(old.layers[-1])
        async with context.layers.fresh(below, old.disk_gib, hardware.blank(context, old)) as layer:
            name = hardware.node(layer)
            await machine.monitor.add_layer(name, context.paths.layer(layer))
            # From here on the chain with the new layer is the true one, whether QEMU has got to it or not: until it
            # has, the layer is empty. A restart that finds QEMU without it takes it off again.
            record(replace(old, layers=(*old.layers, layer)))
        began = time.monotonic()
        try:
            try:
                await machine.monitor.execute("stop")
                await machine.monitor.execute("blockdev-snapshot", node=hardware.node(old.layers[-1]), overlay=name)
            except errors.HutchError:
                await machine.monitor.drop_layers(name)
                record(old)
                raise
            frozen = await _copy(machine, mapping, building)
        finally:
            if was_running:
                await process.to_the_end(_go_on(machine))
        pause = time.monotonic() - began
        log.info("frozen", machine=old.id, state=state, pause_ms=round(1000 * pause, 1), runs=len(frozen.runs))
        manifest = await _sum_up(context, old, state, building, frozen, Use.FORK if transient else Use.SNAPSHOT)
        if not transient:
            await _to_the_platters(context, building, old.layers)
        await context.states.write(building, manifest, durable=not transient)
        context.states.publish(building, manifest, durable=not transient)
    return manifest


async def of_suspended(
    context: Context, journal: Journal, state: SnapshotId, record: Record, transient: bool
) -> Manifest:
    """Make a snapshot of a machine that is suspended: of what it is suspended in, under a new top layer."""
    assert journal.saved is not None
    where = context.paths.state(journal.saved)
    with context.states.pinned(journal.saved) as own, context.states.making(state) as building:
        if own.runs:
            os.link(where.pages, building.pages)
        else:
            building.pages.touch(mode=0o600)
        os.link(where.devices, building.devices)
        sums = dict(own.checksums)
        if not transient:
            if "pages" not in sums:  # it came to be in a fork
                sums["pages"] = await asyncio.to_thread(memory.checksum, building.pages)
            sums |= await _layer_sums(context, own.layers)
            await _to_the_platters(context, building, own.layers)
        if journal.layers[-1] in own.layers:  # else its top layer is new already, and empty
            below = context.paths.layer(journal.layers[-1])
            async with context.layers.fresh(below, journal.disk_gib, hardware.blank(context, journal)) as layer:
                record(replace(journal, layers=(*journal.layers, layer)))
        manifest = replace(
            own,
            id=state,
            machine=journal.id,
            spec=journal.spec,
            created_at=time.time(),
            kept=not transient,
            checksums=sums,
        )
        await context.states.write(building, manifest, durable=not transient)
        context.states.publish(building, manifest, durable=not transient)
    return manifest


def _mapping(context: Context, journal: Journal, machine: vm.Vm) -> memory.Mapping:
    return memory.find(machine.watch.process.pid, hardware.memory_file(context, journal))


def _require_space(context: Context, runs: memory.Runs) -> None:
    reserve = context.settings.disk_reserve_mib * 2**20
    files.require_space(context.paths.states, memory.size(runs) + SLACK + reserve, "saving the machine")


async def _copy(machine: vm.Vm, mapping: memory.Mapping, building: StatePaths) -> Frozen:
    """Devices and written pages of the guest, which stands still."""
    began = time.monotonic()
    await machine.monitor.save_devices(building.devices)
    try:
        runs = await asyncio.to_thread(_copy_pages, mapping, building.pages)
    except OSError as error:
        raise _failure(error) from error
    return Frozen(runs, time.monotonic() - began)


def _copy_pages(mapping: memory.Mapping, path: Path) -> memory.Runs:
    runs = memory.written(mapping)
    memory.save(mapping, runs, path)
    return runs


async def _sum_up(
    context: Context, journal: Journal, state: SnapshotId, building: StatePaths, frozen: Frozen, use: Use
) -> Manifest:
    sums = {"devices": memory.checksum(building.devices)}
    if use is not Use.FORK:  # whose memory is read at once, and never again
        sums["pages"] = await asyncio.to_thread(memory.checksum, building.pages)
    if use is Use.SNAPSHOT:
        sums |= await _layer_sums(context, journal.layers)
    assert journal.template is not None
    return Manifest(
        id=state,
        machine=journal.id,
        created_at=time.time(),
        kept=use is Use.SNAPSHOT,
        fit=hardware.fit(context, journal),
        spec=journal.spec,
        disk_gib=journal.disk_gib,
        template=journal.template,
        on_template=journal.on_template,
        memory=journal.memory,
        layers=journal.layers,
        runs=frozen.runs,
        checksums=sums,
        volumes=context.volumes.stamps(journal.spec.mounts),
    )


async def _layer_sums(context: Context, layers: tuple[str, ...]) -> dict[str, str]:
    return {f"layer {layer}": await context.layers.checksum(layer) for layer in layers}


async def _to_the_platters(context: Context, building: StatePaths, layers: Sequence[str]) -> None:
    """All that the state consists of: a layer below may be of a fork, and never have been written out."""
    try:
        for path in (building.pages, building.devices, *map(context.paths.layer, layers)):
            await asyncio.to_thread(files.sync, path)
    except OSError as error:
        raise _failure(error) from error


def _failure(error: OSError) -> errors.HutchError:
    if files.is_full(error):
        return errors.DiskFull("the host's disk is full: the machine was not saved")
    return errors.MachineFailed(f"the machine's memory cannot be saved: {error.strerror or error}")


async def _go_on(machine: vm.Vm) -> None:
    if not machine.watch.ended.is_set():
        await machine.monitor.go_on()
