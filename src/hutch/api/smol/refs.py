"""Which machine a path means: its id as shown or bare, or (native) its name."""

from starlette.requests import Request

from hutch.api import service
from hutch.api.smol import parse
from hutch.model import ids
from hutch.model.ids import MachineId


def machine(request: Request) -> MachineId:
    """The machine of `{id}`. An id is not looked up here: whoever uses it is told if there is none."""
    ref = parse.machine_ref(request.path_params["id"])
    if ids.is_machine_id(ref):
        return MachineId(ref)
    return service.of(request).control.machines.find(service.principal(request), ref).id
