"""Much asked of one machine at once, and commands that run meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from hutch.client import wire

from .conftest import Machine

TICKS = "for i in $(seq 60); do echo $i; sleep 0.02; done; exit 7"


class Watched(threading.Thread):
    """A streamed command, followed beside the test."""

    def __init__(self, machine: Machine, command: str) -> None:
        super().__init__()
        self._machine = machine
        self._command = command
        self.stdout = ""
        self.end = ""

    def run(self) -> None:
        url, headers = f"{self._machine.http.base_url}{self._machine.path}/exec/stream", self._machine.http.headers
        body = {"command": self._command}
        with httpx.stream("POST", url, json=body, headers=headers, trust_env=False, timeout=30) as answer:
            reader = wire.ServerEvents()
            for line in answer.iter_lines():
                name, data = reader.feed(line) or ("", "")
                if name == "stdout":
                    self.stdout += data
                elif name:
                    self.end = f"{name} {data}"

    def has_written(self, count: int) -> None:
        """Returns when it has written so many lines."""
        end = time.monotonic() + 20
        while self.stdout.count("\n") < count:
            assert time.monotonic() < end, self.stdout
            time.sleep(0.005)


@pytest.fixture
def watched(running: Machine) -> Iterator[Watched]:
    """Something that ticks, has begun, and ends by itself: not a tick of it is lost or doubled."""
    following = Watched(running, TICKS)
    following.start()
    following.has_written(3)
    yield following
    following.join(30)
    assert following.stdout.split() == [str(number) for number in range(1, 61)]
    assert following.end == 'exit {"exitCode":7}'


def pause(machine: Machine) -> None:
    machine.post("pause", {"keepMemory": True})
    time.sleep(0.1)
    machine.post("resume")


def suspend(machine: Machine) -> None:
    machine.post("suspend")
    time.sleep(0.1)
    machine.post("resume")


def wake(machine: Machine) -> None:
    machine.post("suspend")
    assert machine.exec("echo awake")["stdout"] == "awake\n"


def branch(machine: Machine) -> None:
    child = machine.post("branches").json()["id"]
    machine.http.delete(f"/v1/machines/{child}")


def checkpoint(machine: Machine) -> None:
    machine.http.delete(f"/v1/checkpoints/{machine.post('checkpoints').json()['id']}")


@pytest.mark.parametrize("act", [pause, suspend, wake, branch, checkpoint])
def test_a_stream_goes_on_whole_whatever_is_done_to_its_machine(
    running: Machine, watched: Watched, act: Callable[[Machine], None]
) -> None:
    for count in (3, 15, 30):
        watched.has_written(count)
        act(running)


def test_many_requests_at_once_wake_a_machine_once_and_are_all_answered(running: Machine) -> None:
    running.post("suspend")
    before = len(running.http.get(f"{running.path}/events").json())
    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda number: running.exec(f"echo {number}")["stdout"], range(16)))
    assert done == [f"{number}\n" for number in range(16)]
    events = [it["message"] for it in running.http.get(f"{running.path}/events").json()][before:]
    assert sum(message.startswith("running") for message in events) == 1, events


def test_everything_at_once_is_done_or_refused_with_a_conflict(running: Machine) -> None:
    """Two wakes, a fork, a snapshot and a delete of a suspended machine."""
    running.post("suspend")
    calls = [("POST", "start"), ("POST", "resume"), ("POST", "branches"), ("POST", "checkpoints"), ("DELETE", "")]
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(lambda it: running.http.request(it[0], f"{running.path}/{it[1]}".rstrip("/")), calls))
    told = [(answer.status_code, answer.text) for answer in answers]
    assert all(status in (200, 201, 204, 404, 409) for status, _ in told), told
    assert told[-1][0] == 204, told
    assert running.http.get(running.path).status_code == 404
    for it in running.http.get("/v1/machines").json():
        if it["parentId"] == running.id:
            assert it["state"] in ("started", "deleted"), it
            running.http.delete(f"/v1/machines/{it['id']}")


def test_forks_at_once_have_all_their_names(running: Machine) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: running.post("branches/batch", {"count": 3}), range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
    clones = [clone for answer in answers for clone in answer.json()["clones"]]
    assert len({clone["name"] for clone in clones}) == len({clone["id"] for clone in clones}) == 12
    assert all(clone["ready"] for clone in clones)
    for clone in clones:
        running.http.delete(f"/v1/machines/{clone['id']}")
