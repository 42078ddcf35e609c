"""Tenants, API keys and what a key may do."""

from dataclasses import dataclass
from datetime import datetime

from hutch.model.ids import KeyId, TenantId

ADMIN = "admin"
"""Implies every other scope, and alone allows what concerns the whole box: keys and the removal of images."""

SCOPES = (
    "machine:create",
    "machine:read",
    "machine:exec",
    "machine:delete",
    "machine:files",
    "volume:create",
    "volume:read",
    "volume:delete",
    "usage:read",
    ADMIN,
)
"""All there are. `volume:*` in a request means the three of volumes, `machine:*` the five of machines."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who owns machines and keys; nobody sees another tenant's."""

    id: TenantId
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret: of the token only the SHA-256 is kept."""

    id: KeyId
    tenant: TenantId
    prefix: str  # "smk": what the token begins with, before the underscore
    scopes: frozenset[str]
    description: str
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
