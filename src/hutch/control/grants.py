"""Grants: signed links to one port that are kept with their machine, to be listed and revoked one by one.

Whoever asks for one wants the port reached, so it is opened: published if it is not, as private as the machine's
traffic is. Links that nobody needs to list are signed by `exposure.py` without being kept.
"""

import asyncio
import builtins
import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from hutch.control import requests
from hutch.control.clock import Clock
from hutch.control.exposure import TOKEN_PARAMETER, Exposure, Link, find_port
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.operation import Amending
from hutch.control.traffic_tokens import TrafficTokens
from hutch.model import errors, ids
from hutch.model.ids import MachineId
from hutch.model.kinds import Kind
from hutch.model.machine import Machine
from hutch.model.network import Endpoint, Grant, PublishedPort
from hutch.model.states import State

MOST = 100
"""Grants that a machine keeps; of more, those that are over go first."""

PROBE_LIMIT = 5.0
"""Seconds one look at a port may take."""

MAX_WAIT = 300.0
"""Seconds a caller may have a port looked at for."""

_HEAD_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Probe:
    """What became of looking at a port: whether the machine runs, and whether something answers."""

    is_reachable: bool
    is_serving: bool
    looks: int
    error: str | None = None


class Grants:
    """The grants of the machines of all tenants."""

    def __init__(self, fleet: Fleet, exposure: Exposure, tokens: TrafficTokens, clock: Clock) -> None:
        self._fleet = fleet
        self._exposure = exposure
        self._tokens = tokens
        self._clock = clock

    async def open(self, principal: Principal, machine: MachineId, port: int) -> Machine:
        """Publish this port beside those that are; nothing if it is. Needs `machine:exec`. `InvalidRequest`."""
        entry = self._fleet.entry(principal, machine, "machine:exec")
        requests.check_ports((PublishedPort(port),))
        if find_port(entry.machine, port) is not None:
            return entry.machine

        def change(it: Machine) -> tuple[str, Mapping[str, object]]:
            return f"port {port} was opened", {"ports": _opened(it, port)}

        return await self._fleet.carry_out(entry, Amending(Kind.PUBLISHED, change))

    async def issue(
        self, principal: Principal, machine: MachineId, port: int, seconds: float, in_header: bool = False
    ) -> tuple[Grant, Link]:
        """Open a port and make a link to it, good for so long. Needs `machine:exec`.

        `InvalidRequest`; `Conflict` for more than a machine keeps.
        """
        entry = self._fleet.entry(principal, machine, "machine:exec")
        requests.check_ports((PublishedPort(port),))
        if not 1 <= seconds <= requests.MAX_SECONDS:
            raise errors.InvalidRequest(f"a link is good for 1 to {requests.MAX_SECONDS} s, not {seconds:g} s")
        now = self._clock.now()
        grant = Grant(ids.random_id(), port, now, now + timedelta(seconds=seconds), in_header)

        def change(it: Machine) -> tuple[str, Mapping[str, object]]:
            nonlocal grant
            grant = dataclasses.replace(grant, generation=it.token_generation)
            told = f"port {port} may be reached by link {grant.id} until {grant.expires_at:%Y-%m-%d %H:%M:%S} UTC"
            return told, {"ports": _opened(it, port), "grants": (*_kept(it, now), grant)}

        changed = await self._fleet.carry_out(entry, Amending(Kind.PUBLISHED, change))
        token = self._tokens.make_grant(changed, grant)
        url = f"{self._exposure.url(changed, port)}/?{TOKEN_PARAMETER}={token}"
        return grant, Link(url, token, grant.expires_at)

    def list(self, principal: Principal, machine: MachineId) -> builtins.list[Grant]:
        """Oldest first, those that are over among them as long as they are kept. Needs `machine:read`."""
        return [*self._fleet.entry(principal, machine, "machine:read").machine.grants]

    async def revoke(self, principal: Principal, machine: MachineId, grant: str) -> Grant:
        """Its token lets nobody in from now on. Needs `machine:exec`. `NotFound`; nothing if it is revoked."""
        entry = self._fleet.entry(principal, machine, "machine:exec")
        now = self._clock.now()

        def change(it: Machine) -> tuple[str, Mapping[str, object]]:
            _find(it, grant)
            revoked = tuple(
                dataclasses.replace(one, revoked_at=one.revoked_at or now) if one.id == grant else one
                for one in it.grants
            )
            return f"link {grant} was revoked", {"grants": revoked}

        _find(entry.machine, grant)
        return _find(await self._fleet.carry_out(entry, Amending(Kind.REVOKED, change)), grant)

    async def probe(
        self, principal: Principal, machine: MachineId, port: int, path: str | None, seconds: float, interval: float
    ) -> Probe:
        """Look at a port until something serves there: takes connections, and answers a GET of `path` if that is given.

        For `seconds` at most, `interval` between two looks; published or not. Looking wakes no machine. Needs
        `machine:exec`.
        """
        entry = self._fleet.entry(principal, machine, "machine:exec")
        requests.check_ports((PublishedPort(port),))
        if not 0 <= seconds <= MAX_WAIT or interval < 0:
            raise errors.InvalidRequest(f"a port is looked at for 0 to {MAX_WAIT:g} s")
        if path is not None and (
            not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path
        ):
            raise errors.InvalidRequest("path: use an encoded absolute path such as /health")
        ends, looks = self._clock.now() + timedelta(seconds=seconds), 0
        while True:
            looks += 1
            error = await self._look(entry.machine, port, path)
            is_reachable = entry.machine.state is State.RUNNING
            if error is None or not is_reachable or self._clock.now() + timedelta(seconds=interval) >= ends:
                return Probe(is_reachable, error is None, looks, error)
            await self._clock.sleep(max(interval, 0.05))

    async def _look(self, machine: Machine, port: int, path: str | None) -> str | None:
        """Why nothing serves there; None: something does."""
        if machine.state is not State.RUNNING:
            return f"the machine is {machine.state}"
        try:
            async with asyncio.timeout(PROBE_LIMIT):
                return await _ask(await self._fleet.host.networks.endpoint(machine.id, port), port, path)
        except TimeoutError:
            return f"nothing answered at port {port} within {PROBE_LIMIT:g} s"
        except errors.HutchError as error:
            return error.message


