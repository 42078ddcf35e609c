"""Where a tenant wants to be told of events, and what became of each telling."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from hutch.model.ids import TenantId


@dataclass(frozen=True, slots=True)
class Webhook:
    """An HTTP endpoint that gets events, signed with its secret (HMAC-SHA-256 over timestamp, a dot, and the body)."""

    id: str
    tenant: TenantId
    url: str
    secret: str = field(repr=False)  # logs and messages show what `repr` does
    kinds: tuple[str, ...]  # of events, `machine.*` allowed; empty: all
    created_at: datetime
    is_enabled: bool = True
    description: str = ""
    updated_at: datetime | None = None  # None: never


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook."""

    id: str
    webhook: str
    event: str
    kind: str
    payload: Mapping[str, object]
    created_at: datetime
    attempts: int = 0
    next_attempt_at: datetime | None = None  # None: delivered, or given up
    delivered_at: datetime | None = None
    status: int | None = None  # of the last answer
    error: str | None = None  # why the last attempt failed
