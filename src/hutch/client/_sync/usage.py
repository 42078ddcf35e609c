"""Usage: what was used, by a tenant or a machine."""

from datetime import datetime

from hutch.client import nouns, wire
from hutch.client._sync.http import Http, query


class Usages:
    """Sums over a period."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def report(
        self, start: datetime | None = None, end: datetime | None = None, tenant: str | None = None
    ) -> nouns.Usage:
        """Of the caller's tenant, or for the admin of the box of another; from its creation, until now, if not said."""
        period = {"from": start and start.isoformat(), "to": end and end.isoformat()}
        params = query({**period, "tenantId": tenant})
        return nouns.usage(self._http.json("GET", "/v1/usage", params=params))

    def of_machine(self, machine: str) -> nouns.Usage:
        """Of one machine; by its id also when it is deleted."""
        return nouns.usage(self._http.json("GET", wire.machine_path(machine, "usage")))
