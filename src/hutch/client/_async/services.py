"""Services of a machine's systemd."""

from collections.abc import Sequence

from hutch.client import builds, recipes, wire
from hutch.client._async.http import LONG, Http, query


class Services:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(self, machine: str, service: recipes.NewService) -> None:
        """Write it, enable it unless it says otherwise, and start it. `Conflict` if there is one of this name."""
        path = wire.machine_path(machine, "services")
        await self._http.json("POST", path, json=recipes.body(service), timeout=LONG)

    async def change(self, machine: str, name: str, change: recipes.ServiceChange) -> None:
        """Change what it says, and restart it if it runs."""
        path = builds.service_path(machine, name)
        await self._http.json("PATCH", path, json=recipes.body(change), timeout=LONG)

    async def status(self, machine: str, name: str) -> builds.ServiceStatus:
        """What systemd says of any service of the machine."""
        path = builds.service_path(machine, name)
        return builds.service_status(await self._http.json("GET", path, timeout=LONG))

    async def logs(
        self, machine: str, name: str, lines: int | None = None, since: str | None = None
    ) -> "list[builds.JournalLine]":
        """The last lines of its journal, oldest first."""
        params, path = query({"lines": lines, "since": since}), builds.service_path(machine, name, "logs")
        return [builds.journal_line(it) for it in await self._http.json("GET", path, params=params, timeout=LONG)]

    async def delete(self, machine: str, name: str) -> None:
        """Stop it, disable it and remove it."""
        await self._http.json("DELETE", builds.service_path(machine, name), timeout=LONG)

    async def start(self, machine: str, names: Sequence[str]) -> "list[builds.ServiceResult]":
        """Each of them, whatever becomes of the others."""
        return await self._each(machine, "start", names)

    async def stop(self, machine: str, names: Sequence[str]) -> "list[builds.ServiceResult]":
        """As `start`."""
        return await self._each(machine, "stop", names)

    async def restart(self, machine: str, names: Sequence[str]) -> "list[builds.ServiceResult]":
        """As `start`."""
        return await self._each(machine, "restart", names)

    async def _each(self, machine: str, act: str, names: Sequence[str]) -> "list[builds.ServiceResult]":
        path = wire.machine_path(machine, "services", act)
        found = await self._http.json("POST", path, json={"services": list(names)}, timeout=LONG)
        return [builds.service_result(it) for it in found]

    async def list(self, machine: str) -> list[str]:
        """Those that were made here, by name."""
        found: list[str] = await self._http.json("GET", wire.machine_path(machine, "services"), timeout=LONG)
        return found
