"""The images of this host: finds the source of a reference, does each piece of work once, and keeps the results."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from hutch import settings
from hutch.host.images import library, reference, rootfs, space
from hutch.host.images.debian.source import Debian
from hutch.host.images.oci.source import Oci
from hutch.host.images.source import Source
from hutch.host.interface import Image, OnProgress, Progress, ignore_progress
from hutch.host.paths import Paths
from hutch.model import errors
from hutch.model.machine import ImageRef
from hutch.model.recipes import Credentials

log = structlog.get_logger(__name__)


_Key = tuple[str, Credentials | None]
"""What is being pulled from where, and with whose credentials: of another registry it may never come, or be refused."""


@dataclass(eq=False)
class _Work:
    """One image being made, and all who wait for it."""

    listeners: list[OnProgress] = field(default_factory=list)
    last: Progress = field(default_factory=lambda: Progress("preparing"))

    def tell(self, progress: Progress) -> None:
        self.last = progress
        for listener in self.listeners:
            listener(progress)


class LocalImages:
    """Implements `hutch.host.interface.Images`. Call `open` first and `close` last."""

    def __init__(
        self,
        paths: Paths,
        images: settings.Images,
        host: settings.Host,
        in_use: Callable[[str], list[str]],
        on_remove: Callable[[str], None],
    ) -> None:
        """`in_use` tells the machines made of a digest; `on_remove` drops what else was made of it (templates)."""
        self._library = library.Library(paths.images)
        self._space = space.Space(paths.images, host.disk_reserve_mib << 20)
        self._in_use = in_use
        self._on_remove = on_remove
        self._tasks: dict[_Key, tuple[asyncio.Task[None], _Work]] = {}
        self._sources: tuple[Source, ...] = (
            Debian(images.debian_mirror, images.pull_timeout),
            Oci(images, self._space),
        )

    async def open(self) -> None:
        """Take possession of the directory; what a crash left behind is removed."""
        self._library.open()

    async def close(self) -> None:
        """Give up all work; whoever waits for it is told so."""
        tasks = [task for task, _ in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def root_image(self, digest: str) -> Path:
        """The raw ext4 of an image that is there: immutable, to be layered upon."""
        return self._library.root(digest)

    def get(self, digest: str) -> Image | None:
        """The image of this digest, if it is there."""
        entry = self._library.get(digest)
        return None if entry is None else _image(entry, self._titles(entry)[0])

    async def resolve(self, reference: str, credentials: Credentials | None = None) -> ImageRef:
        """See `Images.resolve`. A digest alone means an image that is there."""
        asked = reference.strip()
        if self._is_free(asked):
            return ImageRef(asked, asked)
        source = self._source(asked)
        canonical = source.canonical(asked)
        pinned = source.pinned(canonical)
        present = None if pinned is None else self._present(canonical, pinned)
        if present is not None and self._is_free(present):
            return ImageRef(asked, present)
        return ImageRef(asked, await source.resolve(canonical, credentials))

    def _is_free(self, digest: str) -> bool:
        """Whether it is there, for everybody."""
        entry = self._library.get(digest)
        return entry is not None and not entry.is_private

    async def ensure(
        self, ref: ImageRef, on_progress: OnProgress = ignore_progress, credentials: Credentials | None = None
    ) -> Image:
        """See `Images.ensure`. A caller that is cancelled leaves the work to the others; the last one ends it."""
        while (entry := self._library.get(ref.digest)) is None or not self._may_use(entry, ref):
            await self._join(ref, on_progress, credentials)
        if not reference.is_digest(ref.reference) and not entry.is_private:  # names are told to everybody
            with self._space.telling():
                self._library.name(self._source(ref.reference).canonical(ref.reference), ref.digest)
        return _image(entry, ref.reference)

    async def list(self) -> list[Image]:
        """See `Images.list`. An image with several names is told once for each of them."""
        free = [entry for entry in self._library.entries() if not entry.is_private]
        return [_image(entry, title) for entry in free for title in self._titles(entry)]

    async def remove(self, reference: str) -> None:
        """See `Images.remove`. A name that is not the image's last one goes alone, as people know it from Docker."""
        asked = reference.strip()
        digest, name = self._find(asked)
        if name is not None and len(self._library.names(digest)) > 1:
            self._library.forget_name(name)
            return
        if machines := self._in_use(digest):
            raise errors.Conflict(f"image {asked} is in use by {len(machines)} machine(s): {', '.join(machines[:5])}")
        self._on_remove(digest)
        self._library.remove(digest)

    def _find(self, asked: str) -> tuple[str, str | None]:
        """The digest of an image that is there, and its name if that is what it was asked by."""
        if self._library.get(asked) is not None:
            return asked, None
        if not reference.is_digest(asked):
            source = self._source(asked)
            canonical = source.canonical(asked)
            if (named := self._library.named(canonical)) is not None:
                return named, canonical
            pinned = source.pinned(canonical)
            if pinned is not None and self._library.get(pinned) is not None:
                return pinned, None
        raise errors.NotFound(f"there is no image {asked} on this host")

    def _present(self, canonical: str, pinned: str) -> str | None:
        if self._library.get(pinned) is not None:
            return pinned
        return self._library.named(canonical)  # the pinned digest is an index's

    def _source(self, asked: str) -> Source:
        if reference.is_digest(asked):
            raise errors.ImageUnavailable(
                f"there is no image {asked} on this host: name the repository to pull it from"
            )
        return next(source for source in self._sources if source.claims(asked))

    def _titles(self, entry: library.Entry) -> tuple[str, ...]:
        names = self._library.names(entry.digest) or [entry.pinned]
        return tuple(self._source(name).familiar(name) for name in names)

    def _may_use(self, entry: library.Entry, ref: ImageRef) -> bool:
        return not entry.is_private or entry.is_open_to(self._pinned(ref))

    def _pinned(self, ref: ImageRef) -> str:
        source = self._source(ref.reference)
        return source.at(source.canonical(ref.reference), ref.digest)

    async def _join(self, ref: ImageRef, on_progress: OnProgress, credentials: Credentials | None) -> None:
        """Wait for the same work, beginning it if nobody has. Returns also when it was given up."""
        key = (self._pinned(ref), credentials)
        task, work = self._tasks.get(key) or self._begin(key, ref)
        work.listeners.append(on_progress)
        on_progress(work.last)
        try:
            await asyncio.wait({task})
        finally:
            work.listeners.remove(on_progress)
            if not work.listeners and not task.done():
                self._forget(key, task)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()
        elif key not in self._tasks:
            raise errors.ImageUnavailable(f"{ref.reference}: given up, because the service stops")

    def _begin(self, key: _Key, ref: ImageRef) -> tuple[asyncio.Task[None], _Work]:
        work = _Work()
        task = asyncio.create_task(self._make(ref, work.tell, key[1]), name=f"image {ref.digest}")
        task.add_done_callback(lambda task: self._forget(key, task))
        self._tasks[key] = task, work
        return task, work

    def _forget(self, key: _Key, task: asyncio.Task[None]) -> None:
        if key in self._tasks and self._tasks[key][0] is task:
            del self._tasks[key]

    async def _make(self, ref: ImageRef, on_progress: OnProgress, credentials: Credentials | None) -> None:
        source = self._source(ref.reference)
        canonical = source.canonical(ref.reference)
        if os.geteuid() != 0:
            raise errors.Unsupported("Making images needs root on this host: run the service as root")
        began = time.monotonic()
        self._space.check()
        with self._space.telling(), self._library.workspace() as work:
            made = await self._space.watch(source.make(ImageRef(canonical, ref.digest), work, on_progress, credentials))
            systemd = await rootfs.has_systemd(made.root)
            await asyncio.to_thread(library.sync, made.root)
            self._space.check()
            pinned = source.at(canonical, ref.digest)
            if self._library.get(ref.digest) is not None:
                self._library.open_to(ref.digest, pinned, made.is_private)
                return
            entry = library.Entry(ref.digest, pinned, 0, time.time(), made.config, systemd, made.is_private)
            entry = self._library.publish(made.root, entry)
        seconds = round(time.monotonic() - began, 1)
        log.info("image made", image=ref.reference, digest=ref.digest, bytes=entry.size, seconds=seconds)


def _image(entry: library.Entry, title: str) -> Image:
    return Image(ImageRef(title, entry.digest), entry.size, entry.created_at, entry.config, entry.systemd)
