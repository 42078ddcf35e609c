"""API keys."""

from collections.abc import Sequence

from hutch.client import models, wire
from hutch.client._async.http import Http, query


class Keys:
    """The keys of the caller's tenant."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(
        self,
        scopes: Sequence[str] = (),
        prefix: str = "smk",
        description: str = "",
        expires_in_days: int | None = None,
        tenant: str | None = None,
    ) -> tuple[str, str]:
        """A new key's id and the key itself, which is told this once. No scopes means the caller's own.

        `tenant` is for the admin of the box: a key of that one, by its id.
        """
        body = {"scopes": list(scopes), "prefix": prefix, "description": description, "expiresInDays": expires_in_days}
        body["tenantId"] = tenant
        made = await self._http.json("POST", "/v1/apikeys", json=query(body))
        return made["id"], made["key"]

    async def list(self) -> list[models.Key]:
        """All, newest first, without their secrets."""
        return [wire.key(it) for it in await self._http.json("GET", "/v1/apikeys")]

    async def revoke(self, key: str) -> None:
        """End a key at once, by its id."""
        await self._http.json("DELETE", f"/v1/apikeys/{wire.segment(key)}")
