"""Any image of any OCI registry."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hutch import settings
from hutch.host.images import reference
from hutch.host.images.oci import login, manifest
from hutch.host.images.oci.registry import Registries
from hutch.host.images.oci.unpack import Unpacking
from hutch.host.images.source import Made
from hutch.host.images.space import Space
from hutch.host.interface import OnProgress, Progress
from hutch.model import errors
from hutch.model.machine import ImageRef
from hutch.model.recipes import Credentials

_SLACK = 64 * 1024  # bytes that skopeo's own files in the layout may take


class Oci:
    """References as Docker reads them."""

    def __init__(self, images: settings.Images, space: Space) -> None:
        self._registries = Registries.by(images)
        self._space = space
        self._max_size = images.max_size_mib << 20
        self._timeout = images.pull_timeout

    def claims(self, reference: str) -> bool:
        """All that no other source has claimed."""
        return True

    def canonical(self, asked: str) -> str:
        """In full, as Docker completes it."""
        return reference.parse(asked).canonical

    def familiar(self, canonical: str) -> str:
        """Without docker.io/library/."""
        return reference.parse(canonical).familiar

    def pinned(self, canonical: str) -> str | None:
        """The digest in the reference: a manifest's, or that of an index of several."""
        return reference.parse(canonical).digest

    def at(self, canonical: str, digest: str) -> str:
        """REPOSITORY@DIGEST."""
        return reference.parse(canonical).at(digest).canonical

    async def resolve(self, canonical: str, credentials: Credentials | None) -> str:
        """One question to the registry: what it answers is the manifest itself, or an index that names it."""
        ref = reference.parse(canonical)
        with _about(ref):
            return manifest.resolve(await self._registries.manifest(ref, credentials))

    async def make(self, ref: ImageRef, work: Path, on_progress: OnProgress, credentials: Credentials | None) -> Made:
        """Pull, unpack, make the root image. The pull ends before the first byte is unpacked."""
        asked = reference.parse(ref.reference)
        try:
            async with asyncio.timeout(self._timeout):
                with _about(asked):
                    return await self._make(asked.at(ref.digest), work, on_progress, credentials)
        except TimeoutError:
            message = f"{asked.familiar}: not pulled and unpacked within {self._timeout:g} s"
            raise errors.ImageUnavailable(message) from None

    async def _make(
        self, pinned: reference.Reference, work: Path, on_progress: OnProgress, credentials: Credentials | None
    ) -> Made:
        unpacking = Unpacking(work, self._max_size, self._timeout)
        on_progress(Progress("pulling", 0.0))
        sizes = manifest.read(await self._registries.manifest(pinned, credentials))
        if sizes.total > self._max_size:
            raise errors.ImageUnavailable(f"it is larger than the {self._max_size >> 20} MiB allowed for an image")
        self._space.check(sizes.total)

        def look() -> None:
            on_progress(Progress("pulling", min(1.0, _size(unpacking.layout) / sizes.total)))

        largest = self._max_size if sizes.has_zstd else sizes.largest  # as gzip a layer takes more
        copy = self._registries.copy(pinned, unpacking.layout, largest + _SLACK, self._timeout, credentials)
        await self._space.watch(copy, look)
        on_progress(Progress("pulling", 1.0))
        config = manifest.read_config(_config_blob(unpacking.layout))
        return Made(await unpacking.run(on_progress), config, is_private=login.are_for(pinned, credentials))


@contextlib.contextmanager
def _about(ref: reference.Reference) -> Iterator[None]:
    """Name the image in what is said about it."""
    try:
        yield
    except errors.ImageUnavailable as error:
        raise errors.ImageUnavailable(f"{ref.familiar}: {error.message}", **error.context) from error


def _size(layout: Path) -> int:
    """Bytes that have arrived; files come and go meanwhile."""
    total = 0
    for path in layout.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _config_blob(layout: Path) -> bytes:
    """The image's config, in the layout that skopeo has written and checked."""

    def blob(digest: str) -> bytes:
        if not reference.is_digest(digest):
            raise errors.ImageUnavailable("its config is not addressed by sha256")
        path = layout / "blobs" / digest.replace(":", "/")
        if path.stat().st_size > manifest.LARGEST:
            raise errors.ImageUnavailable("its config is too large")
        return path.read_bytes()

    index: dict[str, Any] = json.loads((layout / "index.json").read_bytes())
    described: dict[str, Any] = json.loads(blob(index["manifests"][0]["digest"]))
    return blob(described["config"]["digest"])
