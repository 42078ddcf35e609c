"""Lifecycle events on a WebSocket, as they happen.

    subscribe {machine_id, operation, status, after_event_id, replay_limit, live_only, metadata}
        ─►  subscribed {subscription, reconnect_mode}, event {event}…, error {message, code}

The events since `after_event_id` (of the last 1000), or the last `replay_limit`, are told first unless `live_only`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.websockets import WebSocket

from hutch.api import service
from hutch.api.nullspace import conversation, lifecycle, listing, refs, requests
from hutch.api.nullspace.conversation import Conversation, fit
from hutch.api.nullspace.errors import naming
from hutch.control import history
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Event

router = APIRouter()


class Subscribe(requests.Body):
    """Which events are wanted."""

    machine_id: str | None = None
    snapshot_id: str | None = None
    operation: requests.Operation | None = None
    status: lifecycle.Status | None = None
    audience: Literal["customer"] | None = None
    live_only: bool | None = None
    after_event_id: str | None = None
    replay_limit: Annotated[int, Field(ge=0, le=history.MOST)] | None = None
    metadata: dict[str, Any] | None = None


class Subscription:
    """The one subscription of a socket; another one takes its place."""

    def __init__(self, talk: Conversation, machine: MachineId | None) -> None:
        self._talk = talk
        self._machine = machine
        self._control = service.of(talk.socket).control
        self._caller = service.principal(talk.socket)
        self._telling: asyncio.Task[None] | None = None

    async def subscribe(self, message: dict[str, Any]) -> None:
        """Begin to tell."""
        wanted = fit(message, Subscribe)
        machine = self._machine or (None if wanted.machine_id is None else refs.machine(wanted.machine_id))
        live = self._control.feed.listen(self._caller, machine)
        if self._telling is not None:
            self._telling.cancel()
        self._telling = self._talk.run(self._tell_all(wanted, machine, live))

    async def _tell_all(self, wanted: Subscribe, machine: MachineId | None, live: AsyncGenerator[Event, None]) -> None:
        async with contextlib.aclosing(live):
            asked = wanted.model_dump(include={"machine_id", "snapshot_id", "operation", "audience"}, exclude_none=True)
            if machine is not None:
                asked["machine_id"] = refs.MACHINE + machine
            await self._talk.tell("subscribed", subscription=asked, reconnect_mode="live_only")
            told = set()
            for event in await self._past(wanted, machine):
                told.add(event.id)
                await self._tell(wanted, event)
            async for event in live:
                if event.id not in told:
                    await self._tell(wanted, event)

    async def _past(self, wanted: Subscribe, machine: MachineId | None) -> list[Event]:
        if wanted.live_only or (wanted.after_event_id is None and not wanted.replay_limit):
            return []
        snapshot = None if wanted.snapshot_id is None else refs.snapshot(wanted.snapshot_id)
        query = history.EventQuery(self._caller.tenant, machine, snapshot, lifecycle.kinds(), limit=history.MOST)
        with naming("snapshot_not_found"):
            events = list(await self._control.history.events(self._caller, query))[::-1]
        if wanted.after_event_id is not None:
            after = refs.of_uuid(wanted.after_event_id)
            at = next((at for at, it in enumerate(events) if it.id == after), -1)
            events = events[at + 1 :]
        meant = [it for it in events if it.kind in lifecycle.kinds(wanted.operation, wanted.status)]
        return meant if wanted.replay_limit is None else meant[max(0, len(meant) - wanted.replay_limit) :]

    async def _tell(self, wanted: Subscribe, event: Event) -> None:
        shown = lifecycle.shown(event)
        if shown is None or event.kind not in lifecycle.kinds(wanted.operation, wanted.status):
            return
        if wanted.snapshot_id is not None and event.snapshot != refs.snapshot(wanted.snapshot_id):
            return
        if not wanted.metadata or listing.has(self._metadata(event.machine), wanted.metadata):
            await self._talk.tell("event", event=shown)

    def _metadata(self, machine: MachineId) -> dict[str, object]:
        try:
            return dict(self._control.machines.get(self._caller, machine).metadata)
        except errors.NotFound:
            return {}


async def _serve(socket: WebSocket, machine: MachineId | None) -> None:
    caller, machines = service.principal(socket), service.of(socket).control.machines

    def check() -> None:
        if machine is None:
            caller.require("machine:read")
        else:
            machines.get(caller, machine)

    talk = await conversation.accept(socket, check)
    if talk is not None:
        await talk.serve({"subscribe": Subscription(talk, machine).subscribe})


@router.websocket("/v1/lifecycle/ws")
async def of_all(socket: WebSocket) -> None:
    """The events of all of the tenant's machines."""
    await _serve(socket, None)


@router.websocket("/v1/machines/{id}/lifecycle/ws")
async def of_machine(socket: WebSocket, id: str) -> None:
    """The events of one machine."""
    await _serve(socket, refs.machine(id))
