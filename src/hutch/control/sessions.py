"""Sessions: a working directory and an environment kept from one command to the next, `cd` and `export` included.

A session is a record; no process waits between commands. Each line runs in a shell that begins with the session's
directory and variables and tells both at its end (`session_shell.py`); the first reads the profile, as a login does.
Commands of one session run one after the other. An argv runs with the session's directory and variables, and changes
neither; so does what runs in the background, which is not waited for. A session lives as long as its machine.
"""

import asyncio
import builtins
import contextlib
import dataclasses
import re
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import structlog

from hutch.control import commands, ending, requests, session_shell
from hutch.control.background import Background
from hutch.control.clock import Clock
from hutch.control.commands import Chunk, Command, Completed, Started
from hutch.control.fleet import Fleet
from hutch.control.keys import Principal
from hutch.control.processes import Processes
from hutch.control.records import Entry
from hutch.model import errors, ids
from hutch.model.guest import Exit
from hutch.model.ids import MachineId, ProcessId, SessionId, TenantId
from hutch.model.kinds import Kind
from hutch.model.machine import Event
from hutch.model.sessions import Session as Session
from hutch.store.interface import Recorded, Store

log = structlog.get_logger(__name__)

MOST = 256
"""Sessions of one machine."""

WAIT = 30.0
"""Seconds a command waits for the one before it."""

REPORTS = "/run/hutch/sessions"
"""Where in a guest a shell tells how it ended; in memory, so that nothing stays."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class _Held:
    """A session, and what runs in it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.turn = asyncio.Lock()
        self.process: ProcessId | None = None
        self.is_deleted = False


