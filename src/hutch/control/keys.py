"""Who is asking, and what they may do.

All keys live in memory, so that a request is authenticated without the database; of a token only its SHA-256 is kept.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from hutch.model import errors, keys
from hutch.model.ids import KeyId, TenantId


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever makes a request, as their key tells it."""

    tenant: TenantId
    key: KeyId
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Raise `Forbidden` ("missing scope: volume:read") unless the key has it; `admin` implies all."""
        if scope not in self.scopes and keys.ADMIN not in self.scopes:
            raise errors.Forbidden(f"missing scope: {scope}")


class Keys:
    """The API keys of all tenants."""

    def authenticate(self, token: str) -> Principal:
        """Whose token this is. `UnknownKey` if it is unknown, revoked or expired."""
        raise NotImplementedError

    async def create(
        self,
        principal: Principal,
        description: str = "",
        scopes: Collection[str] = (),
        expires_in: timedelta | None = None,
        prefix: str = "smk",
    ) -> tuple[keys.ApiKey, str]:
        """A new key of the caller's tenant, and its token, told this once. Needs `admin`.

        No scopes means the caller's own. `InvalidRequest` for an unknown scope or a malformed prefix.
        """
        raise NotImplementedError

    async def list(self, principal: Principal) -> list[keys.ApiKey]:
        """The tenant's keys, newest first. Needs `admin`."""
        raise NotImplementedError

    async def revoke(self, principal: Principal, key: str) -> None:
        """End a key at once. Needs `admin`. `NotFound`."""
        raise NotImplementedError

    async def bootstrap(self, force: bool = False) -> str | None:
        """The token of a new admin key of the default tenant; None if the store already has an admin key.

        `force` makes one all the same: for a caller on this box that has lost its own. Never logged.
        """
        raise NotImplementedError
