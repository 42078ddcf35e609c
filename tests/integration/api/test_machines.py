"""The life of a machine, as smol documents it."""

import re

import httpx
import pytest

from hutch.api.smol import responses

from .conftest import Machine, create


def test_a_new_machine_is_stopped_and_is_told_whole(http: httpx.Client) -> None:
    made = create(
        http,
        name="whole",
        resources={"cpus": 2, "memoryMb": 256, "diskGb": 9},
        network={"mode": "blocked"},
        env={"APP_ENV": "production"},
        workdir="/workspace",
        autoStopSeconds=300,
        ttlSeconds=3600,
        labels={"team": "x"},
    )
    assert made.status_code == 201
    assert made.headers["content-type"] == "application/json"
    shown = made.json()
    responses.Machine.model_validate_json(made.content)
    assert re.fullmatch(r"mach-[a-z0-9]{20}", shown["id"])
    assert (shown["name"], shown["state"], shown["ready"], shown["ephemeral"]) == ("whole", "stopped", False, False)
    assert shown["resources"] == {"cpus": 2, "memoryMb": 256, "diskGb": 9}
    assert (shown["network"], shown["env"]) == ({"mode": "blocked"}, {"APP_ENV": "production"})
    assert (shown["workdir"], shown["autoStopSeconds"], shown["ttlSeconds"]) == ("/workspace", 300, 3600)
    found = http.get(f"/v1/machines/{shown['id']}").json()
    assert found.pop("timers")
    assert found == shown
    assert http.delete(f"/v1/machines/{shown['id']}").status_code == 204


def test_what_is_left_out_is_the_services_default(machine: Machine) -> None:
    shown = machine.look()
    assert shown["resources"] == {"cpus": 1, "memoryMb": 512, "diskGb": 20}
    assert shown["network"] == {"mode": "open"}
    assert shown["name"]


def test_unknown_fields_are_dropped(http: httpx.Client) -> None:
    made = create(http, nonsense={"a": 1}, resources={"gpus": 4})
    assert made.status_code == 201
    assert "nonsense" not in made.json()
    http.delete(f"/v1/machines/{made.json()['id']}")


def test_it_starts_stops_and_starts_again(machine: Machine) -> None:
    started = machine.post("start")
    assert (started.status_code, started.json()["state"], started.json()["ready"]) == (200, "started", True)
    assert machine.post("start").json()["readyAt"] == started.json()["readyAt"]
    stopped = machine.post("stop")
    assert (stopped.status_code, stopped.json()["state"], stopped.json()["ready"]) == (200, "stopped", False)
    assert machine.post("stop").json()["state"] == "stopped"
    assert machine.post("start?forkable=false").json()["ready"]


def test_a_deleted_machine_is_not_found_any_more(machine: Machine) -> None:
    assert machine.http.delete(machine.path).status_code == 204
    for answer in (machine.http.get(machine.path), machine.post("start"), machine.http.delete(machine.path)):
        assert (answer.status_code, answer.text) == (404, "machine not found")


def test_an_id_is_accepted_with_and_without_prefix_and_so_is_a_name(http: httpx.Client, machine: Machine) -> None:
    shown = machine.look()
    bare = machine.id.removeprefix("mach-")
    for ref in (bare, shown["name"]):
        assert http.get(f"/v1/machines/{ref}").json()["id"] == machine.id
        assert http.post(f"/v1/machines/{ref}/exec", json={"command": "true"}).status_code == 200


def test_a_list_has_the_newest_first_and_can_be_filtered_by_labels(http: httpx.Client) -> None:
    ids = [create(http, labels={"set": "list", "n": str(n)}).json()["id"] for n in range(3)]
    assert [it["id"] for it in http.get("/v1/machines?label=set%3Dlist").json()] == ids[::-1]
    assert [it["id"] for it in http.get("/v1/machines?label=set%3Dlist&label=n%3D1").json()] == [ids[1]]
    assert http.get("/v1/machines?label=set%3Dnone").json() == []
    assert {*ids} <= {it["id"] for it in http.get("/v1/machines").json()}
    for id in ids:
        http.delete(f"/v1/machines/{id}")


def test_an_ephemeral_machine_is_deleted_when_it_stops(http: httpx.Client) -> None:
    id = create(http, ephemeral=True).json()["id"]
    http.post(f"/v1/machines/{id}/start")
    assert http.post(f"/v1/machines/{id}/stop").json()["state"] == "deleted"
    assert http.get(f"/v1/machines/{id}").status_code == 404


def test_events_tell_what_happened_oldest_first(machine: Machine) -> None:
    machine.post("start")
    machine.post("stop")
    answer = machine.http.get(f"{machine.path}/events")
    events = [responses.Event.model_validate(it) for it in answer.json()]
    assert [it.created_at for it in events] == sorted(it.created_at for it in events)
    words = " | ".join(it.message for it in events)
    assert re.search("creat.*start.*running.*stop", words), words


def test_logs_are_the_last_lines_of_the_console(machine: Machine) -> None:
    machine.post("start")
    whole = machine.http.get(f"{machine.path}/logs?tail=1000")
    assert whole.headers["content-type"].startswith("text/plain")
    lines = whole.text.splitlines()
    assert machine.http.get(f"{machine.path}/logs?tail=1").text.splitlines() == lines[-1:]
    assert machine.http.get(f"{machine.path}/logs?tail=0").text == ""


@pytest.mark.parametrize("mount", ["", "/smol"])
def test_the_dialect_is_whole_at_the_root_and_below_its_mount(http: httpx.Client, machine: Machine, mount: str) -> None:
    assert http.get(f"{mount}{machine.path}").json()["id"] == machine.id
    assert http.get(f"{mount}/health").status_code == 200
    assert http.put(f"{mount}{machine.path}/files//workspace/x", content=mount.encode()).status_code == 204
    assert http.get(f"{mount}{machine.path}/files/workspace/x").content == mount.encode()
