"""Commands on a WebSocket: started, fed, killed, and found again by pid. They live on when the socket goes.

    exec_start {id, command, …}  ─►  exec_started {id, pid}, exec_stdout|exec_stderr {id, pid, data}…,
    exec_connect {id, pid}           exec_exit {id, pid, exit_code}
    exec_stdin {id, data} · exec_stdin_close {id} · exec_kill {id}     (or with pid)      error {id, message, code}

Output is read from its beginning, so who connects again is told all that the agent still has: the last MiB of each
stream. A command nobody reads waits once it has written that much.
"""

import asyncio
import codecs
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from hutch.api import service
from hutch.api.nullspace import execs, parse, requests
from hutch.api.nullspace.conversation import Conversation, Handler, fit
from hutch.api.nullspace.errors import Told, running
from hutch.control.processes import Chunk, Stream
from hutch.model import guest
from hutch.model.ids import MachineId

INPUT_WAITING = 64
"""Messages for one command's stdin that wait until it reads."""

KILL = 9


class Start(requests.Exec):
    """A command to run."""

    id: str


class Connect(requests.Body):
    """A process to be told of."""

    id: str
    pid: int


class Feed(requests.Body):
    """Text for a command to read; of those that only close it or kill, without."""

    id: str
    pid: int | None = None
    data: str = Field("")


@dataclass
class _Running:
    process: str
    pid: int
    input: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(INPUT_WAITING))


class Execs:
    """The commands of one socket."""

    def __init__(self, talk: Conversation, machine: MachineId) -> None:
        self._talk = talk
        self._machine = machine
        self._its = service.of(talk.socket)
        self._caller = service.principal(talk.socket)
        self._running: dict[str, _Running] = {}
        self.handlers: dict[str, Handler] = {
            "exec_start": self._start,
            "exec_connect": self._connect,
            "exec_stdin": self._stdin,
            "exec_stdin_close": self._close,
            "exec_kill": self._kill,
        }

    async def _start(self, message: dict[str, Any]) -> None:
        wanted = fit(message, Start)
        command = parse.command(wanted, keep=True)
        self._its.metrics.count_exec("streamed")
        with running():
            info = await self._its.control.processes.start(self._caller, self._machine, command)
        await self._follow(wanted.id, info)

    async def _connect(self, message: dict[str, Any]) -> None:
        wanted = fit(message, Connect)
        await self._follow(wanted.id, await execs.find(self._talk.socket, self._machine, wanted.pid))

    async def _follow(self, id: str, info: guest.ProcessInfo) -> None:
        it = self._running[id] = _Running(info.id, info.pid)
        await self._talk.tell("exec_started", id=id, pid=info.pid)
        feeding = self._talk.run(self._feed(it), id)
        following = self._talk.run(self._told(id, it), id)
        following.add_done_callback(lambda _: feeding.cancel())

    async def _told(self, id: str, it: _Running) -> None:
        decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in Stream}

        async def tell(stream: Stream, data: bytes, final: bool = False) -> None:
            if text := decoders[stream].decode(data, final):
                await self._talk.tell(f"exec_{stream.value}", id=id, pid=it.pid, data=text)

        async for told in self._its.control.processes.follow(self._caller, self._machine, it.process):
            if isinstance(told, Chunk):
                await tell(told.stream, told.data)
                continue
            for stream in Stream:
                await tell(stream, b"", final=True)
            self._running.pop(id, None)
            await self._talk.tell("exec_exit", id=id, pid=it.pid, exit_code=told.shell_code)

    async def _feed(self, it: _Running) -> None:
        while True:
            data = await it.input.get()
            write = self._its.control.processes.write
            await write(self._caller, self._machine, it.process, data or b"", end=data is None)

    def _meant(self, wanted: Feed) -> _Running:
        for id, it in self._running.items():
            if id == wanted.id or (wanted.pid is not None and it.pid == wanted.pid):
                return it
        raise Told(404, "not_found", f"there is no command {wanted.id[:80]!r} on this socket")

    async def _stdin(self, message: dict[str, Any]) -> None:
        wanted = fit(message, Feed)
        await self._meant(wanted).input.put(wanted.data.encode("utf-8", "surrogatepass"))

    async def _close(self, message: dict[str, Any]) -> None:
        await self._meant(fit(message, Feed)).input.put(None)

    async def _kill(self, message: dict[str, Any]) -> None:
        it = self._meant(fit(message, Feed))
        await self._its.control.processes.signal(self._caller, self._machine, it.process, KILL)
