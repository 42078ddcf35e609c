"""Services of a machine's systemd."""

from collections.abc import Sequence

from hutch.client import builds, recipes, wire
from hutch.client._sync.http import LONG, Http, query


class Services:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(self, machine: str, service: recipes.NewService) -> None:
        """Write it, enable it unless it says otherwise, and start it. `Conflict` if there is one of this name."""
        path = wire.machine_path(machine, "services")
        self._http.json("POST", path, json=recipes.body(service), timeout=LONG)

    def change(self, machine: str, name: str, change: recipes.ServiceChange) -> None:
        """Change what it says, and restart it if it runs."""
        path = builds.service_path(machine, name)
        self._http.json("PATCH", path, json=recipes.body(change), timeout=LONG)

    def status(self, machine: str, name: str) -> builds.ServiceStatus:
        """What systemd says of any service of the machine."""
        path = builds.service_path(machine, name)
        return builds.service_status(self._http.json("GET", path, timeout=LONG))

    def logs(
        self, machine: str, name: str, lines: int | None = None, since: str | None = None
    ) -> "list[builds.JournalLine]":
        """The last lines of its journal, oldest first."""
        params, path = query({"lines": lines, "since": since}), builds.service_path(machine, name, "logs")
        return [builds.journal_line(it) for it in self._http.json("GET", path, params=params, timeout=LONG)]

    def delete(self, machine: str, name: str) -> None:
        """Stop it, disable it and remove it."""
        self._http.json("DELETE", builds.service_path(machine, name), timeout=LONG)

    def start(self, machine: str, names: Sequence[str]) -> "list[builds.ServiceResult]":
        """Each of them, whatever becomes of the others."""
        return self._each(machine, "start", names)

    def stop(self, machine: str, names: Sequence[str]) -> "list[builds.ServiceResult]":
        """As `start`."""
        return self._each(machine, "stop", names)

    def restart(self, machine: str, names: Sequence[str]) -> "list[builds.ServiceResult]":
        """As `start`."""
        return self._each(machine, "restart", names)

    def _each(self, machine: str, act: str, names: Sequence[str]) -> "list[builds.ServiceResult]":
        path = wire.machine_path(machine, "services", act)
        found = self._http.json("POST", path, json={"services": list(names)}, timeout=LONG)
        return [builds.service_result(it) for it in found]

    def list(self, machine: str) -> list[str]:
        """Those that were made here, by name."""
        found: list[str] = self._http.json("GET", wire.machine_path(machine, "services"), timeout=LONG)
        return found
