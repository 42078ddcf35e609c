"""Commands in machines. A stopped machine is started first."""

from collections.abc import AsyncIterator

from hutch.client import errors, models, wire
from hutch.client._async.http import LONG, Http


async def streamed(http: Http, path: str, body: wire.Json) -> AsyncIterator[models.ExecEvent]:
    """A command's events, of a path that streams them."""
    async with http.stream("POST", path, json=body, params={"output": "b64"}) as answer:
        yield models.Started(answer.headers["x-hutch-process-id"])
        async for name, data in http.events(answer):
            told = wire.exec_event(name, data)
            yield told
            if isinstance(told, models.Exited):
                return
    raise errors.Unreachable("the stream broke off before the command ended")


class Processes:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def run(self, machine: str, command: models.Command) -> models.ExecResult:
        """Run it to its end; a command that fails is no error."""
        path = wire.machine_path(machine, "exec")
        params = {"output": "b64"}
        done = await self._http.json("POST", path, json=wire.command(command), params=params, timeout=LONG)
        return wire.exec_result(done)

    def stream(self, machine: str, command: models.Command) -> AsyncIterator[models.ExecEvent]:
        """Run it and tell its output as it comes: `Started`, any number of `Output`, and at last `Exited`.

        Closing the iterator early ends the command.
        """
        return streamed(self._http, wire.machine_path(machine, "exec", "stream"), wire.command(command))

    async def code(self, machine: str, program: models.Code) -> models.ExecResult:
        """Run a program in its language's interpreter, to its end; one that fails is no error."""
        path, params = wire.machine_path(machine, "code"), {"output": "b64"}
        return wire.exec_result(
            await self._http.json("POST", path, json=wire.code(program), params=params, timeout=LONG)
        )

    async def start(self, machine: str, command: models.Command) -> str:
        """Start it, leave it running, and return what it is called. Its oldest output goes when nobody reads it."""
        body = {**wire.command(command), "background": True}
        done = await self._http.json("POST", wire.machine_path(machine, "exec"), json=body, timeout=LONG)
        if done["exitCode"]:
            raise errors.Invalid(400, done["stderr"].strip())
        return str(done["processId"])

    async def list(self, machine: str) -> list[models.Process]:
        """What the guest's agent knows, oldest first."""
        return [wire.process(it) for it in await self._http.json("GET", wire.machine_path(machine, "processes"))]

    async def output(
        self, machine: str, process: str, offsets: tuple[int, int] = (0, 0), wait: float = 0, limit: int | None = None
    ) -> models.Page:
        """What it wrote from `(stdout, stderr)` offsets on; waits up to `wait` seconds until there is any."""
        path = wire.part_path(machine, "processes", process, "output")
        params = {"stdout": offsets[0], "stderr": offsets[1], "wait": wait} | ({"limit": limit} if limit else {})
        return wire.page(await self._http.json("GET", path, params=params, timeout=LONG))

    async def write(self, machine: str, process: str, data: AsyncIterator[bytes] | bytes, end: bool = False) -> None:
        """Write to the stdin of one that was started `interactive`; `end` closes it."""
        path = wire.part_path(machine, "processes", process, "stdin")
        await self._http.json("POST", path, content=data, params={"end": end}, timeout=LONG)

    async def signal(self, machine: str, process: str, signal: int | str) -> None:
        """Send a signal to its whole process group."""
        path = wire.part_path(machine, "processes", process, "signal")
        await self._http.json("POST", path, json={"signal": signal})

    async def forget(self, machine: str, process: str) -> None:
        """Drop it and its output; a running one is killed first."""
        await self._http.json("DELETE", wire.part_path(machine, "processes", process))
