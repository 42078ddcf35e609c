"""Published ports, and the ways in to them."""

from collections.abc import Sequence

from hutch.client import models, wire
from hutch.client._async.http import LONG, Http, query


class Ports:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def publish(self, machine: str, ports: Sequence[models.Port]) -> models.Machine:
        """From now on exactly these are published."""
        path = wire.machine_path(machine, "ports")
        return wire.machine(await self._http.json("PUT", path, json={"ports": wire.ports(ports)}, timeout=LONG))

    async def link(self, machine: str, port: int, ttl_seconds: int | None = None) -> models.Link:
        """A link to one published port, for so long, or until it is revoked. `NotFound` if it is not published."""
        body = query({"port": port, "ttlSeconds": ttl_seconds})
        return wire.link(await self._http.json("POST", wire.machine_path(machine, "links"), json=body))

    async def links(self, machine: str) -> dict[int, str]:
        """A link to each published port, the same every time until they are revoked."""
        found = await self._http.json("POST", wire.machine_path(machine, "port-links"))
        return {int(port): url for port, url in found["urls"].items()}

    async def token(self, machine: str) -> str:
        """What lets to all its published ports, the same every time until it is revoked."""
        found = await self._http.json("POST", wire.machine_path(machine, "traffic-token"))
        return str(found["token"])

    async def revoke(self, machine: str) -> None:
        """All links and tokens of it are invalid from now on."""
        await self._http.json("DELETE", wire.machine_path(machine, "port-links"), timeout=LONG)

    async def share(self, machine: str) -> models.Link:
        """A link for whoever has it, by its first published port; the last one is invalid from now on."""
        return wire.link(await self._http.json("POST", wire.machine_path(machine, "share"), timeout=LONG))

    async def unshare(self, machine: str) -> None:
        """That link is invalid from now on; others are not."""
        await self._http.json("DELETE", wire.machine_path(machine, "share"), timeout=LONG)
