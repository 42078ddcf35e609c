"""The steps of a start: a boot, a wake from saved memory, a paused machine let go on, or one taken out of a pool.

stopped, failed ──► starting ──► running        paused ──► running
suspended ─────────►    │
      ▲─────────────────┘ ended or failed: as it was
"""

import contextlib
import time
from typing import Any

from hutch.control import quotas
from hutch.control.operation import Ended, Operation
from hutch.control.records import Entry
from hutch.control.steps import Steps
from hutch.control.warm import Taken
from hutch.host.interface import Life, OnProgress, Progress
from hutch.model import errors
from hutch.model.kinds import Kind
from hutch.model.machine import Checkout, CheckoutMode, CheckoutSource, Level
from hutch.model.states import State


class Starting:
    """Brings a machine to `running`, from whatever state."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._records = steps.records
        self._host = steps.host

    async def start(self, entry: Entry, operation: Operation) -> None:
        """Raises why it does not run; it is then as it was, or failed with that reason."""
        match entry.machine.state:
            case State.RUNNING:
                return
            case State.PAUSED:
                await self._resume(entry, operation)
            case _:
                await self._start(entry, operation)

    async def _resume(self, entry: Entry, operation: Operation) -> None:
        try:
            await operation.act(self._host.resume(entry.machine.id))
        except Ended:
            raise  # what ended it goes on from here
        except Exception as error:
            told = self._steps.told(entry, error)
            await self._steps.fall_back(entry, "could not go on", told, Kind.START_FAILED)
            raise told from error
        now = self._steps.clock.now()
        try:
            message = f"goes on: {operation.cause}"
            await self._records.transition(entry, State.RUNNING, message, kind=Kind.RESUMED, last_activity_at=now)
        except errors.HutchError:
            await self._host.pause(entry.machine.id)  # as its record says
            raise

    async def _start(self, entry: Entry, operation: Operation) -> None:
        with contextlib.ExitStack() as claims:
            member = await self._admit(entry, claims)
            try:
                await self._bring_up(entry, operation, member)
            finally:
                if member is not None:
                    self._steps.members.let_go(member)
                entry.progress = None
                self._steps.count(entry, self._steps.real(entry))

    async def _admit(self, entry: Entry, claims: contextlib.ExitStack) -> Taken | None:
        """A place among what its tenant may run, and memory: its own, or that of a member."""
        machine, members = entry.machine, self._steps.members
        wanted = {machine.id: quotas.of_machine(machine, is_up=True)}
        member, entry.member = entry.member, None
        if is_unused(entry) and machine.checkout is None:  # else it is known already where it is to come from
            member = members.take(machine)
        try:
            if member is not None:
                members.hand_over(member, machine)
            claims.enter_context(self._steps.quotas.claim(machine.tenant, wanted))
            if member is None:
                await self._steps.admission.admit(machine.id, machine.spec.resources.memory_mib)
            return member
        except errors.NoCapacity as error:
            if member is not None:
                self._steps.admission.release(machine.id)
                members.let_go(member)
            await self._records.note(entry, f"not started: {error.message}", Level.WARNING, Kind.START_FAILED)
            raise

    async def _bring_up(self, entry: Entry, operation: Operation, member: Taken | None) -> None:
        def tell(progress: Progress) -> None:
            entry.progress = progress

        records, began = self._records, time.monotonic()
        self._steps.traffic.forget(entry.machine.id)
        await records.transition(entry, State.STARTING, f"starting: {operation.cause}", reason=None)
        try:
            is_claimed = await operation.act(self._run(entry, member, tell))
        except Ended:
            await self._put_back(entry, f"the start was ended by {operation.ended_by}")
            raise
        except Exception as error:
            told = self._steps.told(entry, error)
            await self._not_started(entry, told)
            raise told from error
        now, took = self._steps.clock.now(), time.monotonic() - began
        how, changes = "", dict[str, Any]()
        if member is not None and is_claimed:
            known, how = entry.machine.checkout, f", out of pool {member.pool.name}"
            mode = CheckoutMode.PREFER if known is None else known.mode
            changes = {"checkout": Checkout(CheckoutSource.MEMBER, mode, member.pool.id)}
        kind = Kind.STARTED if entry.machine.suspended_at is None else Kind.WOKEN
        message = f"running after {took:.2f} s{how}"
        changes |= {"ready_at": now, "last_activity_at": now}
        await records.transition(entry, State.RUNNING, message, kind=kind, **changes)

    async def _run(self, entry: Entry, member: Taken | None, tell: OnProgress) -> bool:
        """Whether it took the member; if it could not, it is started as any other, unless it must be one."""
        machine = entry.machine.id
        if member is not None:
            try:
                await self._host.claim(machine, member.machine)
            except Exception as error:
                told = self._steps.told(entry, error)
                message = f"not out of pool {member.pool.name}: {told.message}"
                await self._records.note(entry, message, Level.WARNING)
                checkout = entry.machine.checkout
                if checkout is not None and checkout.mode is CheckoutMode.REQUIRE:
                    raise errors.PoolUnavailable(message) from error
            else:
                return True
        await self._host.start(machine, tell)
        return False

    async def _put_back(self, entry: Entry, why: str, level: Level = Level.INFO, kind: Kind | None = None) -> None:
        """As it was before: what the host says, suspended or stopped."""
        real = self._steps.real(entry)
        is_suspended = real is not None and real.life is Life.SUSPENDED
        state = State.SUSPENDED if is_suspended else State.STOPPED
        await self._records.transition(entry, state, f"{state}: {why}", level, kind)

    async def _not_started(self, entry: Entry, error: errors.HutchError) -> None:
        real = self._steps.real(entry)
        is_only_short = isinstance(error, errors.NoCapacity) and not isinstance(error, errors.DiskFull)
        if is_only_short or (real is not None and real.life is Life.SUSPENDED):
            await self._put_back(entry, f"not started: {error.message}", Level.WARNING, Kind.START_FAILED)
        else:
            await self._steps.fail(entry, "could not be started", error, Kind.START_FAILED)


def is_unused(entry: Entry) -> bool:
    """Whether it never ran: then its disk is empty, and it can be a member's."""
    machine = entry.machine
    return machine.state is State.STOPPED and machine.ready_at is None and machine.snapshot is None
