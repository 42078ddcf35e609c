"""The list of machines: what its query asks for, which machines that is, and which page of them. Pure.

Newest first. A cursor holds the place of the last machine that was shown, so pages neither repeat nor pass over any
that was there all along, whatever is made or deleted meanwhile.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hutch.api.nullspace import present
from hutch.api.nullspace.errors import Told
from hutch.model import errors
from hutch.model.machine import Machine

MAX_PAGE = 100
FIELDS = (
    *("id", "status", "config", "template", "metadata", "started_at", "timeout_ms", "timeout_at", "expires_at"),
    *("timeout_action", "created_at", "cwd", "snapshot_id", "traffic_access_token"),
)

Place = tuple[str, str]


def _bad(message: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(message)


def states(text: str) -> frozenset[str]:
    """`running,paused` as a set."""
    asked = [word.strip() for word in text.split(",")]
    for word in asked:
        if word not in present.STATUSES:
            raise _bad(f"state: there is no {word!r}, only {', '.join(present.STATUSES)}")
    return frozenset(asked)


def metadata(text: str) -> Mapping[str, object]:
    """A JSON object."""
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad("metadata: this is not JSON") from None
    if not isinstance(asked, dict):
        raise _bad('metadata: use a JSON object such as {"team":"a"}')
    return asked


def fields(text: str) -> tuple[str, ...]:
    """`id,status` as a mask."""
    asked = tuple(word.strip() for word in text.split(","))
    for word in asked:
        if word not in FIELDS:
            raise Told(400, "invalid_fields", f"fields: there is no {word!r}, only {', '.join(FIELDS)}")
    return asked


def masked(shown: Mapping[str, Any], mask: Sequence[str] | None) -> dict[str, Any]:
    """Only what the mask names."""
    return dict(shown) if mask is None else {name: shown[name] for name in mask if name in shown}


def is_equal(one: object, other: object) -> bool:
    """As JSON: true is not 1."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def has(its: Mapping[str, object], asked: Mapping[str, object]) -> bool:
    """Whether all pairs are there."""
    return all(name in its and is_equal(its[name], value) for name, value in asked.items())


def place(it: Machine) -> Place:
    """Where it stands in the list."""
    return it.created_at.isoformat(), it.id


def token(it: Machine) -> str:
    """A cursor behind it."""
    return base64.urlsafe_b64encode(" ".join(place(it)).encode()).decode().rstrip("=")


def behind(text: str) -> Place:
    """The place a cursor tells of."""
    try:
        when, id = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").split(" ")
    except (ValueError, binascii.Error):
        raise _bad("next_token: this is not one of ours") from None
    return when, id


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for; None: not at all."""

    state: frozenset[str] | None = None
    template: str | None = None
    metadata: Mapping[str, object] | None = None
    limit: int | None = None
    after: Place | None = None
    mask: tuple[str, ...] | None = None

    @property
    def is_plain(self) -> bool:
        """Nothing was: the answer is a bare array."""
        return self == Query()

    def select(self, machines: Iterable[Machine]) -> list[Machine]:
        """Those that are meant."""
        return [it for it in machines if self._means(it)]

    def _means(self, it: Machine) -> bool:
        return (
            (self.state is None or present.status(it) in self.state)
            and (self.template is None or present.template(it) == self.template)
            and (self.metadata is None or has(it.metadata, self.metadata))
            and (self.after is None or place(it) < self.after)
        )

    def page(self, machines: Iterable[Machine]) -> tuple[list[Machine], bool]:
        """Those that are meant and fit on a page, and whether there are more."""
        found = sorted(self.select(machines), key=place, reverse=True)
        size = self.limit or MAX_PAGE
        return found[:size], len(found) > size


def answer(query: Query, machines: Iterable[Machine], show: Callable[[Machine], dict[str, Any]]) -> Any:
    """The bare array or the page."""
    if query.is_plain:
        return [show(it) for it in machines]
    page, has_next = query.page(machines)
    shown = {"items": [masked(show(it), query.mask) for it in page], "has_next": has_next}
    return {**shown, "next_token": token(page[-1])} if has_next else shown
