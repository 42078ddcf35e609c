"""Jobs: commands that run on when their caller has gone."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.smol import parse, present, refs, requests, responses
from hutch.control import jobs
from hutch.control.processes import Stream

router = APIRouter(tags=["jobs"])


class CreateJob(requests.Work):
    """A command to run as a job. `stdin` and `stdinB64` are native."""


class Job(responses.Answer):
    """A job."""

    id: str
    machine_id: str
    command: list[str]
    state: Literal["running", "exited", "lost"]
    created_at: str
    exit_code: int | None
    finished_at: str | None
    stdout_bytes: int
    stderr_bytes: int


class Jobs(responses.Answer):
    """The jobs of a machine, newest first."""

    jobs: list[Job]


class JobOutput(responses.Answer):
    """A page of one of a job's streams; `offset` is where the bytes really begin, `nextOffset` where to go on."""

    stream: Literal["stdout", "stderr"]
    offset: int
    next_offset: int
    data: str = Field(description="As text; what is not UTF-8 is replaced.")
    data_b64: str = Field(alias="dataB64", description="Exact bytes.")
    eof: bool


class Page(BaseModel):
    """Which page of a job's output, in the query."""

    model_config = ConfigDict(frozen=True)

    stream: Stream = Stream.STDOUT
    offset: Annotated[int, Field(ge=0, le=2**53)] = 0
    limit: Annotated[int, Field(ge=1, le=1024 * 1024)] = 256 * 1024


def shown(it: jobs.Job) -> dict[str, Any]:
    """A job as JSON."""
    return {
        "id": it.id,
        "machineId": present.ID_PREFIX + it.machine,
        "command": it.command,
        "state": it.state.value,
        "createdAt": present.time(it.created_at),
        "exitCode": it.exit_code,
        "finishedAt": present.time(it.finished_at),
        "stdoutBytes": it.stdout_bytes,
        "stderrBytes": it.stderr_bytes,
    }


def page_shown(it: jobs.Page) -> dict[str, Any]:
    """A page of output as JSON."""
    return {
        "stream": it.stream.value,
        "offset": it.offset,
        "nextOffset": it.next_offset,
        "data": it.data.decode("utf-8", "replace"),
        "dataB64": present.b64(it.data),
        "eof": it.is_end,
    }


@router.post("/v1/machines/{id}/jobs", responses={200: {"model": Job}}, openapi_extra=openapi.body(CreateJob))
async def create(request: Request, id: str) -> Response:
    """Start one; a machine that does not run is started or resumed first. A program that is not there is a 404."""
    body = await bodies.parse(request, CreateJob)
    start = service.of(request).control.jobs.start
    made = await start(service.principal(request), refs.machine(request), parse.work(body))
    return present.Json(shown(made))


@router.get("/v1/machines/{id}/jobs", responses={200: {"model": Jobs}})
async def list_all(request: Request, id: str, limit: Annotated[int, Query(ge=1, le=100)] = 100) -> Response:
    """The newest, at most 100. Native: `limit`."""
    found = await service.of(request).control.jobs.list(service.principal(request), refs.machine(request), limit)
    return present.Json({"jobs": [shown(it) for it in found]})


@router.get("/v1/machines/{id}/jobs/{job}", responses={200: {"model": Job}})
async def get(request: Request, id: str, job: str) -> Response:
    """One, as it is now. Looking wakes nothing."""
    found = await service.of(request).control.jobs.get(service.principal(request), refs.machine(request), job)
    return present.Json(shown(found))


@router.get("/v1/machines/{id}/jobs/{job}/output", responses={200: {"model": JobOutput}})
async def output(request: Request, id: str, job: str, page: Annotated[Page, Query()]) -> Response:
    """What it wrote to `stdout` or `stderr` from an offset on, as far as the agent keeps it: the last 1 MiB of each."""
    control, caller = service.of(request).control, service.principal(request)
    found = await control.jobs.output(caller, refs.machine(request), job, page.stream, page.offset, page.limit)
    return present.Json(page_shown(found))


@router.post("/v1/machines/{id}/jobs/{job}/cancel", responses={200: {"model": Job}})
async def cancel(request: Request, id: str, job: str) -> Response:
    """End it: TERM, then KILL; its exit code is 143 then. One that has ended is left alone."""
    found = await service.of(request).control.jobs.cancel(service.principal(request), refs.machine(request), job)
    return present.Json(shown(found))
