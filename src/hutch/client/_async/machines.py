"""Machines."""

from collections.abc import Mapping

from hutch.client import models, wire
from hutch.client._async.http import LONG, Http


class Machines:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(self, wanted: models.NewMachine) -> models.Machine:
        """Make a machine, stopped."""
        made = await self._http.json("POST", "/v1/machines", json=wire.new_machine(wanted), timeout=LONG)
        return wire.machine(made)

    async def get(self, machine: str) -> models.Machine:
        """One."""
        return wire.machine(await self._http.json("GET", wire.machine_path(machine)))

    async def start(self, machine: str) -> models.Machine:
        """Returns when it is ready."""
        return wire.machine(await self._http.json("POST", wire.machine_path(machine, "start"), timeout=LONG))

    async def stop(self, machine: str) -> models.Machine:
        """Returns when it has shut down."""
        return wire.machine(await self._http.json("POST", wire.machine_path(machine, "stop"), timeout=LONG))

    async def delete(self, machine: str) -> None:
        """End and remove it."""
        await self._http.json("DELETE", wire.machine_path(machine), timeout=LONG)

    async def events(self, machine: str) -> list[models.Event]:
        """What happened to it, oldest first."""
        return [wire.event(it) for it in await self._http.json("GET", wire.machine_path(machine, "events"))]

    async def logs(self, machine: str, tail: int = 100) -> str:
        """The last lines of its console."""
        return await self._http.text(wire.machine_path(machine, "logs"), params={"tail": tail})

    async def list(self, labels: Mapping[str, str] | None = None) -> list[models.Machine]:
        """All that have these labels, newest first."""
        params = [("label", f"{name}={value}") for name, value in (labels or {}).items()]
        return [wire.machine(it) for it in await self._http.json("GET", "/v1/machines", params=params)]
