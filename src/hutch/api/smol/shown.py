"""Machines as they are answered: their records, where their ports are, and whether these accept connections."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from hutch.api import service
from hutch.api.smol import present
from hutch.control.machines import Progress, Remaining
from hutch.model.machine import Machine


async def machine(
    request: Request,
    it: Machine,
    status: int = 200,
    getting_on: Progress | None = None,
    remaining: Remaining | None = None,
) -> present.Json:
    """One, as an answer."""
    exposure = service.of(request).control.exposure
    is_ready = it.id in await exposure.accepting([it])
    return present.Json(present.machine(it, getting_on, remaining, _url(request, it), is_ready), status)


async def machines(request: Request, its: Sequence[Machine], with_progress: bool = False) -> list[dict[str, Any]]:
    """Several, as part of an answer."""
    caller, control = service.principal(request), service.of(request).control
    ready = await control.exposure.accepting(its)
    return [
        present.machine(
            it,
            control.machines.progress(caller, it.id) if with_progress else None,
            url=_url(request, it),
            is_ready=it.id in ready,
        )
        for it in its
    ]


def _url(request: Request, it: Machine) -> str | None:
    exposure = service.of(request).control.exposure
    return exposure.url(it, it.ports[0].port) if it.ports else None
