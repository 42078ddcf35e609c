"""Machines stood still, saved, put back and grown."""

import httpx
import pytest

from .conftest import Machine, create, told

NOT_RUNNING = ("pause", "suspend", "branches", "branches/batch", "fork", "fork-batch", "checkpoints")


def state(machine: Machine) -> tuple[str, str]:
    shown = machine.look()
    return shown["state"], shown["stateDetail"]


@pytest.mark.parametrize(
    ("what", "body", "detail"),
    [
        ("pause", None, "suspended"),
        ("pause", {}, "suspended"),
        ("pause", {"keepMemory": None}, "suspended"),
        ("pause", {"keepMemory": False}, "suspended"),
        ("pause", {"keepMemory": True}, "paused"),
        ("suspend", None, "suspended"),
    ],
)
def test_a_machine_stands_still_and_goes_on_with_its_processes(
    running: Machine, what: str, body: object, detail: str
) -> None:
    process = running.exec("sleep 1000", background=True)["processId"]
    shown = told(running.post(what, body))
    assert (shown["state"], shown["stateDetail"], shown["ready"]) == ("paused", detail, False)
    assert state(running) == ("paused", detail)
    assert told(running.post(what, body))["stateDetail"] == detail
    assert (told(running.post("resume"))["ready"], state(running)) == (True, ("started", "running"))
    (listed,) = running.http.get(f"{running.path}/processes").json()
    assert (listed["id"], listed["exit"]) == (process, None)


def test_a_suspended_machine_is_started_too_and_says_since_when_it_was_suspended(running: Machine) -> None:
    assert running.look()["suspendedAt"] is None
    assert told(running.post("suspend"))["suspendedAt"]
    shown = told(running.post("start"))
    assert (shown["ready"], shown["suspendedAt"]) == (True, None)


def test_using_a_suspended_machine_wakes_it_and_looking_does_not(running: Machine) -> None:
    running.post("suspend")
    for what in ("", "/events", "/logs", "/processes", "/checkpoints"):
        assert running.http.get(f"{running.path}{what}").status_code == 200
    assert state(running) == ("paused", "suspended")
    assert running.exec("echo awake")["stdout"] == "awake\n"
    assert state(running) == ("started", "running")


def test_using_or_starting_a_paused_machine_lets_it_go_on(running: Machine) -> None:
    running.post("pause", {"keepMemory": True})
    assert running.exec("echo awake")["stdout"] == "awake\n"
    running.post("pause", {"keepMemory": True})
    assert told(running.post("start"))["ready"]


def test_a_machine_that_stands_still_can_be_stopped_and_loses_its_processes(running: Machine) -> None:
    for how in ({"keepMemory": True}, {}):
        running.exec("sleep 1000", background=True)
        running.post("pause", how)
        assert told(running.post("stop"))["state"] == "stopped"
        assert told(running.post("start"))["ready"]
        assert running.http.get(f"{running.path}/processes").json() == []


def test_resuming_a_stopped_machine_starts_it(machine: Machine) -> None:
    assert told(machine.post("resume"))["ready"]


def test_an_ephemeral_machine_that_is_suspended_is_deleted(http: httpx.Client) -> None:
    path = f"/v1/machines/{create(http, ephemeral=True).json()['id']}"
    http.post(f"{path}/start")
    assert told(http.post(f"{path}/suspend"))["state"] == "deleted"
    assert http.get(path).status_code == 404


@pytest.mark.parametrize("what", NOT_RUNNING)
def test_what_needs_memory_is_409_without_and_names_the_state(machine: Machine, what: str) -> None:
    answer = machine.post(what)
    assert answer.status_code == 409, answer.text
    assert "stopped" in answer.text
    assert machine.look()["state"] == "stopped"


