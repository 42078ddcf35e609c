"""Names of tenants' own that lead to ports of machines."""

from dataclasses import dataclass
from datetime import datetime

from hutch.model.ids import MachineId, TenantId

RECORD_PREFIX = "_hutch"
"""The TXT record of _hutch.NAME proves whose NAME is."""

FILE_PREFIX = "/.well-known/hutch/"
"""So does a file below this path, under the token's name."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A tenant's claim to a name, and where it leads. Others may claim it too: it is that tenant's who verifies it."""

    name: str  # ASCII, lower case, without a dot at the end
    tenant: TenantId
    machine: MachineId
    port: int
    token: str  # which only that can publish whose the name is
    created_at: datetime
    verified_at: datetime | None = None

    @property
    def proof(self) -> str:
        """What the TXT record or the file holds."""
        return f"hutch-verify={self.token}"

    @property
    def record(self) -> str:
        """The name of the TXT record."""
        return f"{RECORD_PREFIX}.{self.name}"

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"http://{self.name}{FILE_PREFIX}{self.token}"
