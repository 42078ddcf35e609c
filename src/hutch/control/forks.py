"""Forks: running copies of a machine, all or none.

One copy of the source is taken, through its owner, so that forks of one source at once queue up; of that the children
are made side by side. They are recorded as `creating` until all of them run, and then as running in one transaction:
a service that dies in the middle leaves none. Whatever goes wrong with one of them, its deletion included, ends all.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence

import structlog

from hutch.control import idempotency, names, quotas, requests
from hutch.control.background import Background
from hutch.control.brood import Brood
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.operation import Copying, Creation
from hutch.control.policy import Verb
from hutch.control.records import Entry
from hutch.control.requests import ForkRequest
from hutch.model import errors, ids
from hutch.model.ids import SnapshotId
from hutch.model.kinds import Kind
from hutch.model.machine import Machine
from hutch.model.network import PublishedPort
from hutch.model.states import State

log = structlog.get_logger(__name__)

LEAST_AT_ONCE = 2
"""Children of one fork are made at the same time as far as the box has CPUs, but never fewer than this."""


class Forks:
    """Makes copies of machines."""

    def __init__(self, fleet: Fleet, background: Background, clock: Clock) -> None:
        self._fleet = fleet
        self._records = fleet.records
        self._admission = fleet.admission
        self._background = background
        self._clock = clock

    async def fork(self, source: Entry, request: ForkRequest) -> list[Machine]:
        """See `Machines.fork`."""
        count = requests.check_fork(request)
        requests.check_copy(f"machine {source.machine.name}", source.machine.spec)
        children = await self._background.finish(self._fork(source, request, count))
        return [child.machine for child in children]

    async def _fork(self, source: Entry, request: ForkRequest, count: int) -> list[Entry]:
        tenant = source.machine.tenant
        with contextlib.ExitStack() as claims:
            wanted = request.names or self._make_names(source, request.name_prefix, count)
            for name in wanted:
                claims.enter_context(self._records.claim(tenant, name))
            planned = [self._plan(source.machine, name, request.ports) for name in wanted]
            wants = {child.id: quotas.of_machine(child, is_up=True) for child in planned}
            claims.enter_context(self._fleet.quotas.claim(tenant, wants))
            memory = source.machine.spec.resources.memory_mib
            await self._admission.admit_all([child.id for child in planned], memory)
            try:
                children = await self._make(source, planned)
            except BaseException:
                for child in planned:
                    self._admission.release(child.id)
                raise
        await self._records.note(source, f"forked: {', '.join(wanted)}", kind=Kind.FORKED)
        if request.freeze_source:
            await self._freeze(source)
        return children

    def _make_names(self, source: Entry, prefix: str | None, count: int) -> Sequence[str]:
        tenant = source.machine.tenant
        made = names.number(
            prefix or source.machine.name, lambda name: self._records.is_taken(tenant, name), requests.NAME_LENGTH
        )
        return [next(made) for _ in range(count)]

    def _plan(self, source: Machine, name: str, ports: Sequence[PublishedPort] | None) -> Machine:
        """A child is what its source is, under a name and an id of its own."""
        now = self._clock.now()
        return Machine(
            id=ids.new_machine_id(),
            tenant=source.tenant,
            name=name,
            spec=dataclasses.replace(source.spec, hostname=requests.make_hostname(name)),
            state=State.CREATING,
            created_at=now,
            updated_at=now,
            labels=source.labels,
            metadata=source.metadata,
            persistence=source.persistence,
            priority=source.priority,
            ends_on=source.ends_on,
            timers=dataclasses.replace(source.timers, since=None),
            ports=source.ports if ports is None else tuple(ports),
            wakes_on_traffic=source.wakes_on_traffic,
            starts_on_traffic=source.starts_on_traffic,
            private_traffic=source.private_traffic,
            parent=source.id,
        )

    async def _make(self, source: Entry, planned: Sequence[Machine]) -> list[Entry]:
        copying = Copying(ids.new_snapshot_id(), transient=True)
        await self._fleet.carry_out(source, copying)
        try:
            message = f"creating as a copy of {source.machine.name}"
            await idempotency.expect([child.id for child in planned])
            children = await self._records.add_all(planned, message, Kind.CREATED)
            await self._run(children, copying.snapshot)
        finally:
            self._background.go_on("removing the copy of a fork", self._remove(copying.snapshot))
        return children

    async def _run(self, children: Sequence[Entry], snapshot: SnapshotId) -> None:
        cpus = (await self._fleet.host.capacity()).cpus  # more at once only wait for each other
        brood = Brood(len(children), max(LEAST_AT_ONCE, cpus))
        births = [self._begin(child, snapshot, brood) for child in children]
        failed: errors.HutchError | None = None
        try:
            await brood.wait_all_run()
            now = self._clock.now()
            await self._records.transition_all(children, State.RUNNING, "running", ready_at=now, last_activity_at=now)
        except errors.HutchError as error:
            failed = error
        brood.settle(failed)
        await asyncio.gather(*(birth.done for birth in births), return_exceptions=True)
        if failed is not None:
            raise failed

    def _begin(self, child: Entry, snapshot: SnapshotId, brood: Brood) -> Creation:
        birth = Creation(snapshot, brood)

        def look(done: asyncio.Future[Machine]) -> None:
            error = None if done.cancelled() else done.exception()
            if birth.ended_by is not None:
                error = errors.Conflict(f"the fork was ended by {birth.ended_by} (copy {child.machine.name})")
            if isinstance(error, errors.HutchError):
                brood.fail(error)

        birth.done.add_done_callback(look)
        try:
            self._fleet.submit(child, birth)
        except errors.HutchError as error:
            birth.done.set_exception(error)
        return birth

    async def _freeze(self, source: Entry) -> None:
        """The copies are there either way; why it could not be suspended is among its events."""
        with contextlib.suppress(errors.HutchError):
            await self._fleet.do(source, Verb.SUSPEND, "it was forked, to be frozen")

    async def _remove(self, snapshot: SnapshotId) -> None:
        await self._fleet.host.remove_snapshot(snapshot)
