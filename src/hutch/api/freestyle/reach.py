"""Which VM a request works in: one that runs, or goes on by itself when it is used."""

from starlette.requests import HTTPConnection

from hutch.api import service
from hutch.api.freestyle import refs
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.states import State

USER = "x-freestyle-vm-linux-user-id"
"""The header that names a user of the VM's, by name or number; root if it is left out."""

_DOWN = frozenset({State.STOPPING, State.STOPPED, State.FAILED, State.LOST})


def vm(request: HTTPConnection, vm_id: str) -> MachineId:
    """A suspended one is woken by its use; one that was stopped has to be started: `NotRunning`. `NotFound`."""
    it = service.of(request).control.machines.get(service.principal(request), refs.machine(vm_id))
    if it.state in _DOWN:
        raise errors.NotRunning(f"VM is not running: {vm_id}")
    return it.id


def user(request: HTTPConnection) -> str | None:
    """Whom a request is to be done as, if it says so."""
    return request.headers.get(USER) or None