async def _ask(endpoint: Endpoint, port: int, path: str | None) -> str | None:
    try:
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except OSError:
        return f"nothing listens at port {port}"
    try:
        if path is None:
            return None
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        line = (await reader.read(_HEAD_LIMIT)).partition(b"\r\n")[0].split()
        if len(line) < 2 or not line[0].startswith(b"HTTP/1.") or not line[1].isdigit():
            return f"port {port} does not speak HTTP"
        return f"port {port} answers {line[1].decode()[:3]}" if line[1] >= b"500" else None
    except OSError:
        return f"port {port} broke the connection"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _opened(machine: Machine, port: int) -> tuple[PublishedPort, ...]:
    if find_port(machine, port) is not None:
        return machine.ports
    ports = (*machine.ports, PublishedPort(port, is_public=not machine.private_traffic))
    requests.check_ports(ports)
    return ports


def _kept(machine: Machine, now: datetime) -> tuple[Grant, ...]:
    """Its grants, with room for one more. `Conflict` without."""
    over = [it for it in machine.grants if not it.is_good(now, machine.token_generation)]
    if len(machine.grants) - len(over) >= MOST:
        raise errors.Conflict(f"there are {MOST} links to this machine already: revoke one first")
    dropped = {it.id for it in over[: max(0, len(machine.grants) - MOST + 1)]}
    return tuple(it for it in machine.grants if it.id not in dropped)


def _find(machine: Machine, id: str) -> Grant:
    for grant in machine.grants:
        if grant.id == id:
            return grant
    raise errors.NotFound("link not found")
