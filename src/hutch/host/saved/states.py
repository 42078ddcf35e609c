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

import structlog

from hutch.host import files
from hutch.host.interface import SavedState
from hutch.host.layers import Layers
from hutch.host.paths import Paths, StatePaths, TemplatePaths
from hutch.host.saved import manifest as manifests
from hutch.host.saved import memory
from hutch.host.saved.manifest import Manifest
from hutch.host.trash import Trash
from hutch.model import errors
from hutch.model.ids import SnapshotId

log = structlog.get_logger(__name__)


class States:
    """The saved states of one host."""

    def __init__(self, paths: Paths, layers: Layers, trash: Trash) -> None:
        self._paths = paths
        self._layers = layers
        self._trash = trash
        self._manifests: dict[SnapshotId, Manifest] = {}
        self._transient: set[SnapshotId] = set()  # of forks that are under way
        self._pinned: list[SnapshotId] = []

    def open(self) -> None:
        """Take up what is there; what is unfinished is removed."""
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

    def all(self) -> list[Manifest]:
        """Oldest first."""
        return sorted(self._manifests.values(), key=lambda manifest: manifest.created_at)

    def kept(self) -> list[SavedState]:
        """The snapshots."""
        return [self.describe(manifest) for manifest in self.all() if manifest.kept]

    def describe(self, manifest: Manifest) -> SavedState:
        """As the interface tells of it."""
        own = self._layers.size(manifest.layers[-1]) if manifest.layers else 0
        return SavedState(manifest.id, manifest.machine, manifest.created_at, memory.size(manifest.runs) + own)

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
        expected, there = memory.size(manifest.runs), where.pages.stat().st_size if where.pages.exists() else -1
        if expected != there:
            raise errors.Damaged(f"the memory of saved state {state} has {there} bytes, not the {expected} saved")
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
    def pinned(self, state: SnapshotId) -> Iterator[None]:
        """Within, it is not collected, even if it is removed."""
        self._pinned.append(state)
        try:
            yield
        finally:
            self._pinned.remove(state)

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
            if is_used or state in self._pinned:
                manifests.write(self._paths.state(state).manifest, released, durable=True)
            self._manifests[state] = released

    def collect(self, used: set[SnapshotId]) -> None:
        """Remove what is neither kept nor used."""
        for manifest in self.all():
            if not (manifest.kept or manifest.id in {*used, *self._transient, *self._pinned}):
                self._drop(manifest.id)

    def _drop(self, state: SnapshotId) -> None:
        del self._manifests[state]
        self._trash.take(self._paths.state(state).root)

    async def verify(self, state: SnapshotId) -> list[str]:
        """See `Host.verify`."""
        self.snapshot(state)
        where = self._paths.state(state)
        try:
            manifest = manifests.read(where.manifest)
        except errors.Damaged as error:
            return [error.message]
        looked_at: dict[str, tuple[Path, str | None]] = {
            "device state": (where.devices, manifest.checksums.get("devices", "")),
            "memory": (where.pages, manifest.checksums.get("pages", "")),
        }
        for layer in manifest.layers:
            looked_at[f"disk layer {layer}"] = (self._paths.layer(layer), manifest.checksums.get(f"layer {layer}", ""))
        template = self._paths.template(manifest.template)
        sums = template_checksums(template)
        looked_at["template's disk"] = (template.disk, sums.get("disk"))
        if manifest.on_template:
            looked_at["template's memory"] = (template.memory, sums.get("memory"))
        return [
            f"{what} {'is missing' if not path.exists() else 'is not what was saved'}"
            for what, (path, expected) in looked_at.items()
            if await asyncio.to_thread(_differs, path, expected)
        ]


def template_checksums(template: TemplatePaths) -> dict[str, str]:
    """SHA-256 of a template's files, as noted when it was made."""
    sums = (files.read_json(template.manifest) or {}).get("checksums")
    return sums if isinstance(sums, dict) else {}


def _differs(path: Path, expected: str | None) -> bool:
    try:
        return expected is None or memory.checksum(path) != expected
    except OSError:
        return True
