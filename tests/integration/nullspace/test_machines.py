"""Machines: made, looked at, listed, deleted; over plain HTTP."""

import json
import uuid
from datetime import datetime
from typing import Any

import httpx
import pytest

from .conftest import Machine, create, refused, told


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_a_new_machine_runs_and_has_every_field(http: httpx.Client) -> None:
    it = told(create(http), 201)
    assert it["id"].startswith("mch_")
    assert (it["status"], it["template"], it["cwd"]) == ("running", "base", "/workspace")
    assert it["config"] == {"vcpus": 1, "memory_mb": 256, "disk_mb": it["config"]["disk_mb"]}
    assert (it["timeout_ms"], it["timeout_action"], it["ephemeral"], it["metadata"]) == (300_000, "destroy", False, {})
    assert moment(it["created_at"]) <= moment(it["started_at"])
    assert it["expires_at"] == it["timeout_at"]
    assert (moment(it["timeout_at"]) - moment(it["created_at"])).total_seconds() == 300
    assert 290_000 < it["remaining_ms"] <= 300_000
    assert it["last_active_at"]
    assert not {"snapshot_id", "warm_pool_checkout", "inactivity_timeout_ms", "auto_delete_after_ms"} & it.keys()
    http.delete(f"/v1/machines/{it['id']}")


def test_explicit_nulls_are_as_good_as_nothing(http: httpx.Client) -> None:
    """What the documented client sends."""
    sent: dict[str, Any] = {
        **{"template": "base", "vcpus": 2, "memory_mb": 512, "timeout_ms": 300_000, "auto_resume": False},
        **{"envs": {}, "metadata": {}, "internet_access": True, "cwd": None, "desktop": None},
        **{"network": None, "volumes": None},
    }
    nothing = ("disk_mb", "timeout_action", "lifecycle", "inactivity_timeout_ms", "auto_delete_after_ms", "ephemeral")
    it = told(create(http, **sent, **dict.fromkeys((*nothing, "snapshot_id", "warm_pool"))), 201)
    assert (it["config"]["vcpus"], it["config"]["memory_mb"]) == (2, 512)
    http.delete(f"/v1/machines/{it['id']}")


def test_every_field_of_create_works(http: httpx.Client) -> None:
    it = told(
        create(
            http,
            template="alpine",
            vcpus=2,
            memory_mb=384,
            disk_mb=3000,
            timeout_ms=60_000,
            lifecycle={"on_timeout": "pause"},
            inactivity_timeout_ms=30_000,
            auto_delete_after_ms=120_000,
            auto_resume=True,
            envs={"COLOR": "blue"},
            metadata={"team": "a", "nested": {"x": [1, None, True]}},
            internet_access=False,
            cwd="/tmp",
        ),
        201,
    )
    assert (it["template"], it["config"]) == ("alpine", {"vcpus": 2, "memory_mb": 384, "disk_mb": 3072})
    assert (it["timeout_ms"], it["timeout_action"]) == (60_000, "hibernate")
    assert (it["inactivity_timeout_ms"], it["auto_delete_after_ms"]) == (30_000, 120_000)
    assert it["metadata"] == {"team": "a", "nested": {"x": [1, None, True]}}
    machine = Machine(http, it["id"])
    assert machine.exec("echo $COLOR; basename $PWD")["stdout"] == "blue\ntmp\n"
    http.delete(machine.path)


