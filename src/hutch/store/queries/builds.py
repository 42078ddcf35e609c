"""Builds and their phases."""

from collections.abc import Sequence

import sqlalchemy as sa

from hutch.model.builds import ENDED, Build, Phase
from hutch.model.ids import BuildId, TenantId
from hutch.store import rows
from hutch.store.connection import Connected
from hutch.store.tables import build_phases, builds


class BuildQueries(Connected):
    """As `interface.BuildRecords`."""

    async def add_build(self, build: Build) -> None:
        refused = f"there is already a build {build.id}, or no tenant {build.tenant}"
        await self._insert(builds, rows.builds.write(build), refused)

    async def save_build(self, build: Build) -> None:
        await self._do(sa.update(builds).where(builds.c.id == build.id).values(rows.builds.write(build)))

    async def get_build(self, build: BuildId) -> Build | None:
        found = await self._find(sa.select(builds).where(builds.c.id == build))
        return rows.builds.read(found[0]) if found else None

    async def list_builds(self, tenant: TenantId, limit: int) -> Sequence[Build]:
        last = sa.select(builds).where(builds.c.tenant == tenant).order_by(builds.c.position.desc()).limit(limit)
        return [rows.builds.read(row) for row in await self._find(last)]

    async def list_unfinished_builds(self) -> Sequence[Build]:
        unfinished = sa.select(builds).where(builds.c.state.not_in(ENDED)).order_by(builds.c.position)
        return [rows.builds.read(row) for row in await self._find(unfinished)]

    async def add_phase(self, phase: Phase) -> None:
        refused = f"there is already a phase {phase.id}, or no build {phase.build}"
        await self._insert(build_phases, rows.phases.write(phase), refused)

    async def list_phases(self, build: BuildId) -> Sequence[Phase]:
        its = sa.select(build_phases).where(build_phases.c.build == build).order_by(build_phases.c.position)
        return [rows.phases.read(row) for row in await self._find(its)]
