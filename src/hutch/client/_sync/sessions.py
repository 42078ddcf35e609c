"""Sessions: a working directory and variables kept from one command to the next."""

from collections.abc import Iterator, Mapping

from hutch.client import models, nouns, wire
from hutch.client._sync import processes
from hutch.client._sync.http import LONG, Http


class Sessions:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(
        self, machine: str, cwd: str | None = None, env: Mapping[str, str] | None = None, id: str | None = None
    ) -> nouns.Session:
        """Open one; the machine is not started for it. `id` None: one is made up."""
        body = {"cwd": cwd, "env": dict(env or {}), "id": id}
        return nouns.session(self._http.json("POST", wire.machine_path(machine, "sessions"), json=body))

    def get(self, machine: str, session: str) -> nouns.Session:
        """One, with the directory and variables it has come to."""
        return nouns.session(self._http.json("GET", wire.part_path(machine, "sessions", session)))

    def run(self, machine: str, session: str, command: models.Command) -> models.ExecResult:
        """Run a command in it to its end; `cd` and `export` of a shell line stay for the next."""
        path = wire.part_path(machine, "sessions", session, "exec")
        params = {"output": "b64"}
        done = self._http.json("POST", path, json=wire.command(command), params=params, timeout=LONG)
        return wire.exec_result(done)

    def stream(self, machine: str, session: str, command: models.Command) -> Iterator[models.ExecEvent]:
        """The same, told as it comes, as `Processes.stream` does."""
        path = wire.part_path(machine, "sessions", session, "exec")
        return processes.streamed(self._http, path, {**wire.command(command), "stream": True})

    def delete(self, machine: str, session: str) -> None:
        """End it, and a command that runs in it."""
        self._http.json("DELETE", wire.part_path(machine, "sessions", session))

    def list(self, machine: str) -> list[nouns.Session]:
        """A machine's, oldest first."""
        return [nouns.session(it) for it in self._http.json("GET", wire.machine_path(machine, "sessions"))]