class Sessions:
    """The sessions of all machines."""

    def __init__(self, fleet: Fleet, processes: Processes, background: Background, store: Store, clock: Clock) -> None:
        self._fleet = fleet
        self._processes = processes
        self._background = background
        self._store = store
        self._clock = clock
        self._held: dict[MachineId, dict[str, _Held]] = {}  # oldest first
        self._workdirs: dict[str, str | None] = {}  # of images, by digest

    async def load(self, recorded: Recorded) -> None:
        """Take up what the store has."""
        for session in recorded.sessions:
            self._held.setdefault(session.machine, {})[session.id] = _Held(session)

    async def serve(self) -> None:
        """Nothing is to be done between commands."""

    async def close(self) -> None:
        """All is in the store."""

    def note(self, _: TenantId, event: Event) -> None:
        """A machine that goes takes its sessions with it, here as in the store."""
        if event.kind == Kind.DESTROYED:
            for held in self._held.pop(event.machine, {}).values():
                held.is_deleted = True

    async def create(
        self,
        principal: Principal,
        machine: MachineId,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Session:
        """Needs `machine:exec`. `Conflict` for an id that is taken. Does not start the machine.

        An id is 1 to 64 letters, digits, dots, hyphens and underscores; None: made here.
        """
        self._fleet.entry(principal, machine, "machine:exec")
        if id is not None and not _ID.fullmatch(id):
            raise errors.InvalidRequest("session id: use 1 to 64 letters, digits, '.', '_' and '-', a letter first")
        if cwd is not None:
            requests.check_path("cwd", cwd)
        requests.check_env(env or {})
        session = Session(SessionId(id or ids.random_id()), machine, cwd, dict(env or {}), self._clock.now())
        its = self._held.setdefault(machine, {})
        if session.id in its:
            raise errors.Conflict(f"there is already a session {session.id}: choose another id, or delete it first")
        if len(its) >= MOST:
            raise errors.Conflict(f"the machine has {MOST} sessions already: delete one first")
        its[session.id] = held = _Held(session)
        try:
            await self._store.add_session(session)
        except BaseException:
            held.is_deleted = True
            its.pop(session.id, None)
            raise
        return session

    def list(self, principal: Principal, machine: MachineId) -> builtins.list[Session]:
        """Oldest first. Needs `machine:read`."""
        self._fleet.entry(principal, machine, "machine:read")
        return [held.session for held in self._held.get(machine, {}).values()]

    def get(self, principal: Principal, machine: MachineId, session: str) -> Session:
        """Needs `machine:read`. `NotFound`."""
        return self._find(principal, machine, session, "machine:read")[1].session

    async def run(self, principal: Principal, machine: MachineId, session: str, command: Command) -> Completed:
        """As `Processes.run`; what the command names goes over what the session has, for this once.

        `Conflict` if another command of the session has not ended within `WAIT`.
        """
        return await self._processes.collect(self.stream(principal, machine, session, command))

    def stream(
        self, principal: Principal, machine: MachineId, session: str, command: Command
    ) -> AsyncGenerator[Started | Chunk | Exit, None]:
        """As `Processes.stream`."""
        entry, held = self._find(principal, machine, session, "machine:exec")
        commands.make_spec(command)
        return self._events(principal, entry, held, command)

    async def _events(
        self, principal: Principal, entry: Entry, held: _Held, command: Command
    ) -> AsyncGenerator[Started | Chunk | Exit, None]:
        machine = entry.machine.id
        if command.background:
            async with contextlib.aclosing(self._processes.stream(principal, machine, _with(held, command))) as events:
                async for event in events:
                    yield event
            return
        async with self._turn(held) as is_first, self._fleet.awake(entry):
            report = None if command.shell is None else f"{REPORTS}/{ids.random_id()}"
            wrapped = _with(held, command)
            if report is not None:
                await self._prepare(machine, report)
                wrapped = await self._wrap(entry, wrapped, report, is_first)
            try:
                async with contextlib.aclosing(self._processes.stream(principal, machine, wrapped)) as events:
                    async for event in events:
                        if isinstance(event, Started):
                            held.process = event.process
                        if isinstance(event, Exit):
                            await self._background.finish(self._take_up(machine, held, report))
                        yield event
            finally:
                held.process = None
                if report is not None:
                    self._background.go_on("removing a session's report", self._remove(machine, report))

    @contextlib.asynccontextmanager
    async def _turn(self, held: _Held) -> AsyncIterator[bool]:
        """Nothing else runs in it within; whether nothing ever did."""
        try:
            async with asyncio.timeout(WAIT):
                await held.turn.acquire()
        except TimeoutError:
            message = f"session {held.session.id} is busy: another command runs in it for longer than {WAIT:g} s"
            raise errors.Conflict(message) from None
        try:
            if held.is_deleted:
                raise errors.NotFound("session not found")
            is_first = held.session.last_exec_at is None
            held.session = dataclasses.replace(held.session, last_exec_at=self._clock.now())
            yield is_first
        finally:
            held.turn.release()

    async def _wrap(self, entry: Entry, command: Command, report: str, is_first: bool) -> Command:
        cwd = command.cwd or await self._workdir(entry)
        argv = session_shell.wrap(command.shell or "", cwd, command.env, report, is_login=is_first)
        return dataclasses.replace(command, argv=argv, shell=None, cwd="/")

    async def _workdir(self, entry: Entry) -> str:
        """Where a process begins that names no directory: as the host has it."""
        spec = entry.machine.spec
        if spec.workdir is not None:
            return spec.workdir
        if spec.image.digest not in self._workdirs:
            self._workdirs |= {it.ref.digest: it.config.workdir for it in await self._fleet.host.images.list()}
        return self._workdirs.get(spec.image.digest) or "/"

    async def _prepare(self, machine: MachineId, report: str) -> None:
        """A file that any user of the guest can tell in; without it the session stays as it is."""
        try:
            await self._fleet.host.files.write(machine, report, _nothing(), mode=0o622)
        except errors.GuestError as error:
            log.info("a session's shell cannot tell how it ends", machine=machine, error=error.message)

    async def _take_up(self, machine: MachineId, held: _Held, report: str | None) -> None:
        """What the command told; if it cannot be read, the session keeps what it had."""
        try:
            told = None if report is None else session_shell.parse(await self._read(machine, report))
        except errors.HutchError as error:
            log.info("a session's report was not read", machine=machine, error=error.message)
            told = None
        if told is not None:
            cwd, env = session_shell.follow(held.session.cwd, held.session.env, told)
            held.session = dataclasses.replace(held.session, cwd=cwd, env=env)
        try:
            await self._store.save_session(held.session)
        except errors.HutchError as error:
            log.warning("a session was not recorded", machine=machine, error=error.message)

    async def _read(self, machine: MachineId, report: str) -> bytes:
        """At most so much: the guest may go on writing while it is read."""
        _, chunks = await self._fleet.host.files.read(machine, report)
        data = b""
        async for chunk in chunks:
            data += chunk
            if len(data) > session_shell.REPORT_LIMIT:
                return b""
        return data

    async def _remove(self, machine: MachineId, report: str) -> None:
        await self._fleet.host.files.remove(machine, report)

    async def delete(self, principal: Principal, machine: MachineId, session: str) -> None:
        """Needs `machine:exec`. A command that runs in it is ended. `NotFound`."""
        entry, held = self._find(principal, machine, session, "machine:exec")
        await self._store.remove_session(held.session)
        held.is_deleted = True
        self._held.get(machine, {}).pop(session, None)
        if held.process is not None:
            self._background.go_on("ending a session's command", self._end(entry, held.process))

    async def _end(self, entry: Entry, process: ProcessId) -> None:
        async with self._fleet.used(entry) as id:
            await ending.end_process(self._fleet.host.processes, id, process, signal.SIGTERM)

    def _find(self, principal: Principal, machine: MachineId, session: str, scope: str) -> tuple[Entry, _Held]:
        entry = self._fleet.entry(principal, machine, scope)
        held = self._held.get(entry.machine.id, {}).get(session)
        if held is None:
            raise errors.NotFound("session not found")
        return entry, held


def _with(held: _Held, command: Command) -> Command:
    """What the session has, under what the command names."""
    session = held.session
    return dataclasses.replace(command, cwd=command.cwd or session.cwd, env={**session.env, **command.env})


async def _nothing() -> AsyncIterator[bytes]:
    yield b""
