"""Services of a guest's systemd: written, patched, started, looked at.

The truth is in the guest: units are files there, and their state is what its systemd says. A guest whose init is not
systemd is `Unsupported`. Every call but those that only look wakes or starts the machine and is its use; those that
look are `NotRunning` of a machine that does not run.
"""

import asyncio
import builtins
import contextlib
import re
import time
import weakref
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hutch.control import asking, systemctl, systemd, units
from hutch.control.files import Files
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.processes import Processes
from hutch.control.systemctl import JournalLine as JournalLine
from hutch.control.systemctl import Standing, States, Verb
from hutch.control.systemd import Systemd
from hutch.model import errors
from hutch.model.guest import Exit
from hutch.model.ids import MachineId
from hutch.model.recipes import Unit, UnitPatch

START_LIMIT = 60.0
"""Seconds that a start or stop is waited for; it goes on after that."""

MOST_SERVICES = 100
"""That one call may be about."""

MOST_LINES = 5000
"""Of a journal that are told at once."""

_AT_ONCE = 8
_SHORTEST, _LONGEST, _SHARE = 0.2, 5.0, 0.1  # seconds between two looks, and their share of the time waited until then
_PATIENCE = 120.0  # seconds in which a guest need not answer while it is waited for
_TAIL = 20  # lines of the journal that tell why a service failed
_NOT_STARTED = "Dependency failed for "  # systemd's words, the last ones about such a service
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What systemd says of a service, in its words (`systemctl show`)."""

    name: str  # without .service
    active: str  # active, inactive, failed, activating …
    sub: str  # running, dead, exited …
    load: str  # loaded, not-found, masked …
    description: str


@dataclass(frozen=True, slots=True)
class ServiceResult:
    """What became of one of several services that something was to be done to."""

    name: str
    is_done: bool
    message: str


class Services:
    """The services of all machines. All calls need `machine:exec`, those that only look `machine:read`."""

    def __init__(self, fleet: Fleet, processes: Processes, files: Files) -> None:
        self._systemd = Systemd(fleet, processes, files)
        self._locks: weakref.WeakValueDictionary[MachineId, asyncio.Lock] = weakref.WeakValueDictionary()

    async def create(self, principal: Principal, machine: MachineId, *its: Unit) -> None:
        """Write it, enable it if it says so, and start it. `Flawed`; `Conflict` if there is one of this name.

        Returns when systemd has taken the start up, not when a oneshot has ended. Several are all made, or none.
        """
        if not its:
            return
        texts = {units.unit_of(unit.name): units.render(unit).encode() for unit in its}
        if len(texts) < len(its):
            raise errors.Flawed("two services have the same name")
        _check_count(texts)
        each = zip(texts.items(), its, strict=True)
        words = [word for (name, text), unit in each for word in (name, str(len(text)), _flag(unit.enable))]
        ended = await self._systemd.act(principal, machine, Verb.CREATE, *words, stdin=b"".join(texts.values()))
        if ended.exit == Exit(systemctl.EXISTS):
            raise errors.Conflict(f"there is already a service {_first(ended.stdout).removesuffix(units.SUFFIX)}")
        systemd.check(ended, f"service {', '.join(unit.name for unit in its)} could not be made")

    async def patch(self, principal: Principal, machine: MachineId, patch: UnitPatch) -> None:
        """Change what it says, and restart it if it runs. `Flawed`; `NotFound` without such a service.

        One that was not made here gets its changes laid over it, beside those made before.
        """
        name, changes = units.unit_of(patch.name), units.typed(patch.changes)
        async with self._locks.setdefault(machine, asyncio.Lock()):
            its = units.kept_in(await self._systemd.read(principal, machine, name))
            if its is not None:
                unit = units.patched(its, changes)
                file, text, flag = name, units.render(unit), _flag(unit.enable)
            else:
                file = f"{name}.d/hutch.conf"
                before = units.kept_in(await self._systemd.read(principal, machine, file), "Patch") or {}
                text = units.render_patch({**before, **changes})
                flag = _flag(changes["enable"]) if "enable" in changes else ""
            size = str(len(text.encode()))
            ended = await self._systemd.act(principal, machine, Verb.PATCH, name, file, size, flag, stdin=text.encode())
        systemd.check(ended, f"service {patch.name} could not be changed", name)

    async def list(self, principal: Principal, machine: MachineId) -> builtins.list[str]:
        """Those that were made here, by name; not the image's own."""
        told = systemd.check(
            await self._systemd.look(principal, machine, Verb.LIST), "the services could not be listed"
        )
        return sorted(name.removesuffix(units.SUFFIX) for name in told.splitlines())

    async def delete(self, principal: Principal, machine: MachineId, name: str) -> None:
        """Stop it, disable it and remove it. `NotFound`, also of one that was not made here."""
        unit = units.unit_of(name)
        systemd.check(
            await self._systemd.act(principal, machine, Verb.DELETE, unit), f"service {name} could not be deleted", unit
        )

    async def status(self, principal: Principal, machine: MachineId, name: str) -> ServiceStatus:
        """Of any service the guest has. `NotFound`."""
        unit = units.unit_of(name)
        answer = await self._systemd.look(principal, machine, Verb.STATUS, unit)
        its = systemctl.properties(systemd.check(answer, f"service {name} could not be looked at"))
        if its.get("LoadState", "not-found") == "not-found":
            raise systemd.missing(unit)
        plain = unit.removesuffix(units.SUFFIX)
        told = (its.get(key, "") for key in ("ActiveState", "SubState", "LoadState", "Description"))
        return ServiceStatus(plain, *told)

    async def logs(
        self, principal: Principal, machine: MachineId, name: str, lines: int = 100, since: str | None = None
    ) -> builtins.list[JournalLine]:
        """The last lines of its journal, oldest first; `since` is a moment as journalctl or RFC 3339 tells it.

        At most `MOST_LINES`. Also of one that was removed because it ended well.
        """
        unit = units.unit_of(name)
        if lines < 0:
            raise errors.InvalidRequest(f"lines is {lines}: 0 or more")
        options = [f"--lines={min(lines, MOST_LINES)}"]
        if since is not None:
            if _CONTROL.search(since) or len(since) > 100:
                raise errors.InvalidRequest("since: give a moment such as 2026-01-01T00:00:00Z, or 1 hour ago")
            options.append(f"--since={systemctl.moment(since)}")
        answer = await self._systemd.look(principal, machine, Verb.LOGS, unit, *options)
        if since is not None and b"parse timestamp" in answer.stderr:
            raise errors.InvalidRequest(f"since {since!a} is no moment that the guest's journalctl knows")
        if answer.exit != asking.CUT:
            systemd.check(answer, f"the journal of service {name} could not be read", unit)
        return list(systemctl.journal(answer.stdout))[::-1]

    async def start(
        self, principal: Principal, machine: MachineId, names: Collection[str]
    ) -> builtins.list[ServiceResult]:
        """Each of them, whatever becomes of the others.

        What takes longer than `START_LIMIT` seconds goes on, and its result says so.
        """
        return await self._each(principal, machine, "start", names)

    async def stop(
        self, principal: Principal, machine: MachineId, names: Collection[str]
    ) -> builtins.list[ServiceResult]:
        """As `start`."""
        return await self._each(principal, machine, "stop", names)

    async def restart(
        self, principal: Principal, machine: MachineId, names: Collection[str]
    ) -> builtins.list[ServiceResult]:
        """As `start`."""
        return await self._each(principal, machine, "restart", names)

    async def wait_ready(self, principal: Principal, machine: MachineId, timeout: float) -> None:
        """Returns when the guest has finished its boot, and all services made here have started, or ended.

        One that says when it is ready has started when it said so. At once in a guest without systemd. Looking.
        `TimedOut` after so many seconds, naming what is not ready yet; `GuestError` if a service made here has failed.
        A machine that was ready when its memory was saved is so when it goes on: then nothing is run in it.
        """
        if await self._systemd.was_ready(principal, machine):
            return
        with contextlib.suppress(errors.Unsupported):
            states = await self._settled(principal, machine, timeout)
            failed = states.among(Standing.FAILED)
            if failed:
                tail = await self._tail(principal, machine, failed[0])
                word = states.units[failed[0]][1]
                raise errors.GuestError(f"service {systemd.plain(failed)} has failed ({word}):\n{tail}".rstrip())
            late = [] if states.has_booted else [f"the boot ({states.system or 'unknown'})"]
            late += states.among(Standing.UNDER_WAY)
            if late:
                raise errors.TimedOut(f"machine {machine} is not ready after {timeout:g} s: {systemd.plain(late)}")
        await self._systemd.note_ready(machine)

    async def finished(
        self, principal: Principal, machine: MachineId, names: Collection[str], timeout: float
    ) -> builtins.list[ServiceResult]:
        """When these have started, and the oneshots among them ended: how each did, with its journal's end. Looking.

        One that was removed because it ended well is done. `TimedOut`, naming those that are still at it.
        """
        _check_count(names)
        wanted = {units.unit_of(name): name for name in names}
        if not wanted:
            return []
        states = await self._settled(principal, machine, timeout, tuple(wanted))
        late = states.among(Standing.UNDER_WAY)
        if late:
            raise errors.TimedOut(f"not finished after {timeout:g} s: {systemd.plain(late)}")
        told = states.units.items()
        return [await self._judge(principal, machine, wanted[unit], *how) for unit, how in told]

    async def _judge(
        self, principal: Principal, machine: MachineId, name: str, standing: Standing, word: str
    ) -> ServiceResult:
        if standing in (Standing.RUNS, Standing.ENDED):
            return ServiceResult(name, True, word)
        if standing is Standing.ABSENT:
            return ServiceResult(name, False, "there is no such service")
        lines = [line.message for line in await self.logs(principal, machine, name, _TAIL)]
        if standing is Standing.FAILED:
            return ServiceResult(name, False, "\n".join([word, *lines]))
        if any(line.startswith(_NOT_STARTED) for line in lines[-2:]):
            return ServiceResult(name, False, "it was not started: something that it requires has failed")
        return ServiceResult(name, True, word)

    async def _tail(self, principal: Principal, machine: MachineId, name: str) -> str:
        lines = await self.logs(principal, machine, name, _TAIL)
        return "\n".join(line.message for line in lines)

    async def _settled(
        self, principal: Principal, machine: MachineId, timeout: float, names: Sequence[str] = ()
    ) -> States:
        """When none of these is under way; without names, when the boot is over too, or one made here has failed.

        However it is after so many seconds.
        """
        began = time.monotonic()
        while True:
            waited = time.monotonic() - began
            try:
                answer = await self._systemd.look(principal, machine, Verb.STATES, *names)
                states = systemctl.states(systemd.check(answer, "the services could not be looked at"), names)
            except (errors.TimedOut, errors.AgentUnavailable, errors.GuestError):
                if waited >= min(timeout, _PATIENCE):  # a guest in the middle of its boot may be slow
                    raise
            else:
                is_over = not states.among(Standing.UNDER_WAY) and (bool(names) or states.has_booted)
                if is_over or waited >= timeout or (not names and states.among(Standing.FAILED)):
                    return states
            pause = max(_SHORTEST, min(_LONGEST, waited * _SHARE))
            await asyncio.sleep(max(0.0, min(began + timeout - time.monotonic(), pause)))

    async def _each(
        self, principal: Principal, machine: MachineId, what: str, names: Collection[str]
    ) -> builtins.list[ServiceResult]:
        _check_count(names)
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> ServiceResult:
            try:
                unit = units.unit_of(name)
                async with places:
                    ended = await self._systemd.act(principal, machine, Verb.ACT, what, unit, limit=START_LIMIT)
            except errors.Flawed as flaw:
                return ServiceResult(name, False, flaw.message)
            if ended.exit is None:
                return ServiceResult(name, True, f"{what} is still under way after {START_LIMIT:g} s, and goes on")
            words = ended.stderr.decode(errors="replace").strip() or f"{what}: done"
            return ServiceResult(name, ended.exit == Exit(0), words)

        return await asyncio.gather(*(one(name) for name in names))


def _check_count(names: Collection[str]) -> None:
    if len(names) > MOST_SERVICES:
        raise errors.InvalidRequest(f"{len(names)} services: at most {MOST_SERVICES} at once")


def _flag(value: object) -> str:
    return "1" if value else "0"


def _first(told: bytes) -> str:
    return told.decode(errors="replace").partition("\n")[0]