def test_an_ephemeral_machine_is_destroyed_instead_of_hibernated(http: httpx.Client) -> None:
    it = told(create(http, ephemeral=True), 201)
    assert it["ephemeral"]
    http.post(f"/v1/machines/{it['id']}/hibernate")
    refused(http.get(f"/v1/machines/{it['id']}"), 404, "machine_not_found")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vcpus": "2"}, "vcpus"),
        ({"vcpus": 0}, "cpus is 0"),
        ({"memory_mb": 1}, "memory is 1 MiB"),
        ({"disk_mb": 511}, "disk_mb"),
        ({"disk_mb": 131_073}, "disk_mb"),
        ({"timeout_ms": 0}, "lifetime is 0 s"),
        ({"timeout_ms": -1}, "timeout_ms"),
        ({"timeout_action": "pause"}, "timeout_action"),
        ({"lifecycle": {"on_timeout": "stop"}}, "lifecycle.on_timeout"),
        ({"timeout_action": "destroy", "lifecycle": {"on_timeout": "pause"}}, "contradict"),
        ({"auto_resume": True}, "auto_resume"),
        ({"ephemeral": True, "auto_resume": True, "timeout_action": "hibernate"}, "ephemeral"),
        ({"envs": {"A": 1}}, "envs.A"),
        ({"envs": {"A=B": "c"}}, "env"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": "x" * 70_000}}, "metadata"),
        ({"cwd": "relative"}, "workdir"),
        ({"template": "base", "snapshot_id": "snap_x"}, "snapshot_id"),
        ({"warm_pool": {"mode": "prefer"}}, "name a pool"),
        ({"warm_pool": {"mode": "bypass", "wait_ms": 30_001}}, "wait_ms"),
    ],
)
def test_what_makes_no_sense_is_refused(http: httpx.Client, fields: dict[str, Any], words: str) -> None:
    assert words in refused(create(http, **fields), 400, "invalid_request")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"desktop": {"dpi": 96}}, "desktop"),
        ({"network": {"mask_request_host": "x"}}, "network.mask_request_host"),
        ({"network": {"deny_out": ["example.org"]}}, "network.deny_out"),
        ({"network": {"allow_out": ["1.1.1.1"], "deny_out": ["10.0.0.0/8"]}}, "network.deny_out"),
    ],
)
def test_what_cannot_act_here_is_refused_by_name(http: httpx.Client, fields: dict[str, Any], words: str) -> None:
    assert words in refused(create(http, **fields), 501, "not_implemented")


def test_a_template_that_cannot_be_had_leaves_nothing(http: httpx.Client) -> None:
    before = len(http.get("/v1/machines").json())
    refused(create(http, template="no-such-image"), 404, "template_not_found")
    refused(create(http, snapshot_id="snap_" + "a" * 20), 404, "snapshot_not_found")
    assert len(http.get("/v1/machines").json()) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_refused(http: httpx.Client, body: bytes) -> None:
    refused(http.post("/v1/machines", content=body), 400, "invalid_request")


def test_a_machine_is_found_with_its_prefix_and_without(machine: Machine) -> None:
    bare = machine.id.removeprefix("mch_")
    assert told(machine.http.get(f"/v1/machines/{bare}"))["id"] == machine.id


@pytest.mark.parametrize("id", ["nope", "mch_nope", "mch_" + "a" * 20, "%00", "ü"])
def test_one_that_is_not_there_is_not_found(http: httpx.Client, id: str) -> None:
    refused(http.get(f"/v1/machines/{id}"), 404, "machine_not_found")


def test_one_machine_can_be_masked(machine: Machine) -> None:
    assert machine.http.get(machine.path, params={"fields": "id,status"}).json() == {
        "id": machine.id,
        "status": "running",
    }
    refused(machine.http.get(machine.path, params={"fields": "id,secret"}), 400, "invalid_fields")


def test_a_deleted_machine_is_destroyed_and_gone(http: httpx.Client) -> None:
    id = told(create(http), 201)["id"]
    answer = http.delete(f"/v1/machines/{id}")
    assert (answer.status_code, answer.json()) == (200, {"id": id, "status": "destroyed"})
    refused(http.get(f"/v1/machines/{id}"), 404, "machine_not_found")
    refused(http.delete(f"/v1/machines/{id}"), 404, "machine_not_found")


