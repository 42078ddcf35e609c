"""Events, as they happen. `Machines.events` tells of what was."""

from collections.abc import Iterator, Sequence

from hutch.client import models, wire
from hutch.client._sync.http import Http


class Events:
    """Live streams of events; closing the iterator ends one."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def listen(self, kinds: Sequence[str] = ()) -> Iterator[models.Event]:
        """Of all machines, from now on; `kinds` such as `machine.failed` or `machine.*`, none: all."""
        with self._http.stream("GET", "/v1/events", params={"kind": list(kinds)}) as answer:
            for name, data in self._http.events(answer):
                yield wire.feed_event(name, data)

    def follow(self, machine: str) -> Iterator[models.Event]:
        """Of one machine, by id or name: what was, then what happens, until it is gone."""
        path = wire.machine_path(machine, "events")
        with self._http.stream("GET", path, params={"follow": True}) as answer:
            for name, data in self._http.events(answer):
                yield wire.feed_event(name, data)
