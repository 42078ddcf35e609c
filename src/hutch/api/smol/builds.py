"""Builds: checkpoints made of recipes, layer upon layer, and what is told of them meanwhile. Native."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, events, openapi, service, streams
from hutch.api.smol import execs, parse, present, recipes, responses
from hutch.control.builds import Builds
from hutch.control.keys import Principal
from hutch.model import builds, errors
from hutch.model.ids import BuildId

router = APIRouter(tags=["builds"])


class Build(responses.Answer):
    """A build. `checkpointId` is what it makes: it is there once `state` is `succeeded`."""

    id: str
    request_id: str
    state: Literal["pending", "running", "succeeded", "failed", "cancelled", "lost"]
    checkpoint_id: str
    name: str | None
    recipe: str = Field(description="The hash of the outermost layer.")
    planned: list[str] = Field(description="The names of its phases, in order.")
    started_at: str
    updated_at: str
    finished_at: str | None
    reason: str | None = Field(description="Why it failed, with the end of what the failing command wrote.")


class Phase(responses.Answer):
    """Something a build has begun; `checkpointId` is that of the layer it made or found."""

    id: str
    name: str
    started_at: str
    checkpoint_id: str | None


def shown(it: builds.Build) -> dict[str, Any]:
    """A build as JSON."""
    return {
        "id": present.BUILD_PREFIX + it.id,
        "requestId": it.request,
        "state": it.state.value,
        "checkpointId": present.CHECKPOINT_PREFIX + it.snapshot,
        "name": it.name,
        "recipe": it.recipe,
        "planned": it.planned,
        "startedAt": present.time(it.started_at),
        "updatedAt": present.time(it.updated_at),
        "finishedAt": present.time(it.finished_at),
        "reason": it.reason,
    }


def phase_shown(it: builds.Phase) -> dict[str, Any]:
    """A phase as JSON."""
    return {
        "id": it.id,
        "name": it.name,
        "startedAt": present.time(it.started_at),
        "checkpointId": None if it.snapshot is None else present.CHECKPOINT_PREFIX + it.snapshot,
    }


def _event(name: str, data: object) -> bytes:
    return events.frame(name, to_json(data).decode())


async def frames(its: Builds, caller: Principal, id: BuildId) -> AsyncGenerator[bytes, None]:
    """Phases and output as they come, at last the build as it ended."""
    try:
        async with aclosing(its.follow(caller, id)) as told:
            async for it in told:
                if isinstance(it, bytes):
                    yield _event("output", {"data": it.decode("utf-8", "replace"), "dataB64": present.b64(it)})
                else:
                    yield _event("phase", phase_shown(it))
        yield _event("build", shown(await its.get(caller, id)))
    except errors.HutchError as error:
        yield events.frame("error", error.message)


def _asked(request: Request, id: str) -> tuple[Builds, Principal, BuildId]:
    return service.of(request).control.builds, service.principal(request), BuildId(parse.build_ref(id))


@router.post(
    "/v1/builds",
    status_code=201,
    responses={201: {"model": Build}},
    openapi_extra=openapi.body(recipes.CreateBuild),
)
async def create(request: Request) -> Response:
    """Begin to build a checkpoint; what was built before is a build that has succeeded already.

    A recipe that makes no sense is refused here; what fails later is told by the build. A client that hangs up before
    it has begun ends it.
    """
    wanted = recipes.build(await bodies.parse(request, recipes.CreateBuild))
    beginning = service.of(request).control.builds.begin(service.principal(request), wanted)
    return present.Json(shown(await streams.unless_hung_up(request.receive, beginning)), 201)


@router.get("/v1/builds", responses={200: {"model": list[Build]}})
async def list_all(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """The last ones, newest first."""
    found = await service.of(request).control.builds.list(service.principal(request), limit)
    return present.Json([shown(it) for it in found])


@router.get("/v1/builds/{id}", responses={200: {"model": Build}})
async def get(request: Request, id: str) -> Response:
    """One, as it is now."""
    its, caller, build = _asked(request, id)
    return present.Json(shown(await its.get(caller, build)))


@router.get("/v1/builds/{id}/wait", responses={200: {"model": Build}})
async def wait(request: Request, id: str, timeout: Annotated[float, Query(ge=0, le=3600)] = 60) -> Response:
    """Answers when it has ended, however it did; 504 after `timeout` seconds."""
    its, caller, build = _asked(request, id)
    return present.Json(shown(await streams.unless_hung_up(request.receive, its.wait(caller, build, timeout))))


@router.get("/v1/builds/{id}/phases", responses={200: {"model": list[Phase]}})
async def phases(request: Request, id: str) -> Response:
    """What it has begun until now."""
    its, caller, build = _asked(request, id)
    return present.Json([phase_shown(it) for it in await its.phases(caller, build)])


@router.get("/v1/builds/{id}/log", response_class=Response, responses={200: execs.EVENT_STREAM})
async def log(request: Request, id: str) -> Response:
    """Server-sent events until it has ended: `phase`, `output` (`{data, dataB64}`), at last `build`.

    First the phases until now, and what was written lately.
    """
    its, caller, build = _asked(request, id)
    await its.get(caller, build)
    parts = frames(its, caller, build)
    return streams.PulledResponse(parts, streams.EVENT_STREAM_HEADERS, keep_alive=streams.EVENT_STREAM_KEEP_ALIVE)


@router.post("/v1/builds/{id}/cancel", responses={200: {"model": Build}})
async def cancel(request: Request, id: str) -> Response:
    """End it; its machines are gone then. One that has ended stays as it is."""
    its, caller, build = _asked(request, id)
    return present.Json(shown(await its.cancel(caller, build)))
