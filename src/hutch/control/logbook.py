"""What a machine has written: its console, and the journal of its services while it runs.

Looking never wakes a machine and is no activity. What a guest tells is taken for text, within bounds.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hutch.control import asking
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.host.interface import Host
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Level, Machine
from hutch.model.states import State

MOST = 5000
"""Lines that are told at once."""

LONGEST = 4096
"""Characters of a line; the rest is cut."""

LIMIT = 10.0
"""Seconds for all that is asked of the guest."""

_OF_SERVICES = tuple(f"_TRANSPORT={way}" for way in ("journal", "stdout", "syslog"))
_ERROR, _WARNING = 3, 4  # syslog's priorities (RFC 5424, 6.2.1): these and below


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `at` is in Unix seconds; a console tells no time, so its lines have that of the machine's start."""

    at: float
    level: Level
    text: str


class Logbook:
    """The logs of all machines."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def read(self, principal: Principal, machine: MachineId, tail: int) -> Sequence[Line]:
        """Its last `tail` lines, oldest first. Needs `machine:read`.

        Services are told of by a guest that runs and has `journalctl`; the journal's lines of the kernel are left out.
        """
        if tail < 0:
            raise errors.InvalidRequest(f"tail is {tail}: 0 or more")
        wanted = min(tail, MOST)
        entry = self._fleet.entry(principal, machine, "machine:read")
        console = (await self._fleet.host.console(machine)).text
        lines = list(of_console(console, began(entry.machine)))
        if wanted and entry.machine.state is State.RUNNING:
            lines += of_journal(await _read_journal(self._fleet.host, machine, wanted))
        return sorted(lines, key=lambda it: it.at)[-wanted:] if wanted else []


def began(machine: Machine) -> datetime:
    """When it last began to run, or was made."""
    return machine.ready_at or machine.created_at


def of_console(console: bytes, since: datetime) -> Iterator[Line]:
    """Its lines that hold anything. Pure."""
    for text in console.decode("utf-8", "replace").splitlines():
        if text.strip():
            yield Line(since.timestamp(), Level.INFO, text.rstrip()[:LONGEST])


def of_journal(told: bytes) -> Iterator[Line]:
    """What `journalctl --output=json` wrote; a line that makes no sense is left out. Pure."""
    for raw in told.splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError, RecursionError):
            it = json.loads(raw)
            if isinstance(it, dict) and it.get("_TRANSPORT") != "kernel":
                yield _line(it)


def _line(it: dict[str, Any]) -> Line:
    message, priority = it["MESSAGE"], int(it.get("PRIORITY", 6))
    if isinstance(message, list):  # journalctl's way with what is not UTF-8
        message = bytes(message).decode("utf-8", "replace")
    if not isinstance(message, str):
        raise TypeError(message)
    source = it.get("SYSLOG_IDENTIFIER") or it.get("_COMM")
    level = Level.ERROR if priority <= _ERROR else Level.WARNING if priority <= _WARNING else Level.INFO
    text = f"{source}: {message}" if isinstance(source, str) else message
    return Line(int(it["__REALTIME_TIMESTAMP"]) / 1_000_000, level, text[:LONGEST])


async def _read_journal(host: Host, machine: MachineId, lines: int) -> bytes:
    """What the guest's journal says of it; nothing if it has none, or does not tell in time."""
    argv = ("journalctl", "--no-pager", "--quiet", "--output=json", f"--lines={lines}", *_OF_SERVICES)
    with contextlib.suppress(errors.HutchError):
        return (await asking.ask(host.processes, machine, argv, LIMIT)).stdout
    return b""
