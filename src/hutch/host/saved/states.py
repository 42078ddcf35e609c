"""The saved states of one host: kept, verified, and collected when no machine and no snapshot needs them.

A state is begun in a directory whose name starts with a dot; its manifest is written last, and the renaming makes it
one. Snapshots are those that are `kept`; the others belong to machines that are suspended in them.
"""

import asyncio
import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from hutch.host import files
from hutch.host.interface import SavedState
from hutch.host.layers import Layers
from hutch.host.paths import Paths, StatePaths, TemplatePaths
from hutch.host.saved import manifest as manifests
from hutch.host.saved import memory
from hutch.host.saved.manifest import Manifest
from hutch.host.saved.memories import Memories
from hutch.host.trash import Trash
from hutch.model import errors
from hutch.model.ids import SnapshotId

log = structlog.get_logger(__name__)


class States:
    """The saved states of one host."""

    def __init__(self, paths: Paths, layers: Layers, trash: Trash, first_group: int | None = None) -> None:
        """`first_group` of those that may map a memory file; None if we are not root."""
        self._paths = paths
        self._layers = layers
        self._trash = trash
        self.memories = Memories(paths, trash, first_group)
        self._manifests: dict[SnapshotId, Manifest] = {}
        self._transient: set[SnapshotId] = set()  # of forks that are under way
        self._pinned: list[Manifest] = []
        self._turns = WeakValueDictionary[SnapshotId, asyncio.Lock]()
        self._sound: set[tuple[int, int]] = set()  # templates' memories that were read and found whole: inode, ctime

    def open(self) -> None:
        """Take up what is there; what is unfinished is removed."""
        self.memories.open()
        for entry in self._paths.states.iterdir():
            if entry.name.startswith("."):
                shutil.rmtree(entry, ignore_errors=True)
                continue
            try:
                manifest = manifests.read(StatePaths(entry).manifest)
            except errors.HutchError as error:
                log.error("a saved state cannot be read: it is left as it is", state=entry.name, error=error.message)
                self._layers.is_frozen = True
            else:
                self._manifests[manifest.id] = manifest
                self._drop_pages(manifest.id)

    def all(self) -> list[Manifest]:
        """Oldest first."""
        return sorted(self._manifests.values(), key=lambda manifest: manifest.created_at)

    def needed(self) -> list[Manifest]:
        """All, and what they were when they were pinned: those whose files must stay."""
        return [*self._manifests.values(), *self._pinned]

    def memories_named(self) -> set[str]:
        """The memory files of those that are needed."""
        return {state.memory for state in self.needed() if state.memory is not None}

    def whole(self, memory: str) -> Manifest | None:
        """The one whose whole memory that file is, if it is still there."""
        return next((it for it in self._manifests.values() if it.memory == memory and not it.runs), None)

    def kept(self) -> list[SavedState]:
        """The snapshots."""
        return [self.describe(manifest) for manifest in self.all() if manifest.kept]

    def describe(self, manifest: Manifest) -> SavedState:
        """As the interface tells of it."""
        own = self._layers.size(manifest.layers[-1]) if manifest.layers else 0
        return SavedState(manifest.id, manifest.machine, manifest.created_at, self.memory_size(manifest) + own)

    def memory_size(self, manifest: Manifest) -> int:
        """Bytes of the host's disk for memory that is its alone."""
        if manifest.memory is not None and not manifest.runs:
            return self.memories.size(manifest.memory)
        return memory.size(manifest.runs)

    def is_there(self, state: SnapshotId) -> bool:
        """Whether the id is taken."""
        return state in self._manifests or self._paths.state(state).root.exists()

    def get(self, state: SnapshotId) -> Manifest:
        """`NotFound`."""
        try:
            return self._manifests[state]
        except KeyError:
            raise errors.NotFound("snapshot not found") from None

    def snapshot(self, state: SnapshotId) -> Manifest:
        """One that machines may be made of: not what is only left because a machine is suspended in it. `NotFound`."""
        manifest = self.get(state)
        if not manifest.kept and state not in self._transient:
            raise errors.NotFound("snapshot not found")
        return manifest

    def load(self, state: SnapshotId, here: manifests.Fit) -> Manifest:
        """The state, to be loaded now: manifest and devices are verified. `NotFound`, `Damaged`, `Incompatible`."""
        where = self._paths.state(state)
        manifest = manifests.read(where.manifest)
        manifests.check(manifest, here)
        if _differs(where.devices, manifest.checksums["devices"]):
            raise errors.Damaged(f"the device state of saved state {state} is damaged")
        expected, there = memory.size(manifest.runs), where.pages.stat().st_size if where.pages.exists() else 0
        if expected != there and manifest.runs:
            raise errors.Damaged(f"the memory of saved state {state} has {there} bytes, not the {expected} saved")
        if manifest.memory is not None:
            self.memories.check(manifest.memory, manifest.fit.board.memory_mib * 2**20)
        return manifest

    @contextlib.contextmanager
    def making(self, state: SnapshotId) -> Iterator[StatePaths]:
        """A directory to make a state in; whatever was not `publish`ed is removed."""
        building = StatePaths(self._paths.states / f".{state}")
        shutil.rmtree(building.root, ignore_errors=True)
        building.root.mkdir(mode=0o700)
        try:
            yield building
        finally:
            shutil.rmtree(building.root, ignore_errors=True)

    async def write(self, building: StatePaths, manifest: Manifest, durable: bool = True) -> None:
        """The last of what it consists of. Raises `DiskFull`. A guest can make a manifest as long as it likes."""
        await asyncio.to_thread(manifests.write, building.manifest, manifest, durable)

    def publish(self, building: StatePaths, manifest: Manifest, durable: bool = True) -> None:
        """It is a state from now on, all of it having been written."""
        building.root.rename(self._paths.state(manifest.id).root)
        if durable:
            files.sync_directory(self._paths.states)
        self._manifests[manifest.id] = manifest

    def hold(self, state: SnapshotId) -> None:
        """Keep a transient one until `remove`."""
        self._transient.add(state)

    @contextlib.contextmanager
    def pinned(self, state: SnapshotId) -> Iterator[Manifest]:
        """As it is now. Within, its files stay, even if it is removed or optimized. `NotFound`."""
        manifest = self.get(state)
        self._pinned.append(manifest)
        try:
            yield manifest
        finally:
            del self._pinned[next(index for index, it in enumerate(self._pinned) if it is manifest)]
            self._drop_pages(state)

    def turn(self, state: SnapshotId) -> asyncio.Lock:
        """For whoever changes it: one at a time."""
        return self._turns.setdefault(state, asyncio.Lock())

    def is_pinned(self, state: SnapshotId) -> bool:
        """Whether somebody needs it as it is."""
        return any(it.id == state for it in self._pinned)

    def put_on(self, state: SnapshotId, whole: str) -> None:
        """All of its memory is that file from now on, and no pages; it is pinned. `DiskFull`: then it is as it was."""
        manifest = self.get(state)
        sums = {what: value for what, value in manifest.checksums.items() if what != "pages"}
        new = dataclasses.replace(manifest, memory=whole, on_template=False, runs=[], checksums=sums)
        manifests.write(self._paths.state(state).manifest, new, durable=True)
        self._manifests[state] = new

    def _drop_pages(self, state: SnapshotId) -> None:
        """Remove saved pages that are of no use any more, unless somebody reads them."""
        manifest = self._manifests.get(state)
        if manifest is not None and not manifest.runs and not self.is_pinned(state):
            self._paths.state(state).pages.unlink(missing_ok=True)

    def remove(self, state: SnapshotId, is_used: bool) -> None:
        """It is no snapshot any more; it is gone when no machine is suspended in it. One that is damaged goes too.

        `DiskFull` only if it is used: else nothing need be written.
        """
        self._transient.discard(state)
        manifest = self._manifests.get(state)
        if manifest is None and not is_used:
            self._trash.take(self._paths.state(state).root)
        elif manifest is not None and manifest.kept:
            released = dataclasses.replace(manifest, kept=False)
            if is_used or self.is_pinned(state):
                manifests.write(self._paths.state(state).manifest, released, durable=True)
            self._manifests[state] = released

    def collect(self, used: set[SnapshotId]) -> None:
        """Remove what is neither kept nor used."""
        for manifest in self.all():
            if not (manifest.kept or manifest.id in {*used, *self._transient} or self.is_pinned(manifest.id)):
                self._drop(manifest.id)

    def _drop(self, state: SnapshotId) -> None:
        del self._manifests[state]
        self._trash.take(self._paths.state(state).root)

    async def verify(self, state: SnapshotId) -> list[str]:
        """See `Host.verify`."""
        self.snapshot(state)
        where = self._paths.state(state)
        with self.pinned(state):
            try:
                manifest = manifests.read(where.manifest)
            except errors.Damaged as error:
                return [error.message]
            looked_at: dict[str, tuple[Path, str | None]] = {
                "device state": (where.devices, manifest.checksums.get("devices", "")),
            }
            for layer in manifest.layers:
                expected = manifest.checksums.get(f"layer {layer}", "")
                looked_at[f"disk layer {layer}"] = (self._paths.layer(layer), expected)
            template = self._paths.template(manifest.template)
            sums = template_checksums(template)
            looked_at["template's disk"] = (template.disk, sums.get("disk"))
            found = [
                _told(what, path)
                for what, (path, expected) in looked_at.items()
                if await asyncio.to_thread(_differs, path, expected)
            ]
            self._sound.clear()
            return found + await self.damage_of_memory(manifest)

    async def damage_of_memory(self, manifest: Manifest) -> list[str]:
        """What of its memory is not as it was saved. Of a template's, what was found whole once is not read again."""
        found, pages = [], self._paths.state(manifest.id).pages
        expected = manifest.checksums.get("pages", "" if manifest.kept else None)  # a fork's has no sum
        if manifest.runs and expected is not None and await asyncio.to_thread(_differs, pages, expected):
            found.append(_told("memory", pages))
        template = self._paths.template(manifest.template)
        if manifest.on_template and await asyncio.to_thread(self._is_spoilt, template):
            found.append(_told("template's memory", template.memory))
        if manifest.memory is not None and await self.memories.differs(manifest.memory):
            found.append(_told("whole memory", self._paths.memory(manifest.memory)))
        return found

    def _is_spoilt(self, template: TemplatePaths) -> bool:
        try:
            status = template.memory.stat()
        except OSError:
            return True
        mark = status.st_ino, status.st_ctime_ns
        if mark not in self._sound and not _differs(template.memory, template_checksums(template).get("memory")):
            self._sound.add(mark)
        return mark not in self._sound


def _told(what: str, path: Path) -> str:
    return f"{what} {'is missing' if not path.exists() else 'is not what was saved'}"


def template_checksums(template: TemplatePaths) -> dict[str, str]:
    """SHA-256 of a template's files, as noted when it was made."""
    sums = (files.read_json(template.manifest) or {}).get("checksums")
    return sums if isinstance(sums, dict) else {}


def _differs(path: Path, expected: str | None) -> bool:
    try:
        return expected is None or memory.checksum(path) != expected
    except OSError:
        return True
