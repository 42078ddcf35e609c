"""Events, as they happen. `Machines.events` tells of what was."""

from collections.abc import AsyncIterator, Sequence

from hutch.client import models, wire
from hutch.client._async.http import Http


class Events:
    """Live streams of events; closing the iterator ends one."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def listen(self, kinds: Sequence[str] = ()) -> AsyncIterator[models.Event]:
        """Of all machines, from now on; `kinds` such as `machine.failed` or `machine.*`, none: all."""
        async with self._http.stream("GET", "/v1/events", params={"kind": list(kinds)}) as answer:
            async for name, data in self._http.events(answer):
                yield wire.feed_event(name, data)

    async def follow(self, machine: str) -> AsyncIterator[models.Event]:
        """Of one machine, by id or name: what was, then what happens, until it is gone."""
        path = wire.machine_path(machine, "events")
        async with self._http.stream("GET", path, params={"follow": True}) as answer:
            async for name, data in self._http.events(answer):
                yield wire.feed_event(name, data)
