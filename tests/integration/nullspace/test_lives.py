"""What becomes of machines: leases, hibernation, copies, snapshots; over plain HTTP."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from hutch.api.nullspace import responses

from .conftest import Machine, create, refused, told


def wait(condition: Callable[[], bool], limit: float = 10) -> None:
    until = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def snapshot(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """A snapshot, which fits its document and has nothing that the documented client does not know."""
    assert answer.status_code == status, answer.text
    responses.Snapshot.model_validate_json(answer.content)
    shown: dict[str, Any] = answer.json()
    assert shown.keys() == {"id", "machine_id", "size_bytes", "created_at", "metadata"}
    return shown


def test_a_lease_that_is_set_counts_from_now(machine: Machine) -> None:
    answer = machine.post("timeout", {"timeout_ms": 900_000, "timeout_action": "hibernate"})
    assert answer.status_code == 200, answer.text
    lease = responses.Lease.model_validate_json(answer.content)
    assert (lease.timeout_ms, lease.timeout_action) == (900_000, "hibernate")
    assert lease.remaining_ms is not None
    assert 895_000 < lease.remaining_ms <= 900_000
    assert lease.timeout_at
    ends = datetime.fromisoformat(lease.timeout_at.replace("Z", "+00:00"))
    assert 895 < (ends - datetime.now(UTC)).total_seconds() <= 900
    it = machine.look()
    assert (it["timeout_ms"], it["timeout_action"], it["timeout_at"]) == (900_000, "hibernate", lease.timeout_at)
    again = machine.post("timeout", {"timeout_ms": 60_000}).json()
    assert (again["timeout_ms"], again["timeout_action"]) == (60_000, "hibernate")


@pytest.mark.parametrize("body", [{}, {"timeout_ms": "1"}, {"timeout_ms": 0}, {"timeout_ms": 1, "timeout_action": "x"}])
def test_a_lease_that_makes_no_sense_is_refused(machine: Machine, body: dict[str, Any]) -> None:
    refused(machine.post("timeout", body), 400, "invalid_request")


def test_a_lease_that_ends_destroys(http: httpx.Client) -> None:
    id = told(create(http, timeout_ms=1), 201)["id"]
    wait(lambda: http.get(f"/v1/machines/{id}").status_code == 404)


def test_a_lease_that_ends_hibernates_if_that_was_said(http: httpx.Client) -> None:
    machine = Machine(http, told(create(http, timeout_ms=1000, lifecycle={"on_timeout": "pause"}), 201)["id"])
    wait(lambda: machine.look()["status"] == "paused")
    it = machine.look()
    assert it["snapshot_id"] == "snap_" + machine.id.removeprefix("mch_")
    assert not {"timeout_at", "expires_at", "remaining_ms"} & it.keys()
    assert machine.post("timeout", {"timeout_ms": 60_000}).json()["timeout_ms"] == 60_000
    assert told(machine.post("resume"))["remaining_ms"] > 50_000
    http.delete(machine.path)


def test_idle_time_ends_with_the_same_action(http: httpx.Client) -> None:
    fields = {"inactivity_timeout_ms": 1000, "timeout_action": "hibernate"}
    machine = Machine(http, told(create(http, **fields), 201)["id"])
    wait(lambda: machine.look()["status"] == "paused")
    http.delete(machine.path)


def test_what_is_hibernated_too_long_is_deleted(http: httpx.Client) -> None:
    machine = Machine(http, told(create(http, auto_delete_after_ms=1000), 201)["id"])
    machine.post("hibernate")
    wait(lambda: http.get(machine.path).status_code == 404)


def test_a_hibernated_machine_is_resumed_under_its_id_and_its_processes_go_on(machine: Machine) -> None:
    pid = machine.exec("sleep 1000", background=True)["pid"]
    saved = snapshot(machine.post("hibernate"))
    assert saved["size_bytes"] > 0
    assert saved in machine.http.get("/v1/snapshots").json()
    it = machine.look()
    assert (saved["machine_id"], it["status"], it["snapshot_id"]) == (machine.id, "paused", saved["id"])
    assert snapshot(machine.http.get(f"/v1/snapshots/{saved['id']}")) == saved
    refused(machine.http.delete(f"/v1/snapshots/{saved['id']}"), 409, "snapshot_in_use")
    back = told(machine.post("resume"))
    assert (back["id"], back["status"], "snapshot_id" in back) == (machine.id, "running", False)
    assert machine.exec(f"kill -0 {pid}")["exit_code"] == 0
    refused(machine.http.get(f"/v1/snapshots/{saved['id']}"), 404, "snapshot_not_found")


def test_it_is_resumed_by_its_snapshots_id_too(machine: Machine) -> None:
    saved = snapshot(machine.post("hibernate"))
    assert told(machine.http.post(f"/v1/machines/{saved['id']}/resume"))["id"] == machine.id
    kept = snapshot(machine.post("snapshots"), 201)
    machine.post("hibernate")
    assert told(machine.http.post(f"/v1/machines/{kept['id']}/resume"))["id"] == machine.id
    machine.http.delete(f"/v1/snapshots/{kept['id']}")


def test_resuming_what_runs_and_hibernating_what_sleeps_change_nothing(machine: Machine) -> None:
    assert told(machine.post("resume"))["status"] == "running"
    assert snapshot(machine.post("hibernate")) == snapshot(machine.post("hibernate"))


def test_any_use_wakes_it(machine: Machine) -> None:
    machine.post("hibernate")
    assert machine.exec("echo back")["stdout"] == "back\n"
    assert machine.look()["status"] == "running"


def test_a_fork_is_a_running_copy(machine: Machine) -> None:
    machine.exec("echo kept > file", shell=True)
    copy = Machine(machine.http, told(machine.post("fork"), 201)["id"])
    assert copy.id != machine.id
    assert copy.exec("cat file")["stdout"] == "kept\n"
    assert machine.look()["status"] == "running"
    assert copy.look()["timeout_ms"] == 300_000
    machine.http.delete(copy.path)


def test_snapshots_are_made_listed_used_and_dropped(machine: Machine) -> None:
    machine.exec("echo then > file", shell=True)
    kept = snapshot(machine.post("snapshots"), 201)
    assert kept["id"].startswith("snap_")
    assert kept["machine_id"] == machine.id
    machine.exec("echo now > file", shell=True)
    assert snapshot(machine.http.get(f"/v1/snapshots/{kept['id']}")) == kept
    bare = kept["id"].removeprefix("snap_")
    assert snapshot(machine.http.get(f"/v1/snapshots/{bare}")) == kept
    for made_of in ({"snapshot_id": kept["id"]}, {"template": kept["id"]}, {"template": bare}):
        again = Machine(machine.http, told(create(machine.http, **made_of), 201)["id"])
        assert again.look()["template"] == kept["id"]
        assert again.exec("cat file")["stdout"] == "then\n"
        machine.http.delete(again.path)
    answer = machine.http.delete(f"/v1/snapshots/{kept['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    refused(machine.http.get(f"/v1/snapshots/{kept['id']}"), 404, "snapshot_not_found")
    refused(machine.http.delete(f"/v1/snapshots/{kept['id']}"), 404, "snapshot_not_found")


def test_a_snapshot_keeps_what_was_said_of_it_or_of_its_machine(http: httpx.Client) -> None:
    machine = Machine(http, told(create(http, metadata={"of": "machine"}), 201)["id"])
    plain = snapshot(machine.post("snapshots"), 201)
    own = snapshot(machine.post("snapshots", {"metadata": {"of": "snapshot", "n": [1]}}), 201)
    none = snapshot(machine.post("snapshots", {"metadata": {}}), 201)
    http.delete(machine.path)
    for one, its in ((plain, {"of": "machine"}), (own, {"of": "snapshot", "n": [1]}), (none, {})):
        assert one["metadata"] == snapshot(http.get(f"/v1/snapshots/{one['id']}"))["metadata"] == its
        http.delete(f"/v1/snapshots/{one['id']}")
    refused(machine.post("snapshots", {"metadata": "x"}), 400, "invalid_request")


def test_snapshots_are_listed_by_machine_and_metadata(http: httpx.Client) -> None:
    run = uuid.uuid4().hex
    machines = [Machine(http, told(create(http, metadata={"run": run, "n": n}), 201)["id"]) for n in range(2)]
    kept = [snapshot(it.post("snapshots"), 201) for it in machines]
    asleep = snapshot(machines[0].post("hibernate"))

    def found(**query: str) -> list[str]:
        return [it["id"] for it in http.get("/v1/snapshots", params=query).json()]

    assert found()[:3] == [asleep["id"], kept[1]["id"], kept[0]["id"]]
    assert found(machine_id=machines[0].id) == [asleep["id"], kept[0]["id"]]
    assert found(metadata=f'{{"run":"{run}","n":1}}') == [kept[1]["id"]]
    refused(http.get("/v1/snapshots", params={"machine_id": "mch_nope"}), 404, "machine_not_found")
    refused(http.get("/v1/snapshots", params={"metadata": "x"}), 400, "invalid_request")
    for it in machines:
        http.delete(it.path)
    assert {snapshot_id for snapshot_id in found() if snapshot_id in (kept[0]["id"], kept[1]["id"])}
    for one in kept:
        http.delete(f"/v1/snapshots/{one['id']}")


@pytest.mark.parametrize("verb", ["hibernate", "resume", "fork", "snapshots"])
def test_of_no_machine_nothing_is_made(http: httpx.Client, verb: str) -> None:
    refused(http.post(f"/v1/machines/mch_{'a' * 20}/{verb}"), 404, "machine_not_found")


def test_what_a_state_does_not_allow_is_a_conflict(service: Any, machine: Machine) -> None:
    smol = httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {service.key}"}, trust_env=False)
    with smol:
        smol.post(f"/v1/machines/mach-{machine.id.removeprefix('mch_')}/stop")
    assert machine.look()["status"] == "paused"
    refused(machine.post("hibernate"), 409, "transition_conflict")
    refused(machine.post("snapshots"), 409, "machine_not_ready")
    refused(machine.http.get(f"{machine.path}/metrics"), 409, "machine_not_ready")
    assert told(machine.post("resume"))["status"] == "running"
