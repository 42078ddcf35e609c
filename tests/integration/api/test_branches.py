"""Copies of machines that run: one, or many at once."""

from collections.abc import Iterator

import httpx
import pytest

from hutch.api.smol import responses

from .conftest import Machine, told


@pytest.fixture
def children(http: httpx.Client, running: Machine) -> Iterator[None]:
    """What a test makes of `running` is gone afterwards."""
    yield
    for it in http.get("/v1/machines").json():
        if it["parentId"] == running.id:
            http.delete(f"/v1/machines/{it['id']}")


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
    assert running.look()["stateDetail"] == "running"
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
    assert running.look()["stateDetail"] == "suspended"
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
        ({"ports": [{"port": 0}]}, 400, "ports: "),
        ({"ports": [{"port": 80, "protocol": "udp"}]}, 501, "ports: "),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(running: Machine, body: object, status: int, named: str) -> None:
    before = len(running.http.get("/v1/machines").json())
    answer = running.post("branches/batch", body)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text
    assert len(running.http.get("/v1/machines").json()) == before
