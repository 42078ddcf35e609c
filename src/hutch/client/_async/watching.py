"""Machines watched: what happens to their files, and how they fare."""

from collections.abc import AsyncIterator

from hutch.client import nouns, wire
from hutch.client._async.http import LONG, Http


class Watching:
    """Every `machine` is an id or a name. Closing an iterator ends its stream."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def files(self, machine: str, path: str = "/") -> AsyncIterator[nouns.FileChange]:
        """What happens to files below a directory from now on; the machine is in use meanwhile.

        Ends with an `ApiError` that says why: the machine stands still, the directory is gone.
        """
        params = {"path": path}
        async with self._http.stream("GET", wire.machine_path(machine, "watch"), params=params) as answer:
            async for name, data in self._http.events(answer):
                yield nouns.change_event(name, data)

    async def stats(self, machine: str) -> nouns.Stats:
        """How it fares now. `Conflict` unless it runs."""
        return nouns.stats(await self._http.json("GET", wire.machine_path(machine, "stats"), timeout=LONG))

    async def follow_stats(self, machine: str, interval: float = 1) -> AsyncIterator[nouns.Stats]:
        """The same, every so many seconds (0.1 to 10) until the end of its run."""
        params = {"follow": True, "interval": interval}
        async with self._http.stream("GET", wire.machine_path(machine, "stats"), params=params) as answer:
            async for _, data in self._http.events(answer):
                yield nouns.stats_event(data)
