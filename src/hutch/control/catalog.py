"""The order of machines for lists that come in pages: newest first, by the moment of creation and then the id.

A page's token names the last machine that was told, so pages stay right while machines come and go, and the last page
is found as fast as the first.
"""

import base64
import bisect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hutch.model.errors import InvalidRequest
from hutch.model.ids import MachineId, SnapshotId, TenantId
from hutch.model.machine import Machine, Snapshot
from hutch.model.states import State

MAX_LIMIT = 100

_TOKEN = re.compile(r"([0-9a-f]{1,16})\.([a-z0-9]+)")

Place = tuple[datetime, MachineId]


@dataclass(frozen=True, slots=True)
class Query:
    """Which machines, and how many at most. Every filter that is given must hold."""

    states: Collection[State] = ()  # none: all
    template: str | None = None  # its image's reference, or the id or name of the snapshot it was made of
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    limit: int = MAX_LIMIT
    token: str | None = None  # of the page before


@dataclass(frozen=True, slots=True)
class Page:
    """Machines, newest first; the token asks for those behind them, None: there are none now."""

    items: list[Machine]
    next_token: str | None


class Catalog:
    """The places of all machines, oldest first, by tenant."""

    def __init__(self) -> None:
        self._places: dict[TenantId, list[Place]] = {}

    def add(self, machine: Machine) -> None:
        """It is there."""
        bisect.insort(self._places.setdefault(machine.tenant, []), _place(machine))

    def remove(self, machine: Machine) -> None:
        """It is gone."""
        places, place = self._places.get(machine.tenant, []), _place(machine)
        at = bisect.bisect_left(places, place)
        if places[at : at + 1] == [place]:
            del places[at]

    def before(self, tenant: TenantId, place: Place | None) -> Iterator[MachineId]:
        """The machines older than this place, or all, newest first."""
        places = self._places.get(tenant, [])
        at = len(places) if place is None else bisect.bisect_left(places, place)
        return (places[index][1] for index in range(at - 1, -1, -1))


def find_page(machines: Iterator[Machine], query: Query, snapshot: Snapshot | None) -> Page:
    """The first of `machines` that the query wants. `snapshot`: the one that its template names, if it does."""
    wanted = make_filter(query, None if snapshot is None else snapshot.id)
    found: list[Machine] = []
    for machine in machines:
        if wanted(machine):
            if len(found) == query.limit:
                return Page(found, write_token(found[-1]))
            found.append(machine)
    return Page(found, None)


def make_filter(query: Query, snapshot: SnapshotId | None) -> Callable[[Machine], bool]:
    """Whether a machine is wanted."""
    states, labels, metadata = frozenset(query.states), query.labels.items(), query.metadata.items()
    template = query.template

    def wanted(machine: Machine) -> bool:
        return (
            (not states or machine.state in states)
            and (not metadata or (metadata <= machine.metadata.items() and _are_json(query, machine)))
            and (not labels or labels <= machine.labels.items())
            and (template is None or _is_made_of(machine, template, snapshot))
        )

    return wanted


def _are_json(query: Query, machine: Machine) -> bool:
    """Whether what is equal in Python is equal in JSON: there `true` is no 1."""
    return all(_is_json(value, machine.metadata[key]) for key, value in query.metadata.items())


def _is_json(one: object, other: object) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(_is_json(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return all(map(_is_json, one, other))
    return isinstance(one, bool) is isinstance(other, bool)


def _is_made_of(machine: Machine, template: str, snapshot: SnapshotId | None) -> bool:
    if machine.snapshot is not None:
        return machine.snapshot in (template, snapshot)
    return machine.spec.image.reference == template


def check(query: Query) -> Place | None:
    """Where the page begins. `InvalidRequest` for a limit or a token that cannot be."""
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit is {query.limit}: 1 to {MAX_LIMIT}")
    return None if query.token is None else read_token(query.token)


def write_token(last: Machine) -> str:
    """What asks for the machines behind this one."""
    micros = int(last.created_at.timestamp()) * 10**6 + last.created_at.microsecond
    return base64.urlsafe_b64encode(f"{micros:x}.{last.id}".encode()).decode().rstrip("=")


def read_token(token: str) -> Place:
    """The place that a token names. `InvalidRequest`."""
    try:
        named = _TOKEN.fullmatch(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii"))
        if named is not None:
            seconds, rest = divmod(int(named[1], 16), 10**6)
            return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest), MachineId(named[2])
    except (ValueError, OverflowError, OSError):
        pass
    raise InvalidRequest("this page token is not one that was given: begin at the first page")


def _place(machine: Machine) -> Place:
    return machine.created_at, machine.id
