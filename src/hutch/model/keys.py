"""Tenants, API keys and what a key may do."""

from collections.abc import Mapping
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

_MACHINES = frozenset(scope for scope in SCOPES if scope.startswith("machine:"))

HYPERFLEET: Mapping[str, frozenset[str]] = {
    "machines:read": frozenset({"machine:read"}),
    "machines:write": frozenset({"machine:create", "machine:exec", "machine:delete"}),
    "machines:exec": frozenset({"machine:exec", "machine:files"}),
    "*": _MACHINES,
}
"""Hyperfleet's scopes as ours. To start and stop needs `machine:exec` here, so who may write may also run commands."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a tenant may have at once; None: as much as the box has."""

    machines: int | None = None
    running: int | None = None
    cpus: int | None = None  # of running machines in all, as are memory and …
    memory_mib: int | None = None
    disk_gib: int | None = None  # … of all machines and volumes
    volumes: int | None = None
    snapshots: int | None = None
    requests_per_second: float | None = None  # of each key, execs not counted; None: the service's default, 0: no limit


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who owns machines and keys; nobody sees another tenant's."""

    id: TenantId
    name: str
    created_at: datetime
    is_suspended: bool = False
    limits: Limits = Limits()


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
