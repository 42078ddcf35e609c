"""Bad input gets a clear error, and nothing is lost."""

import json
from typing import Any

import httpx
import pytest

from hutch.api import bodies

from .conftest import Machine, create

JSON_ROUTES = (
    "/v1/machines",
    "/v1/machines/{}/exec",
    "/v1/machines/{}/exec/stream",
    "/v1/machines/{}/code",
    "/v1/machines/{}/rollback",
    "/v1/machines/{}/resize",
    "/v1/machines/{}/jobs",
    "/v1/machines/{}/files",
    "/v1/pools",
    "/v1/volumes",
    "/v1/domains",
    "/v1/webhooks",
    "/v1/tenants",
    "/v1/apikeys",
)
OPTIONAL_JSON_ROUTES = (
    "/v1/machines/{}/pause",
    "/v1/machines/{}/branches",
    "/v1/machines/{}/branches/batch",
    "/v1/machines/{}/fork",
    "/v1/machines/{}/fork-batch",
    "/v1/machines/{}/checkpoints",
    "/v1/machines/{}/sessions",
    "/v1/checkpoints/none/restore",
    "/v1/pools/none/claim",
)


@pytest.mark.parametrize(
    ("route", "body"),
    [
        *((route, body) for route in JSON_ROUTES for body in ("", "{", "nonsense", "{'a': 1}", '{"a": 1,}')),
        *((route, body) for route in OPTIONAL_JSON_ROUTES for body in ("{", "nonsense", "{'a': 1}", '{"a": 1,}')),
    ],
)
def test_what_is_not_json_is_400(machine: Machine, route: str, body: str) -> None:
    answer = machine.http.post(route.format(machine.id), content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.text.startswith("Failed to parse the request body as JSON: ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "missing field `source`"),
        ([], "invalid type: sequence, expected struct"),
        ({"source": "debian"}, 'source: invalid type: string "debian", expected struct'),
        (
            {"source": {"type": "image", "reference": 5}},
            "source.reference: invalid type: integer `5`, expected a string",
        ),
        (
            {"source": {"type": "image", "reference": "debian"}, "name": []},
            "name: invalid type: sequence, expected a string",
        ),
    ],
)
def test_json_of_the_wrong_form_is_422_in_the_documented_words(http: httpx.Client, body: Any, words: str) -> None:
    answer = http.post("/v1/machines", json=body)
    assert answer.status_code == 422
    assert answer.text == f"Failed to deserialize the JSON body into the target type: {words}"
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_a_forgotten_content_type_does_not_matter(machine: Machine, content_type: str) -> None:
    body = json.dumps({"command": "echo ok"})
    headers = {"content-type": content_type}
    answer = machine.http.post(f"{machine.path}/exec", content=body, headers=headers)
    assert answer.json()["stdout"] == "ok\n"


def test_a_body_beyond_the_limit_is_413(machine: Machine) -> None:
    answer = machine.post("exec", {"command": "cat", "stdin": "x" * (bodies.JSON_LIMIT + 1)})
    assert (answer.status_code, answer.text) == (413, f"the request body is larger than {bodies.JSON_LIMIT} bytes")


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/start"),
        ("POST", "/stop"),
        ("GET", "/events"),
        ("GET", "/logs"),
        ("GET", "/files/x"),
    ],
)
@pytest.mark.parametrize("id", ["mach-aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaa", "no-such-name", "mach-"])
def test_an_unknown_machine_is_404(http: httpx.Client, method: str, what: str, id: str) -> None:
    answer = http.request(method, f"/v1/machines/{id}{what}")
    assert (answer.status_code, answer.text) == (404, "machine not found")


def test_a_name_that_is_taken_is_409_and_free_again_after_a_delete(http: httpx.Client) -> None:
    first = create(http, name="taken").json()["id"]
    second = create(http, name="taken")
    assert second.status_code == 409
    assert "taken" in second.text
    http.delete(f"/v1/machines/{first}")
    third = create(http, name="taken")
    assert third.status_code == 201
    http.delete(f"/v1/machines/{third.json()['id']}")


