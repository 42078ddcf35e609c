"""Directories watched on a WebSocket.

    file_watch {id, path, recursive, user, timeout_secs}
        ─►  file_watch_started {id}, file_event {id, event, name, path}…, error {id, message, code}

A watch ends with its socket, with its directory, with its machine, or after `timeout_secs`. While it lasts its machine
is in use.
"""

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from hutch.api import service
from hutch.api.nullspace import files, requests
from hutch.api.nullspace.conversation import Conversation, Handler, fit
from hutch.model.guest import Change, ChangeKind
from hutch.model.ids import MachineId

EVENTS: Mapping[ChangeKind, str] = {
    ChangeKind.CREATED: "create",
    ChangeKind.WRITTEN: "write",
    ChangeKind.REMOVED: "remove",
    ChangeKind.RENAMED: "rename",
    ChangeKind.CHANGED: "chmod",
}


class Watch(requests.Body):
    """A directory to watch."""

    id: str
    path: str
    user: str | None = None
    recursive: bool | None = None
    timeout_secs: float | None = None


class Watches:
    """The watches of one socket."""

    def __init__(self, talk: Conversation, machine: MachineId) -> None:
        self._talk = talk
        self._machine = machine
        self._files = service.of(talk.socket).control.files
        self._caller = service.principal(talk.socket)
        self.handlers: dict[str, Handler] = {"file_watch": self._watch}

    async def _watch(self, message: dict[str, Any]) -> None:
        wanted = fit(message, Watch)
        files.as_root(wanted.user)
        self._talk.run(self._told(wanted), wanted.id)

    async def _told(self, wanted: Watch) -> None:
        changes = self._files.watch(self._caller, self._machine, wanted.path, bool(wanted.recursive))
        async with contextlib.aclosing(changes):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wanted.timeout_secs):
                    await self._tell_all(wanted, changes)

    async def _tell_all(self, wanted: Watch, changes: AsyncGenerator[Change, None]) -> None:
        first = asyncio.ensure_future(anext(changes))
        try:
            # The watch begins with the first `anext`; a look at the directory takes as long, and comes behind it.
            await self._files.stat(self._caller, self._machine, wanted.path)
            if first.done():
                first.result()
            await self._talk.tell("file_watch_started", id=wanted.id)
            await self._tell(wanted.id, await first)
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        async for change in changes:
            await self._tell(wanted.id, change)

    async def _tell(self, id: str, it: Change) -> None:
        name = posixpath.basename(it.path)
        await self._talk.tell("file_event", id=id, event=EVENTS[it.kind], name=name, path=it.path)
