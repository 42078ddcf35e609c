"""Machines and what happened to them."""

from collections.abc import Sequence

import sqlalchemy as sa

from hutch.model import errors
from hutch.model.ids import MachineId, TenantId
from hutch.model.machine import Event, Machine
from hutch.model.states import State
from hutch.model.usage import Turn
from hutch.store import rows
from hutch.store.connection import Connected, refused_as, unindexed
from hutch.store.interface import EventQuery
from hutch.store.queries.usage import take_turn
from hutch.store.tables import domains, events, jobs, machines, sessions


class MachineQueries(Connected):
    """As `interface.MachineRecords`."""

    async def add_machine(self, machine: Machine, event: Event) -> None:
        await self.add_machines([(machine, event)])

    async def add_machines(self, made: Sequence[tuple[Machine, Event]]) -> None:
        async with self._transaction() as connection:
            for machine, event in made:
                with refused_as(f"there is already a machine named {machine.name}"):
                    await connection.execute(sa.insert(machines).values(rows.from_machine(machine)))
                await connection.execute(sa.insert(events).values(rows.from_event(event)))

    async def save_machine(self, machine: Machine, was: State, event: Event, turn: Turn | None = None) -> None:
        await self.save_machines([(machine, was, event)], [] if turn is None else [turn])

    async def save_machines(self, changes: Sequence[tuple[Machine, State, Event]], turns: Sequence[Turn] = ()) -> None:
        async with self._transaction() as connection:
            for machine, was, event in changes:
                known = (machines.c.id == machine.id) & (machines.c.state == was.value)
                update = sa.update(machines).where(known).values(rows.from_machine(machine))
                with refused_as(f"there is already a machine named {machine.name}"):
                    done = await connection.execute(update)
                if done.rowcount != 1:
                    raise errors.Conflict(f"machine {machine.id} is not recorded as {was}")
                await connection.execute(sa.insert(events).values(rows.from_event(event)))
                if machine.state is State.DESTROYED:
                    for table in (sessions, jobs, domains):
                        await connection.execute(sa.delete(table).where(table.c.machine == machine.id))
            for turn in turns:
                await take_turn(connection, turn)

    async def get_machine(self, machine: MachineId) -> Machine | None:
        found = await self._find(sa.select(machines).where(machines.c.id == machine))
        return rows.to_machine(found[0]) if found else None

    async def list_destroyed_machines(self, tenant: TenantId, limit: int) -> Sequence[Machine]:
        is_gone = (machines.c.tenant == tenant) & (machines.c.state == sa.literal_column(f"'{State.DESTROYED.value}'"))
        last = sa.select(machines).where(is_gone).order_by(machines.c.updated_at.desc()).limit(limit)
        return [rows.to_machine(row) for row in await self._find(last)]

    async def add_event(self, event: Event) -> None:
        await self._do(sa.insert(events).values(rows.from_event(event)))

    async def list_events(self, machine: MachineId, limit: int) -> Sequence[Event]:
        last = sa.select(events).where(events.c.machine == machine).order_by(events.c.position.desc()).limit(limit)
        return [rows.to_event(row) for row in reversed(await self._find(last))]

    async def find_events(self, query: EventQuery) -> Sequence[Event]:
        wanted = [
            (events.c.tenant if query.machine is None else unindexed(events.c.tenant)) == query.tenant,
            *([] if query.machine is None else [events.c.machine == query.machine]),
            *([] if query.snapshot is None else [events.c.snapshot == query.snapshot]),
            *([] if query.kinds is None else [events.c.kind.in_(list(query.kinds))]),
            *([] if query.since is None else [events.c.created_at >= query.since]),
            *([] if query.until is None else [events.c.created_at <= query.until]),
        ]
        order = events.c.position.desc() if query.newest_first else events.c.position
        page = sa.select(events).where(*wanted).order_by(order).offset(query.offset).limit(query.limit)
        return [rows.to_event(row) for row in await self._find(page)]
