"""Tenants, for the admin of the box."""

from hutch.client import nouns, wire
from hutch.client._sync.http import LONG, Http


def _path(tenant: str, *rest: str) -> str:
    return "/".join(("/v1/tenants", wire.segment(tenant), *rest))


class Tenants:
    """Every `tenant` is an id."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(self, name: str, limits: nouns.Limits | None = None) -> nouns.Tenant:
        """Make one. `Keys.create` with its id makes its first key."""
        body = {"name": name} | ({} if limits is None else {"limits": nouns.limits(limits)})
        return nouns.tenant(self._http.json("POST", "/v1/tenants", json=body))

    def get(self, tenant: str) -> nouns.Tenant:
        """One."""
        return nouns.tenant(self._http.json("GET", _path(tenant)))

    def update(self, tenant: str, limits: nouns.Limits) -> nouns.Tenant:
        """Replace its limits; what it has already stays."""
        return nouns.tenant(self._http.json("PATCH", _path(tenant), json={"limits": nouns.limits(limits)}))

    def suspend(self, tenant: str) -> None:
        """Its keys may look and delete, nothing else; its running machines are suspended."""
        self._http.json("POST", _path(tenant, "suspend"), timeout=LONG)

    def reactivate(self, tenant: str) -> None:
        """Its keys work again; its machines stay as they are."""
        self._http.json("POST", _path(tenant, "reactivate"), timeout=LONG)

    def list(self) -> list[nouns.Tenant]:
        """All, oldest first."""
        return [nouns.tenant(it) for it in self._http.json("GET", "/v1/tenants")]
