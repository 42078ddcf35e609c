"""The disk layers of machines and saved states. A layer under another one is never written again, and may be shared.

Who needs which is told by the journals and manifests alone: what none of them names is removed by `collect`.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from hutch.host import disks, files
from hutch.host.paths import Paths
from hutch.host.saved import memory
from hutch.host.trash import Trash
from hutch.model import ids

log = structlog.get_logger(__name__)


class Layers:
    """The layers of one host."""

    def __init__(self, paths: Paths, trash: Trash) -> None:
        self._paths = paths
        self._trash = trash
        self._fresh: set[str] = set()  # made, and not yet in any journal
        self._sums: dict[str, str] = {}
        self.is_frozen = False  # a journal cannot be read: nobody knows what it needs

    @contextlib.asynccontextmanager
    async def fresh(self, backing: Path, disk_gib: int, blank: Path | None = None) -> AsyncIterator[str]:
        """A new, empty layer over `backing`, to be written into a journal within; removed if that fails.

        `blank` is an empty layer of that size to copy, which is faster. Raises `DiskFull`.
        """
        layer = ids.random_id()
        path = self._paths.layer(layer)
        self._fresh.add(layer)
        try:
            if blank is not None:
                files.require_space(path.parent, 2**20, "a disk")
                shutil.copyfile(blank, path)
            else:
                await disks.make_layer(path, backing, disk_gib)
            path.chmod(0o600)
            files.sync(path)  # a journal that survives a power cut is about to name it
            files.sync_directory(path.parent)
            yield layer
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._fresh.discard(layer)

    def collect(self, used: set[str]) -> None:
        """Remove every layer that is not used."""
        if self.is_frozen:
            return
        for path in self._paths.layers.iterdir():
            if not path.name.startswith(".") and path.stem not in used and path.stem not in self._fresh:
                self._trash.take(path)

    async def checksum(self, layer: str) -> str:
        """SHA-256 of a layer that is not written any more; read once."""
        if layer not in self._sums:
            self._sums[layer] = await asyncio.to_thread(memory.checksum, self._paths.layer(layer))
        return self._sums[layer]

    def size(self, layer: str) -> int:
        """Bytes it takes on the host's disk; 0 if it is not there."""
        with contextlib.suppress(FileNotFoundError):
            return self._paths.layer(layer).stat().st_blocks * 512
        return 0
