"""What becomes of a machine without anybody asking, and waiting for what becomes of it."""

import threading
import time

import httpx
import pytest

from .conftest import Machine, create, told


def test_waiting_ends_when_the_machine_is_in_the_state(machine: Machine) -> None:
    answers: list[httpx.Response] = []
    url = f"{machine.http.base_url}{machine.path}/wait?state=running&timeout=20"
    headers = {"authorization": machine.http.headers["authorization"]}
    waiting = threading.Thread(
        target=lambda: answers.append(httpx.get(url, headers=headers, trust_env=False, timeout=30))
    )
    waiting.start()
    machine.post("start")
    waiting.join()
    assert (told(answers[0])["stateDetail"], answers[0].json()["ready"]) == ("running", True)


def test_waiting_is_for_any_of_several_states_and_for_running_unless_said(running: Machine) -> None:
    assert told(running.http.get(f"{running.path}/wait"))["stateDetail"] == "running"
    running.post("suspend")
    both = f"{running.path}/wait?state=suspended&state=stopped&timeout=5"
    assert told(running.http.get(both))["stateDetail"] == "suspended"


def test_waiting_in_vain_is_504_and_says_what_it_is_instead(machine: Machine) -> None:
    began = time.monotonic()
    answer = machine.http.get(f"{machine.path}/wait?state=suspended&timeout=0.2")
    assert answer.status_code == 504
    assert "stopped" in answer.text
    assert 0.2 <= time.monotonic() - began < 60


def test_waiting_for_a_machine_that_is_deleted_is_404(http: httpx.Client) -> None:
    made = create(http).json()["id"]
    timer = threading.Timer(0.2, lambda: httpx.delete(f"{http.base_url}/v1/machines/{made}", headers=http.headers))
    timer.start()
    assert http.get(f"/v1/machines/{made}/wait?state=running&timeout=20").status_code == 404
    timer.join()


@pytest.mark.parametrize(
    "query", ["state=sleeping", "state=", "timeout=-1", "timeout=4000", "timeout=soon", "timeout=nan", "state=started"]
)
def test_a_wait_that_makes_no_sense_is_400(machine: Machine, query: str) -> None:
    answer = machine.http.get(f"{machine.path}/wait?{query}")
    assert answer.status_code == 400
    assert answer.text.startswith("Failed to deserialize query string: ")


def test_what_becomes_of_a_machine_is_told_with_the_time_that_is_left(http: httpx.Client) -> None:
    made = told(
        create(
            http,
            autoStopSeconds=300,
            idleAction="suspend",
            ttlSeconds=3600,
            lifetimeAction="stop",
            deleteAfterSuspendedSeconds=60,
            persistence={"type": "sticky", "priority": 3},
        ),
        201,
    )
    assert (made["idleAction"], made["lifetimeAction"], made["deleteAfterSuspendedSeconds"]) == ("suspend", "stop", 60)
    assert (made["persistence"], made["ephemeral"]) == ({"type": "sticky", "priority": 3}, False)
    assert "timers" not in made
    path = f"/v1/machines/{made['id']}"
    http.post(f"{path}/start")
    left = http.get(path).json()["timers"]
    assert 290 < left["idleRemainingSeconds"] <= 300
    assert 3590 < left["lifetimeRemainingSeconds"] <= 3600
    assert left["suspendedRemainingSeconds"] is None
    http.post(f"{path}/suspend")
    left = http.get(path).json()["timers"]
    assert left["idleRemainingSeconds"] is None
    assert 50 < left["suspendedRemainingSeconds"] <= 60
    http.delete(path)


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"idleAction": "sleep"}, 422, "idleAction"),
        ({"lifetimeAction": 5}, 422, "lifetimeAction"),
        ({"deleteAfterSuspendedSeconds": 0}, 400, "suspended"),
        ({"persistence": "sticky"}, 422, "persistence"),
        ({"persistence": {"type": "forever"}}, 422, "persistence.type"),
        ({"persistence": {"type": "sticky", "priority": 11}}, 400, "priority"),
        ({"persistence": {"type": "persistent", "priority": 1}}, 400, "persistence.priority"),
        ({"persistence": {"type": "sticky"}, "ephemeral": True}, 400, "ephemeral"),
    ],
)
def test_a_life_that_makes_no_sense_is_refused(
    http: httpx.Client, fields: dict[str, object], status: int, named: str
) -> None:
    answer = create(http, **fields)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text


def test_an_idle_machine_is_suspended_if_that_was_asked_for(http: httpx.Client) -> None:
    path = f"/v1/machines/{create(http, autoStopSeconds=1, idleAction='suspend').json()['id']}"
    http.post(f"{path}/start")
    assert told(http.get(f"{path}/wait?state=suspended&timeout=20"))["state"] == "paused"
    http.delete(path)
