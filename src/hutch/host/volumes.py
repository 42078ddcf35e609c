"""Volumes of this host: a sparse raw file each, with an ext4 in it, which machines have as a disk of their own.

Who has one is told by the machines' journals alone, as with disk layers: there is no counter a crash could falsify.
"""

import asyncio
import builtins
import collections
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hutch import commands
from hutch.host import disks, files, mounts, trash
from hutch.host.images import rootfs
from hutch.host.interface import StoredVolume
from hutch.host.layers import Layers
from hutch.host.machines.journal import Journal, Phase
from hutch.host.paths import Paths
from hutch.host.trash import Trash
from hutch.model import errors, ids
from hutch.model.ids import MachineId, VolumeId
from hutch.model.volumes import Mount

MIB = 2**20

# As images are made: the file is new and sparse, so what mke2fs would have to clear is zero already.
_EXTENDED = "root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,assume_storage_prezeroed=1,nodiscard"
_FORMAT = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", rootfs.FEATURES, "-b", str(rootfs.BLOCK), "-I", str(rootfs.INODE)]
_FORMAT += ["-m", "0", "-E", _EXTENDED]
_FORMAT_TIMEOUT = 120.0
_REPLAY_TIMEOUT = 120.0
_REPLAY_LIMITS = commands.Limits(memory=2 * 2**30, cpu_seconds=60)
_REPAIRED = (0, 1)  # of e2fsck(8): no errors, errors corrected

# Of the superblock, as the kernel's documentation of ext4 has it.
_SUPERBLOCK, _MAGIC_AT, _INCOMPATIBLE_AT = 1024, 0x38, 0x60
_MAGIC, _NEEDS_RECOVERY = 0xEF53, 0x4


