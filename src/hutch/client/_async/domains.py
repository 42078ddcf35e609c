"""Domains: names of one's own that lead to ports of machines."""

from hutch.client import nouns, wire
from hutch.client._async.http import LONG, Http


def _path(name: str, *rest: str) -> str:
    return "/".join(("/v1/domains", wire.segment(name), *rest))


class Domains:
    """The domains of the caller's tenant, by name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def add(self, name: str, machine: str, port: int) -> nouns.Domain:
        """Claim a name, or lead one that is yours to this machine, by id or name. `Conflict` if it is another's."""
        body = {"name": name, "machine": machine, "port": port}
        return nouns.domain(await self._http.json("POST", "/v1/domains", json=body))

    async def verify(self, name: str) -> nouns.Domain:
        """Have the proof looked for. `Conflict`, with what is there instead."""
        return nouns.domain(await self._http.json("POST", _path(name, "verify"), timeout=LONG))

    async def get(self, name: str) -> nouns.Domain:
        """One."""
        return nouns.domain(await self._http.json("GET", _path(name)))

    async def delete(self, name: str) -> None:
        """It leads nowhere from now on."""
        await self._http.json("DELETE", _path(name))

    async def list(self) -> list[nouns.Domain]:
        """All, oldest first."""
        return [nouns.domain(it) for it in await self._http.json("GET", "/v1/domains")]
