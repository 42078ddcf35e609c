"""Events as they happen: to those who listen now. What was is told by `history.py`.

An event is told when it is in the store. Each listener has a queue of its own, so none holds up another or the
machines; without listeners an event costs nothing here.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection

from hutch.control.clock import Clock
from hutch.control.keys import Principal
from hutch.model import errors, ids
from hutch.model.ids import MachineId, TenantId
from hutch.model.kinds import Kind, check_kinds, matches
from hutch.model.machine import Event, Level

QUEUE_LENGTH = 1024
"""Events that wait for one listener; then the oldest go."""

Sink = Callable[[TenantId, Event], None]
Owner = Callable[[MachineId], TenantId | None]


class Feed:
    """The live events of all tenants. A listener that does not keep up loses the oldest and is told so."""

    def __init__(self, clock: Clock, owner: Owner) -> None:
        self._clock = clock
        self._owner = owner  # of a living machine
        self._listeners: weakref.WeakSet[_Listener] = weakref.WeakSet()  # one that nobody iterates any more is gone
        self._sinks: list[Sink] = []
        self._is_closed = False

    def listen(
        self, principal: Principal, machine: MachineId | None = None, kinds: Collection[str] = ()
    ) -> AsyncGenerator[Event, None]:
        """Of one machine, or of all of the tenant's; `kinds` like `machine.*`, none: all. Needs `machine:read`.

        Begins with this call. Ends with the machine, and when the service ends. `NotFound`; `InvalidRequest` for an
        unknown kind.
        """
        principal.require("machine:read")
        if machine is not None and self._owner(machine) != principal.tenant:
            raise errors.NotFound("machine not found")
        listener = _Listener(principal.tenant, machine, check_kinds(kinds))
        if self._is_closed:
            listener.end()
        self._listeners.add(listener)
        return self._tell(listener)

    def add_sink(self, sink: Sink) -> None:
        """Have every event of every tenant handed to this, plainly and at once."""
        self._sinks.append(sink)

    def publish(self, tenant: TenantId, event: Event) -> None:
        """It has happened, and is recorded."""
        for sink in self._sinks:
            sink(tenant, event)
        if self._listeners:
            for listener in list(self._listeners):
                listener.offer(tenant, event)

    def close(self) -> None:
        """No more events: every listener is told those that wait for it, and ends."""
        self._is_closed = True
        for listener in list(self._listeners):
            listener.end()

    async def _tell(self, listener: "_Listener") -> AsyncGenerator[Event, None]:
        try:
            while True:
                lost = listener.take_lost()
                if lost:
                    yield self._lagged(listener, lost)
                event = await listener.next()
                if event is None:
                    return
                yield event
        finally:
            self._listeners.discard(listener)

    def _lagged(self, listener: "_Listener", lost: int) -> Event:
        message = f"{lost} events were dropped: they came faster than they were taken"
        machine = listener.machine or MachineId("")
        return Event(ids.random_id(), machine, Level.WARNING, message, self._clock.now(), Kind.LAGGED)


class _Listener:
    """Somebody's queue."""

    def __init__(self, tenant: TenantId, machine: MachineId | None, wanted: Collection[str]) -> None:
        self.machine = machine
        self._tenant = tenant
        self._wanted = wanted
        self._queue: deque[Event] = deque()
        self._lost = 0
        self._is_ended = False
        self._changed = asyncio.Event()

    def offer(self, tenant: TenantId, event: Event) -> None:
        """Take it, if it is wanted."""
        if tenant != self._tenant or self.machine not in (None, event.machine):
            return
        if matches(event.kind, self._wanted):
            if len(self._queue) >= QUEUE_LENGTH:
                self._queue.popleft()
                self._lost += 1
            self._queue.append(event)
            self._changed.set()
        if event.kind == Kind.DESTROYED and self.machine is not None:
            self.end()

    def end(self) -> None:
        """Nothing comes any more."""
        self._is_ended = True
        self._changed.set()

    def take_lost(self) -> int:
        """How many were dropped since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    async def next(self) -> Event | None:
        """The oldest; None at the end."""
        while not self._queue:
            if self._is_ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._queue.popleft()
