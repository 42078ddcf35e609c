"""What a machine uses, as its own kernel says."""

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service
from hutch.api.answers import Json
from hutch.api.nullspace import present, refs, responses

router = APIRouter(tags=["metrics"])

BETWEEN = 0.25
"""Seconds between two looks at what its CPUs have done."""


@router.get("/v1/machines/{id}/metrics", responses={200: {"model": list[responses.Metrics]}})
async def metrics(request: Request, id: str) -> Response:
    """How it stands now, as a list of one. Looking never wakes it: 409 unless it runs."""
    caller, machines, machine = service.principal(request), service.of(request).control.machines, refs.machine(id)
    before = await machines.stats(caller, machine)
    await asyncio.sleep(BETWEEN)
    after = await machines.stats(caller, machine)
    cpus = machines.get(caller, machine).spec.resources.cpus
    return Json([present.metrics(datetime.now(UTC), before, after, cpus, await machines.traffic(caller, machine))])
