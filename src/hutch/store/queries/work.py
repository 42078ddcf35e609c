"""Sessions and jobs."""

from collections.abc import Sequence

import sqlalchemy as sa

from hutch.model.ids import MachineId
from hutch.model.jobs import Job, JobState
from hutch.model.sessions import Session
from hutch.store import rows
from hutch.store.connection import Connected
from hutch.store.tables import jobs, sessions


class WorkQueries(Connected):
    """As `interface.WorkRecords`."""

    async def add_session(self, session: Session) -> None:
        refused = f"there is already a session {session.id}, or no machine {session.machine}"
        await self._insert(sessions, rows.sessions.write(session), refused)

    async def save_session(self, session: Session) -> None:
        await self._do(sa.update(sessions).where(_is(session)).values(rows.sessions.write(session)))

    async def remove_session(self, session: Session) -> None:
        await self._do(sa.delete(sessions).where(_is(session)))

    async def add_job(self, job: Job) -> None:
        await self._insert(jobs, rows.jobs.write(job), f"there is already a job {job.id}, or no machine {job.machine}")

    async def save_job(self, job: Job) -> None:
        await self._do(sa.update(jobs).where(jobs.c.id == job.id).values(rows.jobs.write(job)))

    async def get_job(self, machine: MachineId, job: str) -> Job | None:
        found = await self._find(sa.select(jobs).where((jobs.c.machine == machine) & (jobs.c.id == job)))
        return rows.jobs.read(found[0]) if found else None

    async def list_jobs(self, machine: MachineId, limit: int) -> Sequence[Job]:
        last = sa.select(jobs).where(jobs.c.machine == machine).order_by(jobs.c.position.desc()).limit(limit)
        return [rows.jobs.read(row) for row in await self._find(last)]

    async def list_running_jobs(self) -> Sequence[Job]:
        running = sa.select(jobs).where(jobs.c.state == JobState.RUNNING.value).order_by(jobs.c.position)
        return [rows.jobs.read(row) for row in await self._find(running)]


def _is(session: Session) -> sa.ColumnElement[bool]:
    return (sessions.c.machine == session.machine) & (sessions.c.id == session.id)
