"""Machines stood still, saved, copied, put back and grown, and waited for."""

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from hutch.api.smol import responses

from .conftest import Machine, create

NOT_RUNNING = ("pause", "suspend", "branches", "branches/batch", "fork", "fork-batch", "checkpoints")


@pytest.fixture
def running(machine: Machine) -> Machine:
    assert machine.post("start").json()["ready"]
    return machine


@pytest.fixture
def children(http: httpx.Client, running: Machine) -> Iterator[None]:
    """What a test makes of `running` is gone afterwards."""
    yield
    for it in http.get("/v1/machines").json():
        if it["parentId"] == running.id:
            http.delete(f"/v1/machines/{it['id']}")


def told(answer: httpx.Response, status: int = 200) -> dict[str, object]:
    """The machine that was answered."""
    assert answer.status_code == status, answer.text
    responses.Machine.model_validate_json(answer.content)
    shown: dict[str, object] = answer.json()
    return shown


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


@pytest.mark.parametrize("what", ["branches", "fork"])
@pytest.mark.usefixtures("children")
def test_a_branch_is_a_running_copy_and_the_source_goes_on(running: Machine, what: str) -> None:
    running.http.put(f"{running.path}/files/workspace/x", content=b"data")
    name = f"{what}-child-{running.id[-6:]}"
    child = told(running.post(what, {"name": name, "ports": [], "branchable": True}), 201)
    assert (child["name"], child["state"], child["ready"], child["parentId"]) == (name, "started", True, running.id)
    assert (child["branchable"], child["forkable"], child["capabilities"]) == (
        True,
        True,
        {"exec": True, "branch": True},
    )
    assert running.http.get(f"/v1/machines/{child['id']}/files/workspace/x").content == b"data"
    assert state(running) == ("started", "running")
    running.http.put(f"{running.path}/files/workspace/x", content=b"other")
    assert running.http.get(f"/v1/machines/{child['id']}/files/workspace/x").content == b"data"


@pytest.mark.usefixtures("children")
def test_a_branch_needs_no_body_and_a_child_can_be_branched(running: Machine) -> None:
    child = told(running.http.post(f"{running.path}/branches"), 201)
    assert child["name"]
    grandchild = told(running.http.post(f"/v1/machines/{child['id']}/branches"), 201)
    assert grandchild["parentId"] == child["id"]
    running.http.delete(f"/v1/machines/{grandchild['id']}")


@pytest.mark.parametrize("what", ["branches/batch", "fork-batch"])
@pytest.mark.usefixtures("children")
def test_a_batch_is_all_of_its_branches(running: Machine, what: str) -> None:
    prefix = f"w{what[0]}{running.id[-6:]}"
    answer = running.post(what, {"count": 3, "namePrefix": prefix, "ports": []})
    assert answer.status_code == 201, answer.text
    clones = responses.Branches.model_validate_json(answer.content).clones
    assert [it.name for it in clones] == [f"{prefix}-1", f"{prefix}-2", f"{prefix}-3"]
    assert all(it.ready and it.parent_id == running.id for it in clones)
    assert len({it.id for it in clones}) == 3
    named = running.post(what, {"names": [f"{prefix}-a", f"{prefix}-b"]}).json()["clones"]
    assert [it["name"] for it in named] == [f"{prefix}-a", f"{prefix}-b"]


@pytest.mark.usefixtures("children")
def test_a_batch_with_a_name_that_is_taken_makes_none(running: Machine) -> None:
    before = len(running.http.get("/v1/machines").json())
    taken = running.look()["name"]
    answer = running.post("branches/batch", {"names": [f"free-{running.id[-6:]}", taken]})
    assert (answer.status_code, taken in answer.text) == (409, True)
    assert len(running.http.get("/v1/machines").json()) == before


@pytest.mark.usefixtures("children")
def test_a_frozen_source_is_suspended_once_its_branches_run(running: Machine) -> None:
    child = told(running.post("branches", {"freezeSource": True}), 201)
    assert child["ready"]
    assert state(running) == ("paused", "suspended")
    again = told(running.post("branches", {"freezeSource": True}), 201)
    assert again["ready"]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"count": 0}, 400, "count"),
        ({"count": 65}, 400, "count"),
        ({"count": -1}, 422, "count"),
        ({"count": "two"}, 422, "count"),
        ({"count": 3, "names": ["only-one"]}, 400, "name"),
        ({"names": ["twice", "twice"]}, 400, "names"),
        ({"names": ["sp ace"]}, 400, "sp ace"),
        ({"names": "one"}, 422, "names"),
        ({"namePrefix": "-"}, 400, "name"),
        ({"ports": [{"port": 80, "hostPort": 0}]}, 501, "ports: "),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(running: Machine, body: object, status: int, named: str) -> None:
    before = len(running.http.get("/v1/machines").json())
    answer = running.post("branches/batch", body)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text
    assert len(running.http.get("/v1/machines").json()) == before


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
        ({"cpus": 2}, 501, "cpus: "),
        ({"memoryMb": 1024, "diskGb": 30}, 501, "memoryMb: "),
    ],
)
def test_a_resize_that_cannot_be_is_refused_and_changes_nothing(
    machine: Machine, body: object, status: int, named: str
) -> None:
    answer = machine.post("resize", body)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text
    assert machine.look()["resources"] == {"cpus": 1, "memoryMb": 512, "diskGb": 20}


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
    assert time.monotonic() - began < 5


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
