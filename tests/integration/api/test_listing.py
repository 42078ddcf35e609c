"""Lists of machines: filters, pages; metadata and timers of the native API; allow lists."""

import uuid
from typing import Any

import httpx
import pytest

from hutch.api.smol import responses

from .conftest import Machine, create, told


@pytest.fixture
def team(http: httpx.Client) -> Any:
    """Five machines of one label, oldest first."""
    name = f"team-{uuid.uuid4().hex[:8]}"
    made = [create(http, labels={"team": name, "n": str(n)}).json()["id"] for n in range(5)]
    yield name, made
    for id in made:
        http.delete(f"/v1/machines/{id}")


def page(http: httpx.Client, **params: Any) -> responses.Page:
    answer = http.get("/v1/machines", params=params)
    assert answer.status_code == 200, answer.text
    return responses.Page.model_validate_json(answer.content)


def test_labels_choose_all_of_them_or_nothing(http: httpx.Client, team: tuple[str, list[str]]) -> None:
    name, made = team
    found = http.get("/v1/machines", params={"label": f"team={name}"}).json()
    assert [it["id"] for it in found] == made[::-1]
    both = http.get("/v1/machines", params={"label": [f"team={name}", "n=2"]}).json()
    assert [it["id"] for it in both] == [made[2]]
    assert http.get("/v1/machines?label=nonsense").status_code == 400


def test_pages_tell_each_machine_once_although_some_come_and_go(
    http: httpx.Client, team: tuple[str, list[str]]
) -> None:
    name, made = team
    first = page(http, label=f"team={name}", limit=2)
    assert [it.id for it in first.machines] == made[:2:-1]
    late = create(http, labels={"team": name}).json()["id"]
    http.delete(f"/v1/machines/{made[3]}")
    second = page(http, label=f"team={name}", limit=2, next=first.next)
    third = page(http, label=f"team={name}", limit=2, next=second.next)
    assert [it.id for it in (*second.machines, *third.machines)] == made[2::-1]
    assert third.next is None
    http.delete(f"/v1/machines/{late}")


def test_states_choose(http: httpx.Client, running: Machine) -> None:
    assert running.id in [it["id"] for it in http.get("/v1/machines?state=running").json()]
    assert running.id not in [it["id"] for it in http.get("/v1/machines?state=stopped&state=paused").json()]
    assert running.id in [it.id for it in page(http, state="running", limit=100).machines]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "next=nonsense", "state=asleep"])
def test_a_page_that_cannot_be_is_400(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/v1/machines?{query}")
    assert (answer.status_code, bool(answer.text)) == (400, True)


def test_metadata_is_kept_as_it_is(http: httpx.Client) -> None:
    metadata = {"deep": {"list": [1, None, "é"]}}
    made = told(create(http, metadata=metadata), 201)
    assert made["metadata"] == metadata
    http.delete(f"/v1/machines/{made['id']}")
    assert create(http, metadata=[1]).status_code == 422


def test_timers_are_set_while_it_lives(machine: Machine) -> None:
    answer = machine.http.put(f"{machine.path}/timers", json={"autoStopSeconds": 300, "ttlSeconds": 60})
    now = told(answer)
    assert (now["autoStopSeconds"], now["ttlSeconds"], now["idleAction"]) == (300, 60, "stop")
    assert 50 < machine.look()["timers"]["lifetimeRemainingSeconds"] <= 60
    cleared = told(machine.http.put(f"{machine.path}/timers", json={}))
    assert (cleared["autoStopSeconds"], cleared["ttlSeconds"]) == (None, None)
    assert machine.http.put(f"{machine.path}/timers", json={"ttlSeconds": 0}).status_code == 400


def test_an_allow_list_is_recorded_and_shown(http: httpx.Client) -> None:
    network = {"mode": "allowCidrs", "cidrs": ["10.0.0.0/8"], "hosts": ["*.example.org"]}
    made = told(create(http, network=network), 201)
    assert made["network"] == network
    http.delete(f"/v1/machines/{made['id']}")
