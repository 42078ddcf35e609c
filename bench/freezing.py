"""What freezing, copying and waking costs: the service, through HTTP as a client would, and the floor, in turns.

Each of a machine of 512 MiB after it wrote 64 MiB of its memory. `fork_child_to_first_command_ms` and `fork_8_ms` begin
with the wish to fork and end when every child has answered a command; both sides freeze the source within that time.
How long the source stands still is told by the service's log, because a guest's own clock is too coarse for it.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import floor, service
from bench import floor_freezing as bare

SHAPE = {"cpus": 1, "memoryMb": 512}
ROUNDS = 5
CHILDREN = 8
LIMIT = 120.0
"""Seconds that the service may take to fill a pool, or to write a line of its log."""

Figures = dict[str, list[float]]


def make_template(hutch: service.Service) -> None:
    """Have the template of the shape that is measured made, if there is none."""
    machine = hutch.create(SHAPE)
    hutch.start(machine)
    hutch.delete(machine)


def side_by_side(hutch: service.Service, template: floor.Template, work: Path) -> dict[str, Figures]:
    """All of it, in turns."""
    floors: Figures = {}
    ours: Figures = {}
    pool = Pool(hutch)
    for _ in range(ROUNDS):
        add(floors, *zip(FORK, bare.fork(template, work, 1), strict=True))
        add(ours, *zip(FORK, fork(hutch), strict=True))
        service.settle()
        add(floors, (FORK_8, bare.fork(template, work, CHILDREN)[0]))
        add(ours, (FORK_8, fork_many(hutch)))
        service.settle()
        add(floors, *zip(SUSPEND, bare.suspend_and_wake(template, work), strict=True))
        add(ours, *zip(SUSPEND, suspend_and_wake(hutch), strict=True))
        service.settle()
        add(floors, (CLAIM, bare.claim(template, work)))
        add(ours, (CLAIM, pool.claim_ms()))
        service.settle()
    pool.delete()
    for figures in (floors, ours):
        eight, one = figures[FORK_8], figures[FORK[0]]
        figures["fork_8_times_one"] = [many / single for many, single in zip(eight, one, strict=True)]
    return {"floor": floors, "hutch": ours}


FORK = ("fork_child_to_first_command_ms", "fork_source_pause_ms", "children_private_mib")
FORK_8 = "fork_8_ms"
SUSPEND = ("suspend_ms", "wake_to_first_command_ms")
CLAIM = "claim_to_first_command_ms"


def add(figures: Figures, *found: tuple[str, float]) -> None:
    """Note them by their names."""
    for name, value in found:
        figures.setdefault(name, []).append(value)


def source(hutch: service.Service) -> str:
    """A machine that has written 64 MiB of its memory."""
    machine = hutch.create(SHAPE)
    hutch.start(machine)
    hutch.run(machine, "sh", "-c", bare.WRITE)
    return machine


def first_command(hutch: service.Service, machine: str) -> str:
    """Its id, when it has answered one."""
    hutch.run(machine, "sh", "-c", "echo hi")
    return machine


def check(hutch: service.Service, machine: str) -> None:
    """It has what was written."""
    hutch.run(machine, "sh", "-c", bare.CHECK)


def fork(hutch: service.Service) -> tuple[float, float, float]:
    """One child of a running machine to its first command; the source's pause; the child's own memory."""
    log = hutch.home / "service.log"
    machine, at = source(hutch), log.stat().st_size
    began = time.perf_counter()
    child = first_command(hutch, service.id_of(hutch.post(f"/v1/machines/{machine}/branches")))
    took = bare.since(began)
    pause, private = pause_of(machine, log, at), service.private_mib(child, hutch.home)
    check(hutch, child)
    hutch.delete(child)
    hutch.delete(machine)
    return took, pause, private


def pause_of(machine: str, log: Path, at: int) -> float:
    """Milliseconds that it stood still, by the first such line of the log behind `at`."""
    for line in lines(log, at):
        told = json.loads(line) if line.startswith("{") else {}
        if told.get("event") == "frozen" and told.get("machine") == machine and "pause_ms" in told:
            return float(told["pause_ms"])
    raise RuntimeError(f"the service's log does not tell how long {machine} stood still")


def lines(log: Path, at: int) -> Iterator[str]:
    """Those of a file that grows, for a while."""
    end = time.monotonic() + LIMIT
    with log.open() as file:
        file.seek(at)
        while time.monotonic() < end:
            line = file.readline()
            if line:
                yield line
            else:
                time.sleep(0.05)


def fork_many(hutch: service.Service) -> float:
    """Several children of a running machine, all of them to their first command."""
    machine = source(hutch)
    began = time.perf_counter()
    made: list[dict[str, Any]] = hutch.post(f"/v1/machines/{machine}/branches/batch", count=CHILDREN)["clones"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        children = list(pool.map(lambda child: first_command(hutch, service.id_of(child)), made))
    took = bare.since(began)
    assert len(children) == CHILDREN
    for child in children:
        check(hutch, child)
        hutch.delete(child)
    hutch.delete(machine)
    return took


def suspend_and_wake(hutch: service.Service) -> tuple[float, float]:
    """Until the answer to the suspension, and from a start to the first command."""
    machine = source(hutch)
    began = time.perf_counter()
    hutch.post(f"/v1/machines/{machine}/suspend")
    suspended = bare.since(began)
    began = time.perf_counter()
    hutch.start(machine)
    first_command(hutch, machine)
    took = bare.since(began)
    check(hutch, machine)
    hutch.delete(machine)
    return suspended, took


class Pool:
    """A warm pool of one machine, whose warming is to write the 64 MiB."""

    def __init__(self, hutch: service.Service) -> None:
        self._hutch = hutch
        shape = {**SHAPE, "image": service.IMAGE, "min": 1, "max": 1, "network": True}
        warm_up = ["sh", "-c", bare.WRITE]
        self._id = str(hutch.post("/v1/pools", **shape, warmUp=warm_up)["id"])

    def claim_ms(self) -> float:
        """From the wish to the first command of a machine that waited."""
        self._wait_until_ready()
        began = time.perf_counter()
        machine = service.id_of(self._hutch.post(f"/v1/pools/{self._id}/claim"))
        first_command(self._hutch, machine)
        took = bare.since(began)
        check(self._hutch, machine)
        self._hutch.delete(machine)
        return took

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            response = self._hutch.http.get(f"/v1/pools/{self._id}")
            response.raise_for_status()
            if response.json()["idleCount"]:
                return
            time.sleep(0.05)
        raise RuntimeError("no machine of the pool got ready")

    def delete(self) -> None:
        """And its machines."""
        self._hutch.http.delete(f"/v1/pools/{self._id}").raise_for_status()
