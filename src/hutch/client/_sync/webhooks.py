"""Webhooks: events told to HTTP endpoints, signed, and what became of each telling."""

from collections.abc import Sequence

from hutch.client import nouns, wire
from hutch.client._sync.http import LONG, Http, query


def _path(webhook: str, *rest: str) -> str:
    return "/".join(("/v1/webhooks", wire.segment(webhook), *rest))


class Webhooks:
    """The webhooks of the caller's tenant, by id."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(
        self, url: str, kinds: Sequence[str] = (), secret: str | None = None, description: str = ""
    ) -> nouns.Webhook:
        """Begin to tell an endpoint of events of these kinds; none: all. Its `secret` is told this once."""
        body = query({"url": url, "kinds": list(kinds), "secret": secret, "description": description})
        return nouns.webhook(self._http.json("POST", "/v1/webhooks", json=body))

    def update(
        self,
        webhook: str,
        *,
        url: str | None = None,
        kinds: Sequence[str] | None = None,
        secret: str | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> nouns.Webhook:
        """Change it; None stays as it is, no kinds means all. While it is not enabled it is told nothing."""
        body = query({"url": url, "secret": secret, "description": description, "enabled": enabled})
        kept = {} if kinds is None else {"kinds": list(kinds)}
        return nouns.webhook(self._http.json("PATCH", _path(webhook), json={**body, **kept}))

    def get(self, webhook: str) -> nouns.Webhook:
        """One."""
        return nouns.webhook(self._http.json("GET", _path(webhook)))

    def deliveries(self, webhook: str, limit: int = 100) -> list[nouns.Delivery]:
        """What became of its events, newest first."""
        found = self._http.json("GET", _path(webhook, "deliveries"), params={"limit": limit})
        return [nouns.delivery(it) for it in found]

    def retry(self, webhook: str, delivery: str) -> nouns.Delivery:
        """Try one again, now."""
        path = _path(webhook, "deliveries", wire.segment(delivery), "retry")
        return nouns.delivery(self._http.json("POST", path, timeout=LONG))

    def delete(self, webhook: str) -> None:
        """End it, and what is on its way."""
        self._http.json("DELETE", _path(webhook))

    def list(self) -> list[nouns.Webhook]:
        """All, oldest first."""
        return [nouns.webhook(it) for it in self._http.json("GET", "/v1/webhooks")]
