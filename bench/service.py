"""What is measured of a live service, through HTTP as a client would."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench import floor
from hutch.host import files, paths
from hutch.model.ids import MachineId

MIB = 2**20
IMAGE = "debian"
SHAPE = {"cpus": 1, "memoryMb": 256}

SETTLE = 1.5
"""Seconds in which the service makes the spare processes it wants after a start: not to be paid by the floor's turn."""


def settle() -> None:
    """Let the service come to rest."""
    time.sleep(SETTLE)


class Service:
    """One service and the machine measurements are taken on."""

    def __init__(self, url: str, key: str, home: Path) -> None:
        self.url, self.key, self.home = url, key, home
        self.http = httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=600)

    def post(self, path: str, **body: object) -> dict[str, Any]:
        """The answer to a POST that succeeded."""
        response = self.http.post(path, json=body) if body else self.http.post(path)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def create(self, shape: dict[str, int] = SHAPE) -> str:
        """A new machine's id, without its prefix."""
        answer = self.post("/v1/machines", source={"type": "image", "reference": IMAGE}, resources=shape)
        return id_of(answer)

    def start(self, machine: str) -> None:
        """Start it."""
        self.post(f"/v1/machines/{machine}/start")

    def run(self, machine: str, *words: str) -> None:
        """A command, which must succeed."""
        answer = self.post(f"/v1/machines/{machine}/exec", command=list(words))
        assert answer["exitCode"] == 0, answer

    def delete(self, machine: str) -> None:
        """Remove it."""
        self.http.delete(f"/v1/machines/{machine}").raise_for_status()

    def new_machine_ms(self) -> tuple[float, str]:
        """Create, start and first command of a machine from a warm template; the machine is left running."""
        began = time.perf_counter()
        machine = self.create()
        self.start(machine)
        self.run(machine, "sh", "-c", "echo hi")
        return 1000 * (time.perf_counter() - began), machine

    def command_ms(self, machine: str, count: int) -> list[float]:
        """Each of `count` warm commands."""
        times = []
        for _ in range(count):
            began = time.perf_counter()
            self.run(machine, "sh", "-c", "echo hi")
            times.append(1000 * (time.perf_counter() - began))
        return times

    def put_mib_s(self, machine: str, size: int) -> float:
        """Uploading a file of `size` bytes."""
        chunk = os.urandom(floor.CHUNK)

        def chunks() -> Iterator[bytes]:
            for _ in range(size // floor.CHUNK):
                yield chunk

        began = time.perf_counter()
        self.http.put(f"/v1/machines/{machine}/files/workspace/bench", content=chunks()).raise_for_status()
        return size / MIB / (time.perf_counter() - began)

    def get_mib_s(self, machine: str, size: int) -> float:
        """Downloading it again."""
        began, total = time.perf_counter(), 0
        with self.http.stream("GET", f"/v1/machines/{machine}/files/workspace/bench") as response:
            for data in response.iter_raw():
                total += len(data)
        assert total == size
        return size / MIB / (time.perf_counter() - began)

    def cold_boot_ms(self, machine: str) -> float:
        """From its own disk to the agent's first answer."""
        self.post(f"/v1/machines/{machine}/stop")
        began = time.perf_counter()
        self.start(machine)
        return 1000 * (time.perf_counter() - began)

    def get_machine_rps(self, machine: str, seconds: float) -> float:
        """GET /v1/machines/{id} per second over 8 connections."""
        host, port = self.url.removeprefix("http://").split(":")
        words = [host, port, f"/v1/machines/{machine}", self.key, "8", str(seconds)]
        done = subprocess.run([sys.executable, "-m", "bench.load", *words], check=True, capture_output=True, text=True)
        return float(done.stdout)


def id_of(answer: dict[str, Any]) -> str:
    """A machine's id, without its prefix."""
    return str(answer["id"]).removeprefix("mach-")


def private_mib(machine: str, home: Path) -> float:
    """What a machine's process alone holds."""
    return floor.private_mib(pid_of(machine, home))


def pid_of(machine: str, home: Path) -> int:
    """A machine's process. It is found by the journal: a spare one does not carry its name."""
    journal = files.read_json(paths.Paths(home).machine(MachineId(machine)).journal) or {}
    return int(journal["process"]["pid"])


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmRSS of {pid}")
