"""Builds: a snapshot made of a recipe, layer upon layer, each made once.

What a build does is recorded as it happens, so that whoever comes later, or after a crash, can tell what became of it.
"""

import builtins
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from hutch.control.keys import Principal
from hutch.model.builds import Build, Phase
from hutch.model.ids import BuildId
from hutch.model.machine import Defaults, Persistence, Snapshot
from hutch.model.recipes import Credentials, Recipe


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build, and what the snapshot is to be."""

    recipe: Recipe
    name: str | None = None
    persistence: Persistence = Persistence.PERSISTENT
    priority: int = 5
    defaults: Defaults = field(default_factory=Defaults)
    credentials: Credentials | None = field(default=None, repr=False)  # of the registry the base comes from
    budget: float | None = None  # seconds it may take in all; None: the service's own limit


class Builds:
    """The builds of all tenants. Another tenant's is `NotFound`."""

    async def ensure(self, principal: Principal, request: BuildRequest) -> Snapshot:
        """The snapshot of a recipe: at once if it is there, else when it is built. Needs `machine:create`.

        The same recipe asked for by many at once is built once. A caller that goes away does not end the build.
        `InvalidRequest`, `Flawed`, `NotFound`; `BuildFailed` with the end of what the failing command wrote,
        `BuildTooLong`; `Conflict` when it is cancelled.
        """
        raise NotImplementedError

    async def begin(self, principal: Principal, request: BuildRequest) -> Build:
        """The same without waiting for its end; what was built before is a build that has succeeded."""
        raise NotImplementedError

    async def get(self, principal: Principal, id: BuildId) -> Build:
        """Needs `machine:read`. `NotFound`."""
        raise NotImplementedError

    async def list(self, principal: Principal, limit: int = 100) -> builtins.list[Build]:
        """The tenant's last ones, newest first. Needs `machine:read`."""
        raise NotImplementedError

    async def phases(self, principal: Principal, id: BuildId) -> Sequence[Phase]:
        """Oldest first; the last one is what it is doing. Needs `machine:read`. `NotFound`."""
        raise NotImplementedError

    async def wait(self, principal: Principal, id: BuildId, timeout: float) -> Build:
        """When it has ended, however it did. `TimedOut` after `timeout` seconds. Needs `machine:read`."""
        raise NotImplementedError

    def follow(self, principal: Principal, id: BuildId) -> AsyncGenerator[Phase | bytes, None]:
        """Its phases, and what its commands write, as they come, until it has ended; first the phases until now.

        What was written before is told as far as it is kept (the last 64 KiB of a running build). Needs `machine:read`.
        """
        raise NotImplementedError

    async def cancel(self, principal: Principal, id: BuildId) -> Build:
        """End it; its machines are gone then. One that has ended stays as it is. Needs `machine:create`."""
        raise NotImplementedError
