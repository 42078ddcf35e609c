"""What goes on in a VM, told line by line (NDJSON) until the client hangs up: changes of files, and how it fares."""

from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import service, streams
from hutch.api.answers import moment
from hutch.api.freestyle import guest_responses, reach, refs
from hutch.api.freestyle.responses import Answer
from hutch.control.vitals import INTERVALS, Sample
from hutch.model import errors
from hutch.model.guest import Change, ChangeKind

log = structlog.stdlib.get_logger("hutch.api.freestyle")

router = APIRouter(tags=["streams"])

EVENTS: Mapping[ChangeKind, str] = {
    ChangeKind.CREATED: "create",
    ChangeKind.WRITTEN: "modify",
    ChangeKind.REMOVED: "delete",
    ChangeKind.RENAMED: "rename",
    ChangeKind.CHANGED: "chmod",
}

_NDJSON = "application/x-ndjson"
_HEADERS = {
    "content-type": _NDJSON,
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would collect the lines otherwise
}
_LONGEST_MS = round(INTERVALS[1] * 1000)
_KEEP_ALIVE = b"\n"  # the documented client passes over blank lines


def _lines(model: type[Answer]) -> dict[int | str, dict[str, Any]]:
    """For the document: a stream of these."""
    return {200: {"description": f"A {model.__name__} a line", "model": model, "content": {_NDJSON: {}}}}


@router.post("/v1/vms/{vm_id}/watch-files", responses=_lines(guest_responses.FileChange))
async def watch_files(request: Request, vm_id: str, path: str = "/") -> Response:
    """What happens to files below a directory from the answer's head on. Of `/` the system's own are left out.

    The VM is in use while it is watched. The stream ends with the VM's run, with the directory, or when more happens
    than can be told of.
    """
    machine = reach.vm(request, vm_id)
    changes = service.of(request).control.watches.watch(service.principal(request), machine, path)
    await streams.first(changes)
    return streams.PulledResponse(_changes(changes), _HEADERS, _KEEP_ALIVE)


async def _changes(changes: AsyncGenerator[Change | None, None]) -> AsyncGenerator[bytes, None]:
    try:
        async for change in changes:
            if change is not None:
                yield to_json({"eventType": EVENTS[change.kind], "filename": change.path}) + b"\n"
    except errors.HutchError as error:
        log.info("a watch has ended", reason=error.message)
    finally:
        await changes.aclose()


@router.get("/v1/vms/{vm_id}/stats/stream", responses=_lines(guest_responses.Stats))
async def stats_stream(request: Request, vm_id: str, interval_ms: Annotated[int, Query(ge=0)] = 1000) -> Response:
    """How a VM that runs fares, every so often (100 to 10000 ms), as its own kernel says: not to be relied upon.

    Looking: it does not keep the VM from being idle, and ends with its run.
    """
    vitals, caller = service.of(request).control.vitals, service.principal(request)
    samples = vitals.stream(caller, refs.machine(vm_id), min(interval_ms, _LONGEST_MS) / 1000)
    first = await streams.first(samples)
    return streams.PulledResponse(_samples(first, samples), _HEADERS, _KEEP_ALIVE)


async def _samples(first: Sample, samples: AsyncGenerator[Sample, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield _sample(first)
        async for sample in samples:
            yield _sample(sample)
    finally:
        await samples.aclose()


def _sample(it: Sample) -> bytes:
    told = {
        "cpuPercent": round(it.cpu_percent, 2),
        "memoryTotalBytes": it.memory_total,
        "memoryUsedBytes": it.memory_used,
        "memoryAvailableBytes": it.memory_available,
        "timestamp": moment(it.at),
    }
    return to_json(told) + b"\n"