@pytest.mark.parametrize("what", [*NOT_RUNNING, "resume", "rollback", "resize", "wait"])
@pytest.mark.parametrize("id", ["mach-aaaaaaaaaaaaaaaaaaaa", "no-such-name"])
def test_an_unknown_machine_is_404(http: httpx.Client, what: str, id: str) -> None:
    bodies = {"rollback": {"checkpoint": "ckpt-aaaaaaaaaaaaaaaaaaaa"}, "resize": {"diskGb": 30}}
    method = "GET" if what == "wait" else "POST"
    answer = http.request(method, f"/v1/machines/{id}/{what}", json=bodies.get(what, {}))
    assert (answer.status_code, answer.text) == (404, "machine not found")


def test_a_machine_goes_back_to_its_checkpoint(running: Machine) -> None:
    running.http.put(f"{running.path}/files/workspace/x", content=b"before")
    checkpoint = running.post("checkpoints").json()
    running.http.put(f"{running.path}/files/workspace/x", content=b"after")
    for called in (checkpoint["id"], checkpoint["name"], checkpoint["id"].removeprefix("ckpt-")):
        shown = told(running.post("rollback", {"checkpoint": called}))
        assert (shown["id"], shown["ready"]) == (running.id, True)
        assert running.http.get(f"{running.path}/files/workspace/x").content == b"before"
    running.post("suspend")
    assert told(running.post("rollback", {"checkpoint": checkpoint["id"]}))["stateDetail"] == "suspended"
    running.http.delete(f"/v1/checkpoints/{checkpoint['id']}")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"checkpoint": None}, 422),
        ({"checkpoint": "none"}, 404),
        ({"checkpoint": "ckpt-aaaaaaaaaaaaaaaaaaaa"}, 404),
    ],
)
def test_a_rollback_to_nothing_is_refused(running: Machine, body: object, status: int) -> None:
    assert running.post("rollback", body).status_code == status
    assert state(running) == ("started", "running")


def test_a_machine_does_not_go_back_to_another_ones_checkpoint(http: httpx.Client, running: Machine) -> None:
    other = create(http).json()["id"]
    checkpoint = running.post("checkpoints").json()["id"]
    answer = http.post(f"/v1/machines/{other}/rollback", json={"checkpoint": checkpoint})
    assert answer.status_code == 400, answer.text
    for path in (f"/v1/machines/{other}", f"/v1/checkpoints/{checkpoint}"):
        assert http.delete(path).status_code == 204


def test_a_machine_is_given_other_cpus_and_memory_and_runs_on(running: Machine) -> None:
    running.exec("echo kept >workspace/file")
    shown = told(running.post("resize", {"cpus": 2, "memoryMb": 256}))
    assert (shown["resources"], shown["state"]) == ({"cpus": 2, "memoryMb": 256, "diskGb": 20}, "started")
    assert running.exec("cat workspace/file")["stdout"] == "kept\n"


def test_one_is_ended_at_once(running: Machine) -> None:
    assert told(running.post("kill"))["state"] == "stopped"
    assert told(running.post("kill"))["state"] == "stopped"


def test_a_disk_grows_and_the_rest_stays(running: Machine) -> None:
    assert told(running.post("resize", {"diskGb": 30}))["resources"] == {"cpus": 1, "memoryMb": 512, "diskGb": 30}
    assert told(running.post("resize", {"cpus": 1, "memoryMb": 512, "diskGb": 31}))["resources"] == {
        "cpus": 1,
        "memoryMb": 512,
        "diskGb": 31,
    }
    assert told(running.post("resize", {}))["resources"] == running.look()["resources"]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"diskGb": 1}, 400, "disk"),
        ({"diskGb": 0}, 400, "disk"),
        ({"diskGb": "30"}, 422, "diskGb"),
        ({"cpus": 0}, 400, "cpus"),
        ({"cpus": 4096}, 422, "vCPUs"),
        ({"memoryMb": 1, "diskGb": 30}, 400, "memory"),
    ],
)
def test_a_resize_that_cannot_be_is_refused_and_changes_nothing(
    machine: Machine, body: object, status: int, named: str
) -> None:
    answer = machine.post("resize", body)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text
    assert machine.look()["resources"] == {"cpus": 1, "memoryMb": 512, "diskGb": 20}
