"""Domains: names of one's own that lead to ports of machines."""

from hutch.client import nouns, wire
from hutch.client._sync.http import LONG, Http


def _path(name: str, *rest: str) -> str:
    return "/".join(("/v1/domains", wire.segment(name), *rest))


class Domains:
    """The domains of the caller's tenant, by name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def add(self, name: str, machine: str, port: int) -> nouns.Domain:
        """Claim a name, or lead one that is yours to this machine, by id or name. `Conflict` if it is another's."""
        body = {"name": name, "machine": machine, "port": port}
        return nouns.domain(self._http.json("POST", "/v1/domains", json=body))

    def verify(self, name: str) -> nouns.Domain:
        """Have the proof looked for. `Conflict`, with what is there instead."""
        return nouns.domain(self._http.json("POST", _path(name, "verify"), timeout=LONG))

    def get(self, name: str) -> nouns.Domain:
        """One."""
        return nouns.domain(self._http.json("GET", _path(name)))

    def delete(self, name: str) -> None:
        """It leads nowhere from now on."""
        self._http.json("DELETE", _path(name))

    def list(self) -> list[nouns.Domain]:
        """All, oldest first."""
        return [nouns.domain(it) for it in self._http.json("GET", "/v1/domains")]
