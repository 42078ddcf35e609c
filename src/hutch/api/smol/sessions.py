"""Sessions of machines: a working directory and an environment kept from one command to the next."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.smol import exec_stream, execs, parse, present, refs, requests, responses
from hutch.control.sessions import Session

router = APIRouter(tags=["sessions"])


class CreateSession(requests.Body):
    """A session to open; `id` is made up if left out."""

    id: str | None = None
    cwd: str | None = None
    env: requests.Environment | None = None


class SessionInfo(responses.Answer):
    """A session. It is `active` until it is deleted."""

    id: str
    machine_id: str
    status: str
    cwd: str | None
    env: dict[str, str]
    created_at: str
    last_exec_at: str | None


def shown(it: Session) -> dict[str, Any]:
    """A session as JSON."""
    return {
        "id": it.id,
        "machineId": present.ID_PREFIX + it.machine,
        "status": "active",
        "cwd": it.cwd,
        "env": dict(it.env),
        "createdAt": present.time(it.created_at),
        "lastExecAt": present.time(it.last_exec_at),
    }


@router.post(
    "/v1/machines/{id}/sessions",
    responses={200: {"model": SessionInfo}},
    openapi_extra=openapi.body(CreateSession, optional=True),
)
async def create(request: Request, id: str) -> Response:
    """Open a session; the machine is not started for it."""
    body = await bodies.parse(request, CreateSession, optional=True)
    sessions = service.of(request).control.sessions
    made = await sessions.create(service.principal(request), refs.machine(request), body.cwd, body.env, body.id)
    return present.Json(shown(made))


@router.get("/v1/machines/{id}/sessions", responses={200: {"model": list[SessionInfo]}})
async def list_all(request: Request, id: str) -> Response:
    """A machine's sessions, oldest first."""
    found = service.of(request).control.sessions.list(service.principal(request), refs.machine(request))
    return present.Json([shown(it) for it in found])


@router.get("/v1/machines/{id}/sessions/{session}", responses={200: {"model": SessionInfo}})
async def get(request: Request, id: str, session: str) -> Response:
    """One, with the directory and variables it has come to. Native."""
    found = service.of(request).control.sessions.get(service.principal(request), refs.machine(request), session)
    return present.Json(shown(found))


@router.post(
    "/v1/machines/{id}/sessions/{session}/exec", responses=execs.RESPONSES, openapi_extra=openapi.body(requests.Exec)
)
async def exec_command(
    request: Request, id: str, session: str, output: Annotated[execs.Output, Query()] = "both"
) -> Response:
    """As `exec`, in the session's directory with its variables, which a shell line may change for the next."""
    body = await bodies.parse(request, requests.Exec)
    caller, machine, sessions = service.principal(request), refs.machine(request), service.of(request).control.sessions
    if body.stream:
        told = sessions.stream(caller, machine, session, parse.command(body))
        return await exec_stream.response(request, told, as_text=output != "b64")
    execs.check_buffered(body)
    return await execs.answer(request, body, output, sessions.run(caller, machine, session, parse.command(body)))


@router.delete("/v1/machines/{id}/sessions/{session}", status_code=204)
async def delete(request: Request, id: str, session: str) -> Response:
    """End it, and a command that runs in it."""
    await service.of(request).control.sessions.delete(service.principal(request), refs.machine(request), session)
    return Response(status_code=204)
