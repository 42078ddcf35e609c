"""Machines."""

from collections.abc import AsyncIterator, Mapping, Sequence

from hutch.client import models, wire
from hutch.client._async.http import LONG, Http, idempotent, query


class Machines:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(self, wanted: models.NewMachine, once: str | None = None) -> models.Machine:
        """Make a machine, stopped. `once` is a key: asked again with it within a day, the same machine is told."""
        options = {"json": wire.new_machine(wanted), "headers": idempotent(once)}
        return wire.machine(await self._http.json("POST", "/v1/machines", timeout=LONG, **options))

    async def get(self, machine: str) -> models.Machine:
        """One."""
        return wire.machine(await self._http.json("GET", wire.machine_path(machine)))

    async def start(self, machine: str) -> models.Machine:
        """Returns when it is ready."""
        return await self._do(machine, "start")

    async def stop(self, machine: str) -> models.Machine:
        """Returns when it has shut down."""
        return await self._do(machine, "stop")

    async def restart(self, machine: str) -> models.Machine:
        """Stop it and boot it from its disk; returns when it is ready."""
        return await self._do(machine, "restart")

    async def pause(self, machine: str) -> models.Machine:
        """Its vCPUs stand still; its memory stays where it is, so that `resume` takes no time."""
        return await self._do(machine, "pause", {"keepMemory": True})

    async def suspend(self, machine: str) -> models.Machine:
        """Memory and disk to the host's disk; returns when they are there. Any use wakes it."""
        return await self._do(machine, "suspend")

    async def resume(self, machine: str) -> models.Machine:
        """Let a paused or suspended machine go on where it was; any other is started."""
        return await self._do(machine, "resume")

    async def fork(
        self,
        machine: str,
        count: int | None = None,
        names: Sequence[str] | None = None,
        name_prefix: str | None = None,
        freeze_source: bool = False,
        once: str | None = None,
        ports: Sequence[models.Port] = (),
    ) -> list[models.Machine]:
        """Running copies, memory and processes included: all or none. One unless `count` or `names` say otherwise.

        `once` is a key, as in `create`. `ports` are published in place of the source's.
        """
        given = {"count": count, "names": None if names is None else list(names), "namePrefix": name_prefix}
        body = query(given) | {"freezeSource": freeze_source, "ports": wire.ports(ports)}
        path = wire.machine_path(machine, "branches", "batch")
        made = await self._http.json("POST", path, json=body, headers=idempotent(once), timeout=LONG)
        return [wire.machine(it) for it in made["clones"]]

    async def rollback(self, machine: str, snapshot: str) -> models.Machine:
        """Back to one of its own snapshots, by id or name; what it has become since is lost."""
        return await self._do(machine, "rollback", {"checkpoint": snapshot})

    async def resize(
        self, machine: str, disk_gb: int | None = None, cpus: int | None = None, memory_mb: int | None = None
    ) -> models.Machine:
        """Give it a larger disk, other vCPUs or another memory; what is None stays.

        For vCPUs and memory one that runs is stopped and started again; one that is suspended or paused is stopped.
        """
        asked = query({"diskGb": disk_gb, "cpus": cpus, "memoryMb": memory_mb})
        return await self._do(machine, "resize", asked)

    async def optimize(self, machine: str) -> models.Machine:
        """Suspend it so that it and its copies go on most cheaply; it stays suspended."""
        return await self._do(machine, "optimize")

    async def kill(self, machine: str) -> models.Machine:
        """End it at once, whatever it is doing; its disk is kept."""
        return await self._do(machine, "kill")

    async def set_timers(self, machine: str, timers: models.Timers) -> models.Machine:
        """Give it these timers instead of those it has; its lifetime begins anew, now."""
        path = wire.machine_path(machine, "timers")
        return wire.machine(await self._http.json("PUT", path, json=wire.timers(timers), timeout=LONG))

    async def set_network(self, machine: str, network: models.Network) -> models.Machine:
        """What it may reach from now on; connections that are forbidden now are broken."""
        path = wire.machine_path(machine, "network")
        return wire.machine(await self._http.json("PUT", path, json=wire.network(network), timeout=LONG))

    async def wait(self, machine: str, *states: str, timeout: float = 60) -> models.Machine:
        """Returns when it is in one of these states, as `state_detail` tells them; none means running.

        `TimedOut` after `timeout` seconds, at most 3600; an error as soon as it fails or is gone.
        """
        params = [*(("state", state) for state in states), ("timeout", str(timeout))]
        return wire.machine(
            await self._http.json("GET", wire.machine_path(machine, "wait"), params=params, timeout=LONG)
        )

    async def delete(self, machine: str) -> None:
        """End and remove it."""
        await self._http.json("DELETE", wire.machine_path(machine), timeout=LONG)

    async def events(self, machine: str) -> list[models.Event]:
        """What happened to it, oldest first."""
        return [wire.event(it) for it in await self._http.json("GET", wire.machine_path(machine, "events"))]

    async def logs(self, machine: str, tail: int = 100) -> str:
        """The last lines of its console."""
        return await self._http.text(wire.machine_path(machine, "logs"), params={"tail": tail})

    async def follow_logs(self, machine: str, tail: int = 100) -> AsyncIterator[str]:
        """The same, and what comes, in pieces, until the machine is gone."""
        params = {"tail": tail, "follow": True}
        async with self._http.stream("GET", wire.machine_path(machine, "logs"), params=params) as answer:
            async for piece in answer.aiter_text():
                if piece:
                    yield piece

    async def list(self, labels: Mapping[str, str] | None = None) -> list[models.Machine]:
        """All that have these labels, newest first."""
        params = [("label", f"{name}={value}") for name, value in (labels or {}).items()]
        return [wire.machine(it) for it in await self._http.json("GET", "/v1/machines", params=params)]

    async def pages(self, labels: Mapping[str, str] | None = None, size: int = 100) -> AsyncIterator[models.Machine]:
        """The same, fetched page by page as they are taken: for many. Each once, whatever is made or deleted."""
        wanted = [*(("label", f"{name}={value}") for name, value in (labels or {}).items()), ("limit", str(size))]
        following: list[tuple[str, str]] | None = []
        while following is not None:
            found = await self._http.json("GET", "/v1/machines", params=[*wanted, *following])
            for it in found["machines"]:
                yield wire.machine(it)
            following = [("next", found["next"])] if found["next"] else None

    async def _do(self, machine: str, what: str, body: Mapping[str, object] | None = None) -> models.Machine:
        path = wire.machine_path(machine, what)
        return wire.machine(await self._http.json("POST", path, json=body or {}, timeout=LONG))
