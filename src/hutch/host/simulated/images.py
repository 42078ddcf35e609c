"""Images of a simulated box: names, in a registry that is a dictionary, and asks nobody for a password."""

import re
import time

from hutch.host.interface import Image, OnProgress, Progress, ignore_progress
from hutch.host.simulated.world import World
from hutch.model import errors
from hutch.model.machine import ImageRef
from hutch.model.recipes import Credentials

SIZE = 64 * 1024 * 1024

_REFERENCE = re.compile(r"[a-z0-9]([a-z0-9._:/-]*[a-z0-9])?(:[A-Za-z0-9._-]+)?(@sha256:[0-9a-f]{64})?")


class SimulatedImages:
    """Implements `hutch.host.interface.Images`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def resolve(self, reference: str, credentials: Credentials | None = None) -> ImageRef:
        if not _REFERENCE.fullmatch(reference):
            raise errors.InvalidRequest(f"image {reference!r}: not a valid reference")
        return self._world.digest_of(reference)

    async def ensure(
        self, ref: ImageRef, on_progress: OnProgress = ignore_progress, credentials: Credentials | None = None
    ) -> Image:
        known = self._world.images.get(ref.digest)
        if known is None:
            if self._world.faults.disk_full:
                raise errors.DiskFull
            on_progress(Progress("pulling", 0.5))
            config = self._world.registry[self._world.digest_of(ref.reference).reference.split("@")[0]]
            known = self._world.images[ref.digest] = Image(ref, SIZE, time.time(), config)
        return known

    async def list(self) -> list[Image]:
        return sorted(self._world.images.values(), key=lambda image: image.created_at, reverse=True)

    async def remove(self, reference: str) -> None:
        for digest, image in self._world.images.items():
            if reference in (digest, image.ref.reference):
                users = [it for it in self._world.machines.values() if it.spec.image.digest == digest]
                if users:
                    raise errors.Conflict(f"image {reference}: {len(users)} machines are made of it; delete them first")
                if any(saved.spec.image.digest == digest for saved in self._world.snapshots.values()):
                    raise errors.Conflict(f"image {reference}: snapshots are made of it; remove them first")
                del self._world.images[digest]
                return
        raise errors.NotFound(f"there is no image {reference}")