class LocalVolumes:
    """Implements `hutch.host.interface.Volumes`."""

    def __init__(
        self, paths: Paths, journals: Callable[[], list[Journal]], layers: Layers, rubbish: Trash, reserve_mib: int
    ) -> None:
        self._paths = paths
        self._journals = journals
        self._layers = layers
        self._trash = rubbish
        self._reserve = reserve_mib * MIB
        self._replaying: dict[VolumeId, asyncio.Lock] = collections.defaultdict(asyncio.Lock)

    def open(self) -> None:
        """Remove what a former service did not finish."""
        self._paths.volumes.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._paths.volumes.glob(".*"):
            trash.remove(path)

    async def create(self, volume: VolumeId, size_gib: int) -> None:
        """See the interface."""
        mounts.check_id(volume)
        mounts.check_size(size_gib)
        final = self._paths.volume(volume)
        if final.exists():
            return
        # Tables grow with the file system: 1/1000 of it is more than mke2fs writes of them.
        needed = self._reserve + 16 * MIB + size_gib * MIB
        files.require_space(self._paths.volumes, needed, f"a volume of {size_gib} GiB")
        building = final.with_name(f".{volume}-{ids.random_id(8)}")
        try:
            await self._format(building, size_gib)
            os.link(building, final)
            files.sync_directory(self._paths.volumes)
        except FileExistsError:
            pass  # another call was faster
        except OSError as error:
            if files.is_full(error):
                raise errors.DiskFull("the host's disk is full") from error
            raise
        finally:
            building.unlink(missing_ok=True)

    async def _format(self, path: Path, size_gib: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, size_gib * disks.GIB)
        finally:
            os.close(descriptor)
        await commands.run([*_FORMAT, str(path)], timeout=_FORMAT_TIMEOUT)
        await asyncio.to_thread(files.sync, path)

    async def remove(self, volume: VolumeId) -> None:
        """See the interface."""
        mounts.check_id(volume)
        if self._layers.is_frozen:
            raise errors.Conflict("the journal of some machine cannot be read: nobody knows which volumes it needs")
        for journal in self._journals():
            if volume in {mount.volume for mount in journal.spec.mounts}:
                raise errors.Conflict(f"volume {volume} is mounted by machine {journal.id}: delete that first")
        self._trash.take(self._paths.volume(volume))
        self._replaying.pop(volume, None)
        await self._trash.empty()

    def list(self) -> builtins.list[StoredVolume]:
        """See the interface."""
        found = sorted(path for path in self._paths.volumes.iterdir() if not path.name.startswith("."))
        return [_describe(path) for path in found]

    def check_there(self, wanted: Sequence[Mount]) -> None:
        """`NotFound` unless all are."""
        for mount in wanted:
            if not self._paths.volume(mount.volume).exists():
                raise errors.NotFound(f"volume {mount.volume} not found")

    def check_free(self, journal: Journal) -> None:
        """`NotFound`; `Conflict` if a machine cannot have its volumes now."""
        if not journal.spec.mounts:
            return
        self.check_there(journal.spec.mounts)
        mounts.check_free(journal.spec.mounts, self._held(journal.id))

    def _held(self, but: MachineId) -> Iterator[tuple[MachineId, Mount]]:
        """By machines that have a process, or are suspended."""
        for journal in self._journals():
            is_at_rest = journal.phase in (Phase.STOPPED, Phase.FAILED) and journal.process is None
            if journal.id != but and not is_at_rest:
                yield from ((journal.id, mount) for mount in journal.spec.mounts)

    async def prepare(self, journal: Journal) -> None:
        """Before it is started: one who only reads cannot replay the journal a writer's sudden end has left."""
        for mount in journal.spec.mounts:
            if mount.readonly:
                async with self._replaying[mount.volume]:
                    path = self._paths.volume(mount.volume)
                    if await asyncio.to_thread(_needs_replay, path):
                        await _replay(path, journal.uid)

    def stamps(self, wanted: Sequence[Mount]) -> dict[VolumeId, int]:
        """When each was last written, to be compared later."""
        found = {mount.volume: self._paths.volume(mount.volume) for mount in wanted}
        return {volume: path.stat().st_mtime_ns for volume, path in found.items() if path.exists()}

    def rewritten(self, journal: Journal, stamps: Mapping[VolumeId, int]) -> frozenset[VolumeId]:
        """Of those it reads, what was written since: what its guest remembers of them is wrong."""
        reading = [mount for mount in journal.spec.mounts if mount.readonly]
        return frozenset(volume for volume, stamp in self.stamps(reading).items() if stamps.get(volume) != stamp)


def _describe(path: Path) -> StoredVolume:
    seen = path.stat()
    return StoredVolume(VolumeId(path.name), seen.st_size // disks.GIB, seen.st_blocks * 512)


def _needs_replay(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(_SUPERBLOCK)
        block = file.read(1024)

    def word(at: int, size: int) -> int:
        return int.from_bytes(block[at : at + size], "little")

    return word(_MAGIC_AT, 2) == _MAGIC and bool(word(_INCOMPATIBLE_AT, 4) & _NEEDS_RECOVERY)


async def _replay(path: Path, uid: int | None) -> None:
    """As a machine's own user: a hostile guest may have written what e2fsck reads."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    user = None
    try:
        if uid is not None:
            user = commands.User(uid, uid)
            os.fchown(descriptor, uid, uid)
        ended = await commands.run(
            ["e2fsck", "-p", "-E", "journal_only", f"/proc/self/fd/{descriptor}"],
            timeout=_REPLAY_TIMEOUT,
            user=user,
            limits=_REPLAY_LIMITS,
            descriptors=(descriptor,),
            check=False,
        )
    finally:
        if uid is not None:
            os.fchown(descriptor, 0, 0)
        os.close(descriptor)
    if ended.code not in _REPAIRED:
        raise errors.MachineFailed(
            f"volume {path.name} was not left in order, and cannot be mended for reading: first mount it to write",
            said=ended.stderr or ended.stdout[-1000:],
        )