def test_an_unknown_image_is_422_with_the_registrys_words_and_leaves_no_machine(http: httpx.Client) -> None:
    answer = http.post("/v1/machines", json={"name": "half", "source": {"type": "image", "reference": "no/such:image"}})
    assert answer.status_code == 422
    assert "manifest unknown" in answer.text
    assert http.get("/v1/machines/half").status_code == 404


@pytest.mark.parametrize("resources", [{"memoryMb": 10**6}, {"diskGb": 10**6}, {"cpus": 1000}])
def test_more_than_the_box_has_is_refused_with_what_there_is(http: httpx.Client, resources: dict[str, int]) -> None:
    answer = create(http, resources=resources)
    assert answer.status_code in (400, 422)
    assert any(character.isdigit() for character in answer.text), answer.text


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"resources": {"cpus": 0}}, "cpus"),
        ({"resources": {"memoryMb": 1}}, "memory"),
        ({"name": "sp ace"}, "name"),
        ({"workdir": "relative"}, "workdir"),
        ({"env": {"": "x"}}, "env"),
        ({"ttlSeconds": 0}, "lifetime"),
        ({"command": []}, "command"),
        ({"network": {"mode": "allowCidrs", "cidrs": ["10.0.0.0/99"]}}, "network"),
        ({"mounts": [{"volume": "v", "mountPath": "relative"}]}, "mounts"),
        ({"mounts": [{"volume": "no-such-volume", "mountPath": "/v"}]}, "volume"),
    ],
)
def test_a_value_that_makes_no_sense_is_400_and_named(http: httpx.Client, fields: dict[str, Any], named: str) -> None:
    answer = create(http, **fields)
    assert answer.status_code == 400
    assert named in answer.text


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"ports": [{"port": 80, "protocol": "udp"}]}, "ports"),
        ({"cacheDisk": {"name": "c"}}, "cacheDisk"),
        ({"credentials": ["token"]}, "credentials"),
        ({"source": {"type": "smolmachine", "reference": "x"}}, "source.type"),
    ],
)
def test_what_cannot_act_yet_is_501_and_named(http: httpx.Client, fields: dict[str, Any], named: str) -> None:
    answer = create(http, **fields)
    assert answer.status_code == 501
    assert answer.text.startswith(f"{named}: ")


def test_allow_cidrs_without_any_is_400_in_the_documented_words(http: httpx.Client) -> None:
    answer = create(http, network={"mode": "allowCidrs"})
    assert (answer.status_code, answer.text) == (400, "allowCidrs network mode requires at least one CIDR or host")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"command": []}, 400),
        ({"command": ""}, 400),
        ({"command": "true", "timeoutSeconds": 0}, 400),
        ({"command": "true", "timeoutSeconds": -1}, 422),
        ({"command": "true", "timeoutSeconds": "5"}, 422),
        ({"command": "true", "env": {"A": 1}}, 422),
        ({"command": "true", "stdinB64": "!"}, 400),
        ({"command": "true", "interactive": True}, 400),
        ({"command": "true", "cwd": "relative"}, 400),
        ({"command": ["a\0b"]}, 400),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(machine: Machine, fields: dict[str, Any], status: int) -> None:
    answer = machine.post("exec", fields)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("query", ["exec?output=xml"])
def test_a_bad_query_is_400(machine: Machine, query: str) -> None:
    answer = machine.post(query, {"command": "true"})
    assert answer.status_code == 400
    assert answer.text.startswith("Failed to deserialize query string: output: unknown variant `xml`")


def test_other_bad_queries_are_400_too(machine: Machine) -> None:
    assert machine.http.get("/v1/machines?label=nonsense").status_code == 400
    assert machine.http.get(f"{machine.path}/logs?tail=many").status_code == 400
    assert machine.http.get(f"{machine.path}/logs?tail=-1").status_code == 400


def test_a_known_path_with_another_method_is_405(machine: Machine) -> None:
    answer = machine.http.patch(machine.path)
    assert (answer.status_code, answer.text) == (405, "method not allowed")
