"""Machines: made, looked at, listed, deleted, and their states; over plain HTTP."""

import threading
from typing import Any

import httpx
import pytest

from hutch.api.hyperfleet import parse, requests, states
from hutch.model.network import PublishedPort

from .conftest import Machine, create, refused, told

VERBS = ("start", "stop", "restart", "pause", "resume")


def test_a_new_machine_is_pending_and_has_every_documented_field(http: httpx.Client) -> None:
    it = told(create(http, name="web-server", vcpu_count=2, mem_size_mib=512, exposed_ports=[8080, 443]), 201)
    assert {name: it[name] for name in ("name", "status", "vcpu_count", "mem_size_mib")} == {
        **{"name": "web-server", "status": "pending", "vcpu_count": 2, "mem_size_mib": 512},
    }
    assert it["exposed_ports"] == [8080, 443], "in the order in which they were given, as the document's are"
    assert it["kernel_image_path"]
    assert it["kernel_args"]
    assert it["rootfs_path"].endswith(it["id"])
    assert it["created_at"] <= it["updated_at"]
    assert not {"pid", "guest_ip", "error_message"} & it.keys()
    assert http.delete(f"/machines/{it['id']}").status_code == 204


def test_its_process_and_its_network_are_told_while_it_has_them(running: Machine) -> None:
    it = running.look()
    assert it["pid"] > 0
    assert it["guest_ip"]
    assert it["guest_mac"]
    told(running.post("stop"))
    assert not {"pid", "guest_ip", "guest_mac"} & running.look().keys()


def test_the_life_of_a_machine(machine: Machine) -> None:
    assert machine.look()["status"] == "pending"
    for verb, status in (
        *(("start", "running"), ("restart", "running"), ("pause", "paused"), ("resume", "running")),
        *(("stop", "stopped"), ("start", "running"), ("pause", "paused"), ("stop", "stopped")),
    ):
        assert told(machine.post(verb))["status"] == status
        assert machine.look()["status"] == status
    assert machine.http.delete(machine.path).status_code == 204
    assert refused(machine.http.get(machine.path), 404, "NOT_FOUND") == f"Machine with id '{machine.id}' not found"


@pytest.mark.parametrize(
    ("before", "status", "allowed"),
    [
        ((), "pending", {"start"}),
        (("start",), "running", {"stop", "restart", "pause"}),
        (("start", "pause"), "paused", {"stop", "resume"}),
        (("start", "stop"), "stopped", {"start"}),
    ],
)
def test_the_documented_matrix(machine: Machine, before: tuple[str, ...], status: str, allowed: set[str]) -> None:
    for verb in before:
        told(machine.post(verb))
    for verb in set(VERBS) - allowed:
        assert refused(machine.post(verb), 400, "BAD_REQUEST") == f"Cannot {verb} machine in '{status}' state"
    if status not in ("pending", "stopped"):
        words = refused(machine.http.delete(machine.path), 400, "BAD_REQUEST")
        assert words == f"Cannot delete machine in '{status}' state"
    assert machine.look()["status"] == status


def test_the_table_of_states_says_what_the_matrix_does() -> None:
    assert set(states.ALLOWED) == {*VERBS, "delete"}
    assert set(states.STATES.values()) == set(states.STATUSES)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vcpu_count": 0}, "vcpu_count must be at least 1"),
        ({"mem_size_mib": 3}, "mem_size_mib must be at least 4"),
        ({"vcpu_count": None}, "vcpu_count must be an integer"),
        ({"vcpu_count": "2"}, "vcpu_count must be an integer"),
        ({"vcpu_count": 1.5}, "vcpu_count must be an integer"),
        ({"name": ""}, "name must not be empty"),
        ({"name": 7}, "name must be a string"),
        ({"exposed_ports": [0]}, "exposed_ports.0 must be at least 1"),
        ({"exposed_ports": [65536]}, "exposed_ports.0 must be at most 65535"),
        ({"exposed_ports": 80}, "exposed_ports must be an array"),
        ({"exposed_ports": [80, 80]}, "ports: 80 is given twice"),
        ({"image_size_mib": 63}, "image_size_mib must be at least 64"),
        ({"name": "no spaces please"}, "name 'no spaces please': use 1 to 63"),
    ],
)
def test_what_makes_no_sense_is_told_by_name(http: httpx.Client, changes: dict[str, Any], words: str) -> None:
    assert refused(create(http, **changes), 400, "VALIDATION_ERROR").startswith(words)


@pytest.mark.parametrize("field", ["name", "vcpu_count", "mem_size_mib"])
def test_what_is_required_is_required(http: httpx.Client, field: str) -> None:
    body = {"name": "x", "vcpu_count": 1, "mem_size_mib": 128}
    del body[field]
    assert refused(http.post("/machines", json=body), 400, "VALIDATION_ERROR") == f"{field} is required"
    assert "not JSON" in refused(http.post("/machines", content=b"{"), 400, "VALIDATION_ERROR")


def test_less_memory_than_a_guest_needs_is_as_much_as_it_needs(http: httpx.Client) -> None:
    it = told(create(http, mem_size_mib=4), 201)
    assert it["mem_size_mib"] == 64
    http.delete(f"/machines/{it['id']}")


def test_a_name_is_had_once(http: httpx.Client, machine: Machine) -> None:
    assert machine.look()["name"] in refused(create(http, name=machine.look()["name"]), 409, "CONFLICT")


