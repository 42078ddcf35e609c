"""Of the store as dictionaries: builds and their phases."""

from collections.abc import Sequence

from hutch.model import errors
from hutch.model.builds import ENDED, Build, Phase
from hutch.model.ids import BuildId, TenantId
from hutch.store.interface import Horizon


class MemoryBuilds:
    """As `interface.BuildRecords`."""

    def __init__(self) -> None:
        self._builds: dict[BuildId, Build] = {}
        self._phases: dict[BuildId, list[Phase]] = {}

    async def add_build(self, build: Build) -> None:
        self._builds[build.id] = build
        self._phases[build.id] = []

    async def save_build(self, build: Build) -> None:
        if build.id in self._builds:
            self._builds[build.id] = build

    async def get_build(self, build: BuildId) -> Build | None:
        return self._builds.get(build)

    async def list_builds(self, tenant: TenantId, limit: int) -> Sequence[Build]:
        return [build for build in reversed(self._builds.values()) if build.tenant == tenant][:limit]

    async def list_unfinished_builds(self) -> Sequence[Build]:
        return [build for build in self._builds.values() if build.state not in ENDED]

    async def add_phase(self, phase: Phase) -> None:
        if phase.build not in self._builds:
            raise errors.Conflict(f"there is no build {phase.build}")
        self._phases[phase.build].append(phase)

    async def list_phases(self, build: BuildId) -> Sequence[Phase]:
        return list(self._phases.get(build, []))

    def _prune_builds(self, horizon: Horizon) -> None:
        for build in list(self._builds.values()):
            if horizon.builds is not None and build.finished_at is not None and build.finished_at < horizon.builds:
                del self._builds[build.id], self._phases[build.id]
