"""Volumes of a simulated host: directories, to which a link stands where a machine has mounted one.

A command of a machine writes to a volume that is mounted read-only all the same; files are refused.
"""

import builtins
import shutil
from collections.abc import Iterator, Sequence

from hutch.host import mounts
from hutch.host.interface import Life, StoredVolume
from hutch.host.simulated import freezing, machine, paths
from hutch.host.simulated.machine import Machine
from hutch.host.simulated.world import World
from hutch.model import errors
from hutch.model.ids import MachineId, VolumeId
from hutch.model.volumes import Mount

EMPTY = 2**20
"""Bytes that an empty file system takes."""


class SimulatedVolumes:
    """Implements `hutch.host.interface.Volumes`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def create(self, volume: VolumeId, size_gib: int) -> None:
        mounts.check_id(volume)
        mounts.check_size(size_gib)
        await self._world.faults.meet("create_volume")
        freezing.check_space(self._world)
        if volume not in self._world.volumes:
            self._world.volume(volume).mkdir(parents=True)
            self._world.volumes[volume] = size_gib

    async def remove(self, volume: VolumeId) -> None:
        mounts.check_id(volume)
        await self._world.faults.meet("remove_volume")
        for it in self._world.machines.values():
            if volume in {mount.volume for mount in it.spec.mounts}:
                raise errors.Conflict(f"volume {volume} is mounted by machine {it.id}: delete that first")
        self._world.volumes.pop(volume, None)
        shutil.rmtree(self._world.volume(volume), ignore_errors=True)

    def list(self) -> builtins.list[StoredVolume]:
        return [self._describe(volume, size) for volume, size in sorted(self._world.volumes.items())]

    def _describe(self, volume: VolumeId, size_gib: int) -> StoredVolume:
        return StoredVolume(volume, size_gib, EMPTY + machine.size_of(self._world.volume(volume)))


def check_there(world: World, wanted: Sequence[Mount]) -> None:
    """`NotFound` unless all are."""
    for mount in wanted:
        if mount.volume not in world.volumes:
            raise errors.NotFound(f"volume {mount.volume} not found")


def check_free(world: World, it: Machine) -> None:
    """`NotFound`; `Conflict` if a machine cannot have its volumes now."""
    check_there(world, it.spec.mounts)
    mounts.check_free(it.spec.mounts, _held(world, it))


def _held(world: World, but: Machine) -> Iterator[tuple[MachineId, Mount]]:
    for it in world.machines.values():
        if it is not but and (it.is_starting or it.life in (Life.RUNNING, Life.PAUSED, Life.SUSPENDED)):
            yield from ((it.id, mount) for mount in it.spec.mounts)


def attach(world: World, it: Machine) -> None:
    """Put the links in place. `GuestError` where something else is."""
    for mount in it.spec.mounts:
        place = paths.resolve(it.root, mount.path)
        volume = world.volume(mount.volume)
        if place == volume:
            continue
        try:
            place.mkdir(parents=True, exist_ok=True)
            place.rmdir()
            place.symlink_to(volume)
        except OSError as error:
            raise errors.GuestError(f"{mount.path}: {error.strerror}") from None