def test_fields_of_the_services_code_act_or_are_refused_by_name(http: httpx.Client) -> None:
    paths = {"kernel_image_path": "/k", "kernel_args": "x", "rootfs_path": "/r"}
    sent: dict[str, Any] = {"image": "alpine", "image_size_mib": 3000, "network": {"enable": False}, **paths}
    it = told(create(http, **sent), 201)
    assert it["kernel_image_path"] != "/k"
    native = http.get(f"/smol/v1/machines/{it['id']}").json()
    assert (native["source"]["reference"], native["resources"]["diskGb"]) == ("alpine", 3)
    assert native["network"]["mode"] == "blocked"
    http.delete(f"/machines/{it['id']}")
    for field, value in (("registry_auth", {"username": "u"}), ("network", {"guest_ip": "10.0.0.1"})):
        assert refused(create(http, **{field: value}), 501, "NOT_IMPLEMENTED").startswith(field)
    assert "nowhere" in refused(create(http, image="nowhere"), 400, "BAD_REQUEST")


def test_exposed_ports_are_public_ports_of_the_proxy() -> None:
    body = requests.CreateMachine(name="x", vcpu_count=1, mem_size_mib=128, exposed_ports=[8080])
    assert parse.machine_request(body, 64).ports == (PublishedPort(8080, is_public=True),)


def test_lists_are_filtered_and_paged_and_counted(http: httpx.Client) -> None:
    made = [told(create(http), 201)["id"] for _ in range(3)]
    told(http.post(f"/machines/{made[1]}/start"))
    newest_first = made[::-1]
    everything = http.get("/machines").json()
    assert [it["id"] for it in everything["machines"]][:3] == newest_first
    assert set(everything["machines"][0]) == {"id", "name", "status", "vcpu_count", "mem_size_mib", "created_at"}
    total = everything["total"]
    page = http.get("/machines", params={"limit": 2, "offset": 1}).json()
    assert ([it["id"] for it in page["machines"]][:2], page["total"]) == (newest_first[1:3], total)
    running = http.get("/machines", params={"status": "running", "limit": 1}).json()
    assert ([it["id"] for it in running["machines"]], running["total"]) == ([made[1]], 1)
    assert http.get("/machines", params={"offset": 10_000}).json() == {"machines": [], "total": total}
    for query in ({"status": "flying"}, {"limit": 0}, {"limit": "x"}, {"offset": -1}):
        refused(http.get("/machines", params=query), 400, "VALIDATION_ERROR")
    http.post(f"/machines/{made[1]}/stop")
    for id in made:
        http.delete(f"/machines/{id}")


def test_a_wait_is_answered_when_the_status_is_there(machine: Machine) -> None:
    answers: list[httpx.Response] = []
    asked = {"params": {"status": "running", "timeout": 30}}
    waiting = threading.Thread(target=lambda: answers.append(machine.http.get(f"{machine.path}/wait", **asked)))
    waiting.start()
    told(machine.post("start"))
    waiting.join(30)
    assert told(answers[0])["status"] == "running"


def test_a_wait_ends_in_time_and_tells_pending_from_stopped(machine: Machine) -> None:
    wait = f"{machine.path}/wait"
    assert told(machine.http.get(wait, params={"status": "pending"}))["status"] == "pending"
    words = refused(machine.http.get(wait, params={"status": "stopped", "timeout": 0}), 504, "TIMEOUT")
    assert words == f"Timed out waiting for machine {machine.id} to reach status stopped"
    for query, told_of in (
        ({"status": "running", "timeout": 31}, "timeout must be at most 30"),
        ({"status": "running", "timeout": "x"}, "timeout must be an integer"),
        ({}, "status is required"),
        ({"status": "flying"}, "status must be one of pending, starting"),
    ):
        assert refused(machine.http.get(wait, params=query), 400, "VALIDATION_ERROR").startswith(told_of)


def test_nothing_is_there_for_an_unknown_id(http: httpx.Client) -> None:
    for method, what in (("GET", ""), ("DELETE", ""), ("POST", "/start"), ("GET", "/wait?status=running")):
        answer = http.request(method, f"/machines/abc123xyz{what}")
        assert refused(answer, 404, "NOT_FOUND") == "Machine with id 'abc123xyz' not found"


def test_a_correlation_id_is_on_every_answer_if_it_is_plain(http: httpx.Client, key: str) -> None:
    for path, headers in (("/machines", {}), ("/machines/x", {}), ("/machines", {"authorization": ""})):
        answer = http.get(path, headers={"X-Correlation-ID": "abc-123", **headers})
        assert answer.headers["x-correlation-id"] == "abc-123"
    assert "x-correlation-id" not in http.get("/machines", headers={"X-Correlation-ID": "a b"}).headers
    assert "x-correlation-id" not in http.get("/machines").headers


def test_at_the_root_its_paths_are_its_own_and_its_key_decides_on_health(http: httpx.Client, service: Any) -> None:
    assert http.get("/health").json() == {"status": "ok"}
    assert httpx.get(f"{service.url}/hyperfleet/health", trust_env=False).json() == {"status": "ok"}
    assert "clusterId" in httpx.get(f"{service.url}/health", trust_env=False).json()
    assert http.get("/docs/json").json()["info"]["title"] == "Hutch, hyperfleet dialect"
    assert http.get("/v1/machines").status_code == 200
    assert httpx.get(f"{service.url}/machines", trust_env=False).json()["error"]["code"] == "UNAUTHORIZED"
    assert refused(http.get("/hyperfleet/nowhere"), 404, "NOT_FOUND")
    assert refused(http.put("/machines"), 405, "VALIDATION_ERROR")


def test_machines_are_the_same_in_every_dialect(http: httpx.Client, running: Machine) -> None:
    assert http.get(f"/smol/v1/machines/mach-{running.id}").json()["state"] == "started"
    assert http.get(f"/starpod/api/instances/inst_{running.id}").json()["status"] == "running"
    http.post(f"/smol/v1/machines/{running.id}/suspend")
    assert running.look()["status"] == "paused"
    assert told(running.post("resume"))["status"] == "running"