class TestList:
    """With machines that a label of their own tells from others'."""

    @pytest.fixture
    def run(self) -> str:
        return uuid.uuid4().hex

    @pytest.fixture
    def five(self, http: httpx.Client, run: str) -> list[str]:
        """Ids, newest first."""
        made = [told(create(http, metadata={"run": run, "n": n, "flag": n == 1}), 201)["id"] for n in range(5)]
        return made[::-1]

    def find(self, http: httpx.Client, **query: object) -> dict[str, Any]:
        answer = http.get("/v1/machines", params={name: str(value) for name, value in query.items()})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def test_without_a_query_it_is_a_bare_array(self, http: httpx.Client, five: list[str]) -> None:
        answer = http.get("/v1/machines")
        assert answer.headers["content-type"] == "application/json"
        assert isinstance(answer.json(), list)
        assert [it["id"] for it in answer.json()][:5] == five
        assert answer.json()[0] == http.get(f"/v1/machines/{five[0]}").json() | {
            "remaining_ms": answer.json()[0]["remaining_ms"]
        }

    @pytest.mark.parametrize(
        "query", [{"state": "running"}, {"limit": 3}, {"template": "base"}, {"metadata": "{}"}, {"fields": "id"}]
    )
    def test_with_any_query_it_is_an_object(
        self, http: httpx.Client, five: list[str], query: dict[str, object]
    ) -> None:
        found = self.find(http, **query)
        assert isinstance(found["items"], list)
        assert isinstance(found["has_next"], bool)
        assert found["has_next"] == ("next_token" in found)

    def test_metadata_must_match_in_every_pair(self, http: httpx.Client, five: list[str], run: str) -> None:
        def ids(**wanted: object) -> list[str]:
            return [it["id"] for it in self.find(http, metadata=json.dumps({"run": run, **wanted}))["items"]]

        assert ids() == five
        assert ids(n=3) == [five[1]]
        assert ids(n="3") == []
        assert ids(n=3, other=1) == []
        assert ids(flag=True) == [five[3]]

    def test_states_are_a_comma_list(self, http: httpx.Client, five: list[str], run: str) -> None:
        http.post(f"/v1/machines/{five[0]}/hibernate")
        mine = {"metadata": json.dumps({"run": run})}
        assert [it["id"] for it in self.find(http, state="paused", **mine)["items"]] == five[:1]
        assert [it["id"] for it in self.find(http, state="running", **mine)["items"]] == five[1:]
        assert [it["id"] for it in self.find(http, state="running, paused", **mine)["items"]] == five
        assert self.find(http, state="creating,destroyed,error", **mine)["items"] == []

    def test_pages_neither_repeat_nor_pass_over_any(self, http: httpx.Client, five: list[str], run: str) -> None:
        mine = {"metadata": json.dumps({"run": run}), "limit": 2}
        first = self.find(http, **mine)
        assert ([it["id"] for it in first["items"]], first["has_next"]) == (five[:2], True)
        created = told(create(http, metadata={"run": run}), 201)["id"]
        http.delete(f"/v1/machines/{five[1]}")
        second = self.find(http, next_token=first["next_token"], **mine)
        assert ([it["id"] for it in second["items"]], second["has_next"]) == (five[2:4], True)
        third = self.find(http, next_token=second["next_token"], **mine)
        assert ([it["id"] for it in third["items"]], third["has_next"]) == (five[4:], False)
        assert "next_token" not in third
        http.delete(f"/v1/machines/{created}")

    def test_templates_are_refs(self, http: httpx.Client, run: str) -> None:
        made = told(create(http, template="alpine", metadata={"run": run}), 201)["id"]
        mine = {"metadata": json.dumps({"run": run})}
        assert [it["id"] for it in self.find(http, template="alpine", **mine)["items"]] == [made]
        assert self.find(http, template="base", **mine)["items"] == []

    def test_a_mask_leaves_what_it_names(self, http: httpx.Client, five: list[str], run: str) -> None:
        every = (
            *("id", "status", "config", "template", "metadata", "started_at", "timeout_ms", "timeout_at"),
            *("expires_at", "timeout_action", "created_at", "cwd", "snapshot_id", "traffic_access_token"),
        )
        found = self.find(http, metadata=json.dumps({"run": run}), fields=",".join(every))["items"][0]
        assert found.keys() == set(every) - {"snapshot_id", "traffic_access_token"}

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"state": "asleep"}, "invalid_request"),
            ({"state": ""}, "invalid_request"),
            ({"limit": 0}, "invalid_request"),
            ({"limit": 101}, "invalid_request"),
            ({"limit": "ten"}, "invalid_request"),
            ({"next_token": "!"}, "invalid_request"),
            ({"next_token": ""}, "invalid_request"),
            ({"metadata": "team=a"}, "invalid_request"),
            ({"metadata": "[1]"}, "invalid_request"),
            ({"fields": "name"}, "invalid_fields"),
            ({"fields": ""}, "invalid_fields"),
        ],
    )
    def test_bad_values_are_refused(self, http: httpx.Client, query: dict[str, str], code: str) -> None:
        refused(http.get("/v1/machines", params=query), 400, code)

    @pytest.fixture(autouse=True)
    def _tidy(self, http: httpx.Client, run: str) -> Any:
        yield
        for it in self.find(http, metadata=json.dumps({"run": run}))["items"]:
            http.delete(f"/v1/machines/{it['id']}")
