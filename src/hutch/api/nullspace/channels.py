"""A machine's WebSocket: commands, terminals and watches, any number at once on one socket.

`channel` says what the client means to do. It is checked, and decides nothing: every message names its kind itself.
"""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from hutch.api import service
from hutch.api.nullspace import conversation, errors, exec_channel, pty_channel, refs, watch_channel

router = APIRouter()

CHANNELS = (None, "exec", "pty", "files", "file_watch")


@router.websocket("/v1/machines/{id}/ws")
async def channel(socket: WebSocket, id: str) -> None:
    """Commands (`exec_…`), terminals (`pty_…`) and watches (`file_watch`)."""
    machine, kind = refs.machine(id), socket.query_params.get("channel")

    def check() -> None:
        service.of(socket).control.machines.get(service.principal(socket), machine)
        if kind not in CHANNELS:
            raise errors.Told(400, errors.INVALID, f"channel: there is no {kind[:80]!r}, only exec, pty and files")

    talk = await conversation.accept(socket, check)
    if talk is not None:
        rooms = (
            exec_channel.Execs(talk, machine),
            pty_channel.Ptys(talk, machine),
            watch_channel.Watches(talk, machine),
        )
        await talk.serve({type_: handler for room in rooms for type_, handler in room.handlers.items()})
