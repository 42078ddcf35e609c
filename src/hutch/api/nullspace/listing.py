"""The query of a list of machines, and the form of the answer. Pure: which machines are meant, control decides."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hutch.api.nullspace import parse, present
from hutch.api.nullspace.errors import Told
from hutch.control.catalog import MAX_LIMIT, Query
from hutch.model import errors
from hutch.model.states import State

MAX_PAGE = MAX_LIMIT
FIELDS = (
    *("id", "status", "config", "template", "metadata", "started_at", "timeout_ms", "timeout_at", "expires_at"),
    *("timeout_action", "created_at", "cwd", "snapshot_id", "traffic_access_token"),
)


def states(text: str) -> frozenset[State]:
    """`running,paused` as the states that are called so here."""
    asked = {word.strip() for word in text.split(",")}
    for word in asked.difference(present.STATUSES):
        raise errors.InvalidRequest(f"state: there is no {word!r}, only {', '.join(present.STATUSES)}")
    return frozenset(state for state, status in present.STATES.items() if status in asked)


def metadata(text: str) -> Mapping[str, object]:
    """A JSON object."""
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError):
        raise errors.InvalidRequest("metadata: this is not JSON") from None
    if not isinstance(asked, dict):
        raise errors.InvalidRequest('metadata: use a JSON object such as {"team":"a"}')
    return asked


def fields(text: str) -> tuple[str, ...]:
    """`id,status` as a mask."""
    asked = tuple(word.strip() for word in text.split(","))
    for word in asked:
        if word not in FIELDS:
            raise Told(400, "invalid_fields", f"fields: there is no {word!r}, only {', '.join(FIELDS)}")
    return asked


def masked(shown: Mapping[str, Any], mask: Sequence[str]) -> dict[str, Any]:
    """Only what the mask names."""
    return {name: shown[name] for name in mask if name in shown}


def query(
    state: str | None, template: str | None, metadata_text: str | None, limit: int | None, token: str | None
) -> Query:
    """What is asked for, as control is asked."""
    return Query(
        states=() if state is None else states(state),
        template=None if template is None else parse.image(parse.snapshot_ref(template)),
        metadata={} if metadata_text is None else metadata(metadata_text),
        limit=MAX_PAGE if limit is None else limit,
        token=token,
    )


def page(items: Sequence[Mapping[str, Any]], next_token: str | None) -> dict[str, Any]:
    """A page of machines as they are shown."""
    shown = {"items": list(items), "has_next": next_token is not None}
    return shown if next_token is None else {**shown, "next_token": next_token}


def has(its: Mapping[str, object], asked: Mapping[str, object]) -> bool:
    """Whether all pairs are there."""
    return asked.items() <= its.items()
