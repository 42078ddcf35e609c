"""What happens to the machines of a suspended tenant: none of them goes on running, and its pools are kept empty."""

from datetime import datetime, timedelta

import structlog

from hutch.control import policy
from hutch.control.accounts import Accounts
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.operation import Operation
from hutch.control.policy import Verb
from hutch.control.records import Entry
from hutch.model import errors
from hutch.model.ids import MachineId, TenantId
from hutch.model.machine import Machine
from hutch.model.states import State

log = structlog.get_logger(__name__)

RETRY = timedelta(seconds=60)
"""How long after a machine could not be suspended it is tried again."""

CAUSE = "its tenant is suspended"


def find_verb(machine: Machine) -> Verb | None:
    """What is to be done to a machine of a suspended tenant."""
    if policy.ends_at_rest(machine):
        return Verb.PAUSE if machine.state is State.RUNNING else None
    return Verb.SUSPEND if machine.state in (State.RUNNING, State.PAUSED) else None


class Sanctions:
    """Looks after suspended tenants; asked every few moments, so a crash or a full disk only delays it."""

    def __init__(self, accounts: Accounts, fleet: Fleet, clock: Clock) -> None:
        self._accounts = accounts
        self._fleet = fleet
        self._clock = clock
        self._failed: dict[MachineId, datetime] = {}
        fleet.members.is_barred = self._is_suspended

    def _is_suspended(self, tenant: TenantId) -> bool:
        account = self._accounts.get(tenant)
        return account is not None and account.tenant.is_suspended

    def enforce(self) -> None:
        """Begin to suspend what runs and nobody works on."""
        now = self._clock.now()
        self._failed = {id: at for id, at in self._failed.items() if now < at + RETRY}
        for account in self._accounts.all():
            if account.tenant.is_suspended:
                for entry in self._fleet.records.of(account.tenant.id):
                    self._act(entry)

    def _act(self, entry: Entry) -> None:
        verb = find_verb(entry.machine)
        if verb is None or not self._fleet.is_idle(entry) or entry.machine.id in self._failed:
            return
        try:
            operation = self._fleet.submit(entry, Operation(verb, CAUSE))
        except errors.HutchError as error:
            log.warning("not suspended with its tenant", machine=entry.machine.id, error=error.message)
            self._failed[entry.machine.id] = self._clock.now()
        else:
            if operation is not None:
                operation.done.add_done_callback(lambda done: self._note_end(entry, done.exception()))

    def _note_end(self, entry: Entry, error: BaseException | None) -> None:
        if error is not None:
            self._failed[entry.machine.id] = self._clock.now()
