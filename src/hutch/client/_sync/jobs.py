"""Jobs: commands that run on when their caller has gone."""

from hutch.client import models, nouns, wire
from hutch.client._sync.http import LONG, Http


class Jobs:
    """Every `machine` is an id or a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def start(self, machine: str, command: models.Command) -> nouns.Job:
        """Start one. `NotFound` if there is no such program."""
        path = wire.machine_path(machine, "jobs")
        return nouns.job(self._http.json("POST", path, json=wire.command(command), timeout=LONG))

    def get(self, machine: str, job: str) -> nouns.Job:
        """One, as it is now."""
        return nouns.job(self._http.json("GET", wire.part_path(machine, "jobs", job)))

    def output(
        self, machine: str, job: str, stream: str = "stdout", offset: int = 0, limit: int | None = None
    ) -> nouns.JobOutput:
        """What it wrote from an offset on, at once; the last 1 MiB of each stream is kept."""
        params = {"stream": stream, "offset": offset} | ({"limit": limit} if limit else {})
        path = wire.part_path(machine, "jobs", job, "output")
        return nouns.job_output(self._http.json("GET", path, params=params, timeout=LONG))

    def cancel(self, machine: str, job: str) -> nouns.Job:
        """End it; its exit code is 143 then. One that has ended is left alone."""
        return nouns.job(self._http.json("POST", wire.part_path(machine, "jobs", job, "cancel"), timeout=LONG))

    def list(self, machine: str) -> list[nouns.Job]:
        """The newest hundred, newest first."""
        found = self._http.json("GET", wire.machine_path(machine, "jobs"))
        return [nouns.job(it) for it in found["jobs"]]
