"""Builds over HTTP: begun, told, waited for, cancelled; and what a recipe may not say.

A simulated guest's commands run on this box: nothing here installs packages or makes users.
"""

import base64
import json
import socket
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from hutch.api.smol import builds
from hutch.client.wire import ServerEvents

from .conftest import create

LIMIT = 30


def begin(http: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = http.post("/v1/builds", json=body)
    assert answer.status_code == 201, answer.text
    builds.Build.model_validate_json(answer.content)
    begun: dict[str, Any] = answer.json()
    return begun


def ended(http: httpx.Client, build: str) -> dict[str, Any]:
    answer = http.get(f"/v1/builds/{build}/wait", params={"timeout": LIMIT}, timeout=LIMIT + 5)
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    return done


def told(http: httpx.Client, build: str) -> list[tuple[str, Any]]:
    """The events of its log, to the end."""
    events, found = ServerEvents(), []
    with http.stream("GET", f"/v1/builds/{build}/log", timeout=LIMIT) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if event := events.feed(line):
                found.append((event[0], json.loads(event[1])))
    return found


def layer(content: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"files": [{"path": "/workspace/of-a-build", "content": content}], **fields}


def test_a_recipe_becomes_a_checkpoint_that_machines_are_made_of(http: httpx.Client) -> None:
    name = f"b{uuid.uuid4().hex[:8]}"
    encoded = base64.b64encode(b"\0\xff").decode()
    exact = {"files": [{"path": "/workspace/exact", "content": encoded, "encoding": "base64", "mode": "600"}]}
    begun = begin(http, base={"image": "debian"}, layers=[layer(discriminator=name), exact], name=name)
    done = ended(http, begun["id"])
    assert (done["state"], done["reason"], done["name"]) == ("succeeded", None, name)
    found = http.get(f"/v1/checkpoints/{name}").json()
    assert found["id"] == done["checkpointId"]
    made = create(http, source={"type": "checkpoint", "reference": name}).json()["id"]
    assert http.get(f"/v1/machines/{made}/files/workspace/of-a-build").content == b"hello"
    exact_one = http.get(f"/v1/machines/{made}/files/workspace/exact")
    assert (exact_one.content, exact_one.headers["x-hutch-file-mode"]) == (b"\0\xff", "0600")
    for path in (f"/v1/machines/{made}", f"/v1/checkpoints/{name}"):
        assert http.delete(path).status_code == 204


def test_what_it_does_is_told_while_and_after_it_does_it(http: httpx.Client) -> None:
    begun = begin(http, layers=[layer(uuid.uuid4().hex)])
    events = told(http, begun["id"])
    *phases, (last, build) = [it for it in events if it[0] != "output"]
    assert (last, build["id"], build["state"]) == ("build", begun["id"], "succeeded")
    listed = http.get(f"/v1/builds/{begun['id']}/phases").json()
    for it in listed:
        builds.Phase.model_validate(it)
    assert [it for _, it in phases] == listed
    assert [it["name"] for it in listed] == begun["planned"]
    assert [name for name, _ in told(http, begun["id"])] == ["phase"] * len(listed) + ["build"]


def test_only_the_layer_that_changed_and_what_is_above_it_is_made_anew(http: httpx.Client) -> None:
    lower, tag = layer(discriminator=uuid.uuid4().hex), uuid.uuid4().hex
    first = ended(http, begin(http, layers=[lower, layer(tag)])["id"])
    again = begin(http, layers=[lower, layer(tag)])
    assert (again["state"], again["checkpointId"]) == ("succeeded", first["checkpointId"])
    changed = ended(http, begin(http, layers=[lower, layer(tag + "x")])["id"])
    names = [it["name"] for it in http.get(f"/v1/builds/{changed['id']}/phases").json()]
    assert names[0] == "layer 1/2: cached"
    assert not any("layer 1/2" in name for name in names[2:])


def test_a_build_can_be_cancelled_and_waited_for_in_vain(http: httpx.Client, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/never"
        begun = begin(http, layers=[{"repositories": [{"url": url, "path": str(tmp_path / "clone")}]}])
        assert http.get(f"/v1/builds/{begun['id']}/wait?timeout=0").status_code == 504
        assert http.get(f"/v1/builds/{begun['id']}").json()["state"] in ("pending", "running")
        done = http.post(f"/v1/builds/{begun['id']}/cancel").json()
    assert done["state"] == "cancelled"
    assert ended(http, begun["id"]) == http.post(f"/v1/builds/{begun['id']}/cancel").json() == done
    assert told(http, begun["id"])[-1] == ("build", done)
    assert begun["id"] in [it["id"] for it in http.get("/v1/builds", params={"limit": 5}).json()]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"bases": {}}, 422, "bases"),
        ({"layers": [{"package": ["x"]}]}, 422, "layers.0.package"),
        (
            {"layers": [{"files": [{"path": "/x", "content": "%", "encoding": "base64"}]}]},
            400,
            "/x: content is not base64",
        ),
        ({"layers": [{"files": [{"path": "x/../y", "content": ""}]}]}, 400, "absolute path"),
        ({"layers": [{"files": [{"path": "/x", "content": "", "mode": "9"}]}]}, 422, "mode"),
        ({"layers": [{"services": [{"name": "web"}]}]}, 422, "missing field `exec`"),
        ({"layers": [{"services": [{"name": "", "exec": ["x"]}]}]}, 400, "name"),
        ({"layers": [{"cpus": 4096}]}, 400, "cpus"),
        ({"base": {"image": "debian", "checkpoint": "x"}}, 400, "one of them"),
        ({"base": {"checkpoint": "none"}}, 404, "snapshot not found"),
        ({"base": {"dockerfile": "COPY"}}, 400, ""),
        ({"name": "a b"}, 400, "name"),
        ({"persistence": {"type": "ephemeral"}}, 400, "persistent or sticky"),
        ({"persistence": {"type": "sticky", "priority": 11}}, 400, "priority"),
        ({"persistence": {"type": "persistent", "priority": 1}}, 400, "priority"),
        ({"timeoutSeconds": 0}, 422, "timeoutSeconds"),
        ({"defaults": {"ports": [{"port": 0}]}}, 400, "port"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_name(
    http: httpx.Client, body: dict[str, Any], status: int, words: str
) -> None:
    answer = http.post("/v1/builds", json=body)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_a_build_that_is_not_there_is_not_found(http: httpx.Client) -> None:
    for id in ("build-" + "a" * 20, "a" * 20, "none"):
        for what in ("", "/wait", "/phases", "/log"):
            assert http.get(f"/v1/builds/{id}{what}").status_code == 404
        assert http.post(f"/v1/builds/{id}/cancel").status_code == 404


def test_a_password_is_told_nowhere(http: httpx.Client) -> None:
    body = {
        "base": {"image": "debian"},
        "credentials": {"registry": "r.invalid", "username": "u", "password": "s3cret!"},
    }
    answer = http.post("/v1/builds", json=body)
    assert answer.status_code == 201, answer.text
    assert "s3cret!" not in answer.text + http.get("/v1/builds").text
    del body["credentials"]["username"]  # type: ignore[attr-defined]
    assert "s3cret!" not in http.post("/v1/builds", json=body).text
