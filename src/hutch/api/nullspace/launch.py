"""A machine made and run as one request, out of a warm pool if one is named."""

from starlette.requests import Request

from hutch.api import service
from hutch.api.nullspace import parse, present, refs, requests
from hutch.api.nullspace.errors import Told, naming
from hutch.control.keys import Principal
from hutch.control.plane import ControlPlane
from hutch.model import errors
from hutch.model.machine import CheckoutMode, Machine


async def machine(request: Request, body: requests.CreateMachine) -> str:
    """Make and run what is asked for, and tell its id. If it cannot be run there is none."""
    caller, control = service.principal(request), service.of(request).control
    parse.check_source(body)
    snapshot, asked = _snapshot(caller, control, body), body.warm_pool
    if asked is None:
        with naming("not_found"):  # a volume, which has gone or was never there
            return (await control.machines.launch(caller, parse.machine_request(body, snapshot))).id
    pool = refs.pool(asked.id) if asked.id else None
    wanted = parse.machine_request(body, snapshot) if pool is None or snapshot else parse.claim_request(body)
    mode, wait = None if asked.mode is None else CheckoutMode(asked.mode), (asked.wait_ms or 0) / 1000
    with naming("not_found"):
        return (await control.pools.checkout(caller, pool, wanted, mode, wait)).id


def _snapshot(caller: Principal, control: ControlPlane, body: requests.CreateMachine) -> str | None:
    """The snapshot it is to be made of: `snapshot_id`, or a template that is the name or id of one."""
    if body.snapshot_id is not None:
        with naming("snapshot_not_found"):
            return control.snapshots.find(caller, parse.snapshot_ref(body.snapshot_id)).id
    if body.template in (None, parse.BASE):
        return None
    try:
        return control.snapshots.find(caller, parse.snapshot_ref(body.template)).id
    except (errors.NotFound, errors.Forbidden):
        return None


def check_not_asleep(machine: Machine | None) -> None:
    """`snapshot_in_use` if it is what a machine is resumed from."""
    if machine is not None and present.status(machine) == "paused":
        raise Told(409, "snapshot_in_use", f"machine {refs.MACHINE}{machine.id} is resumed from it: delete the machine")
