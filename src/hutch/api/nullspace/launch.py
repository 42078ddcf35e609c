"""A machine made and run as one request, out of a warm pool if one is named.

What came of it is one text, so that a repeated request can be told the same: the machine's id, and how a pool was
used.
"""

import asyncio
import time
from typing import Any

from starlette.requests import Request

from hutch.api import service
from hutch.api.nullspace import parse, present, refs, requests
from hutch.api.nullspace.errors import Told, naming
from hutch.control.keys import Principal
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane
from hutch.model import errors
from hutch.model.ids import PoolId
from hutch.model.machine import Machine

POLL = 0.05
"""Seconds between two looks at a pool that has nothing ready yet."""


def id_of(made: str) -> str:
    """The machine's id in what came of a request."""
    return made.partition(" ")[0]


def told(shown: dict[str, Any], made: str) -> dict[str, Any]:
    """A machine with how it was taken out of a pool, if one was considered."""
    _, _, checkout = made.partition(" ")
    if not checkout:
        return shown
    source, mode, pool = checkout.split(" ")
    result = {"source": source, "hit": source == "ready_instance", "mode": mode}
    return {**shown, "warm_pool_checkout": result if pool == "-" else {**result, "id": refs.POOL + pool}}


async def machine(request: Request, body: requests.CreateMachine) -> str:
    """Make and run what is asked for. If it cannot be run there is none."""
    caller, control = service.principal(request), service.of(request).control
    pool = body.warm_pool
    parse.check_source(body)
    if pool is None or pool.mode == "bypass":
        wanted = parse.machine_request(body, _snapshot(caller, control, body))
        with naming("not_found"):  # a volume, which has gone or was never there
            made = await control.machines.launch(caller, wanted)
        return made.id if pool is None else f"{made.id} bypassed bypass {refs.pool(pool.id) if pool.id else '-'}"
    if not pool.id:
        raise errors.InvalidRequest("warm_pool.id: name a pool, or say bypass")
    with naming("not_found"):
        return await _claim(caller, control, parse.claim_request(body), pool)


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


async def _claim(caller: Principal, control: ControlPlane, wanted: MachineRequest, asked: requests.WarmPool) -> str:
    """Out of a pool; made as any other if nothing is ready in time, unless that is refused."""
    id, mode = refs.pool(asked.id or ""), asked.mode or "prefer"
    await _wait_ready(caller, control, id, (asked.wait_ms or 0) / 1000)
    before = control.pools.find(caller, id)
    if not before.ready and mode == "require":
        raise Told(503, "warm_pool_unavailable", f"warm pool {refs.POOL}{id} has no machine ready")
    made = await control.pools.claim(caller, before.pool.id, wanted)
    is_hit = control.pools.find(caller, id).claimed > before.claimed
    return f"{made.id} {'ready_instance' if is_hit else 'cold_create'} {mode} {before.pool.id}"


async def _wait_ready(caller: Principal, control: ControlPlane, id: PoolId, limit: float) -> None:
    until = time.monotonic() + limit
    while True:
        if control.pools.find(caller, id).ready or time.monotonic() >= until:
            return
        await asyncio.sleep(POLL)


def check_not_asleep(machine: Machine | None) -> None:
    """`snapshot_in_use` if it is what a machine is resumed from."""
    if machine is not None and present.status(machine) == "paused":
        raise Told(409, "snapshot_in_use", f"machine {refs.MACHINE}{machine.id} is resumed from it: delete the machine")
