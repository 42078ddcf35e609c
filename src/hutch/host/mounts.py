"""What a machine's mounts may be, and which machines may have the same volume at once. Pure; for every host."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from hutch.model import errors, ids
from hutch.model.ids import MachineId, VolumeId
from hutch.model.machine import MachineSpec
from hutch.model.volumes import Mount

LIMIT = 8
"""Volumes of one machine: the board has 24 places for virtio devices."""

PATH_LIMIT = 1024
SIZE_LIMIT_GIB = 8 * 1024
"""A file on the host that is an ext4 may have twice as much, and no more."""

_TAKEN = [PurePosixPath(path) for path in ("/dev", "/proc", "/run/hutch", "/run/systemd", "/sys")]


def check(mounts: Sequence[Mount]) -> None:
    """`InvalidRequest` for what no machine could mount."""
    if len(mounts) > LIMIT:
        raise errors.InvalidRequest(f"mounts: at most {LIMIT} volumes a machine, not {len(mounts)}")
    for mount in mounts:
        check_id(mount.volume)
        _check_path(mount.path)
    for one, other in itertools.combinations(mounts, 2):
        if one.volume == other.volume:
            raise errors.InvalidRequest(f"mounts: volume {one.volume} is mounted twice")
        first, second = PurePosixPath(one.path), PurePosixPath(other.path)
        if first.is_relative_to(second) or second.is_relative_to(first):
            raise errors.InvalidRequest(f"mounts: one of {one.path} and {other.path} would lie in the other")


def _check_path(path: str) -> None:
    is_plain = path.startswith("/") and path.isprintable() and len(path.encode(errors="replace")) <= PATH_LIMIT
    if not is_plain or any(part in ("", ".", "..") or len(part) > 255 for part in path[1:].split("/")):
        raise errors.InvalidRequest(f"mounts: {path[:PATH_LIMIT]!r} is no absolute path of plain names")
    if any(PurePosixPath(path).is_relative_to(taken) for taken in _TAKEN):
        raise errors.InvalidRequest(f"mounts: nothing can be mounted at {path}")


def check_id(volume: VolumeId) -> None:
    """`InvalidRequest` unless it has the form of one: it becomes a name of a file, and a disk's serial."""
    if not ids.is_machine_id(volume):
        raise errors.InvalidRequest(f"{volume[:64]!r} is no id of a volume")


def check_size(size_gib: int) -> None:
    """`InvalidRequest` for a size no volume has."""
    if not 1 <= size_gib <= SIZE_LIMIT_GIB:
        raise errors.InvalidRequest(f"a volume has 1 to {SIZE_LIMIT_GIB} GiB, not {size_gib}")


def check_free(mounts: Sequence[Mount], held: Iterable[tuple[MachineId, Mount]]) -> None:
    """`Conflict` unless each is held by nobody, or here and everywhere for reading only."""
    wanted = {mount.volume: mount for mount in mounts}
    for machine, other in held:
        mine = wanted.get(other.volume)
        if mine is not None and not (mine.readonly and other.readonly):
            how = "read" if other.readonly else "written"
            raise errors.Conflict(f"volume {other.volume} is being {how} by machine {machine}: stop that first")


def check_copyable(machine: MachineId, spec: MachineSpec) -> None:
    """`Conflict` if it writes to a volume: what a copy of its memory knows of that would soon be wrong."""
    for mount in spec.mounts:
        if not mount.readonly:
            raise errors.Conflict(
                f"machine {machine} writes to volume {mount.volume} at {mount.path}, which is no part of a snapshot: "
                "only a machine that mounts its volumes read-only can be copied"
            )
