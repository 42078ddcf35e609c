"""The systemd of guests: runs what is to be done or asked there, and tells what came of it."""

import contextlib
from collections.abc import AsyncIterator, Collection

from hutch.control import asking, systemctl, units
from hutch.control.asking import Answer
from hutch.control.commands import Command
from hutch.control.files import Files
from hutch.control.fleet import Fleet
from hutch.control.inside import Inside
from hutch.control.keys import Principal
from hutch.control.processes import Processes
from hutch.control.systemctl import Verb
from hutch.model import errors
from hutch.model.guest import Exit
from hutch.model.ids import MachineId
from hutch.model.states import State

ACT_LIMIT = 180.0
"""Seconds in which services are to be written, changed or removed."""

LOOK_LIMIT = 30.0
"""Seconds in which a guest is to tell of its services."""

_TOLD = 2000  # characters of units' names in an error

_NO_SYSTEMD = (Exit(systemctl.NO_SYSTEMD), Exit(255))  # the latter: there is not even a shell


class Systemd:
    """Those of all guests. `Unsupported` if there is none."""

    def __init__(self, fleet: Fleet, processes: Processes, files: Files) -> None:
        self._fleet = fleet
        self._processes = processes
        self._files = files

    async def act(
        self,
        principal: Principal,
        machine: MachineId,
        verb: Verb,
        *arguments: str,
        stdin: bytes | None = None,
        limit: float = ACT_LIMIT,
    ) -> Answer:
        """In a machine that is woken for it. Needs `machine:exec`."""
        inside = Inside(self._processes, self._files, principal, machine)
        argv = systemctl.argv(verb, *arguments)
        ran = await inside.run(Command(argv=argv, stdin=stdin, timeout=limit, user="root", cwd="/"))
        return _supported(machine, Answer(ran.stdout, ran.stderr, None if ran.exit.timed_out else ran.exit))

    async def read(self, principal: Principal, machine: MachineId, file: str) -> str:
        """A file of units in a machine that is woken for it; empty if it is not there. Needs `machine:exec`."""
        inside = Inside(self._processes, self._files, principal, machine)
        argv = ("cat", "--", f"{units.DIRECTORY[1:]}/{file}")
        ran = await inside.run(Command(argv=argv, timeout=LOOK_LIMIT, user="root", cwd="/"))
        return ran.stdout.decode(errors="replace") if ran.exit == Exit(0) else ""

    async def look(self, principal: Principal, machine: MachineId, verb: Verb, *arguments: str) -> Answer:
        """In a machine that runs, which is no use of it. Needs `machine:read`. `NotRunning`."""
        self._check_runs(principal, machine)
        argv = systemctl.argv(verb, *arguments)
        try:
            answer = await asking.ask(self._fleet.host.processes, machine, argv, LOOK_LIMIT)
        except errors.GuestNotFound:
            answer = Answer(b"", b"", Exit(255))
        return _supported(machine, answer)

    async def was_ready(self, principal: Principal, machine: MachineId) -> bool:
        """Whether it was found ready since it booted and its services were changed. Costs no process in the guest."""
        self._check_runs(principal, machine)
        try:
            await self._fleet.host.files.stat(machine, units.READY)
        except errors.GuestNotFound:
            return False
        return True

    async def note_ready(self, machine: MachineId) -> None:
        """It was found ready."""
        with contextlib.suppress(errors.HutchError):  # it is only asked again
            await self._fleet.host.files.write(machine, units.READY, _nothing())

    def _check_runs(self, principal: Principal, machine: MachineId) -> None:
        entry = self._fleet.entry(principal, machine, "machine:read")
        if entry.machine.state is not State.RUNNING:
            raise errors.NotRunning(f"machine {machine} is {entry.machine.state}: start it first")


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


def _supported(machine: MachineId, answer: Answer) -> Answer:
    if answer.exit in _NO_SYSTEMD:
        raise errors.Unsupported(
            f"machine {machine} has no services: its image's init is not systemd. Use the image debian, or one with "
            "systemd as /sbin/init; or run the command as a job or in a session"
        )
    return answer


def check(answer: Answer, failure: str, unit: str = "") -> str:
    """What it wrote. `TimedOut`; `NotFound` of `unit` if the script says so; `GuestError` in systemd's words."""
    if answer.exit is None:
        raise errors.TimedOut(f"{failure}: the guest's systemd did not answer in time")
    if unit and answer.exit == Exit(systemctl.MISSING):
        raise missing(unit)
    if answer.exit != Exit(0):
        words = answer.stderr.decode(errors="replace").strip()[-2000:]
        raise errors.GuestError(f"{failure}: {words}" if words else failure)
    return answer.stdout.decode(errors="replace")


def missing(unit: str) -> errors.NotFound:
    """There is no service of this name."""
    return errors.NotFound(f"service {plain((unit,))} not found")


def plain(names: Collection[str]) -> str:
    """Units as they are told: not all of very many."""
    text = ", ".join(name.removesuffix(units.SUFFIX) for name in names)
    return text if len(text) <= _TOLD else f"{text[:_TOLD]}…"
