"""Who may do what: every route, with every kind of key."""

import re
from pathlib import Path

import httpx
import pytest

import live

from . import operations
from .conftest import Machine
from .operations import BODIES, PUBLIC, SCOPES


def every_route(http: httpx.Client) -> list[operations.Operation]:
    return list(operations.every_operation(http.get("/smol/openapi.json").json()))


def ask(http: httpx.Client, method: str, path: str, machine: str, key: str | None) -> httpx.Response:
    id = machine if path.startswith("/v1/machines") else "a" * 20
    filled = re.sub(r"\{\w+\}", "x", path.replace("{id}", id))
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    content = {"json": BODIES[method, path]} if (method, path) in BODIES else {}
    return httpx.request(method, f"{http.base_url}{filled}", headers=headers, trust_env=False, **content)  # type: ignore[arg-type]


def test_every_route_but_the_public_ones_wants_a_key(http: httpx.Client, machine: Machine) -> None:
    for method, path in every_route(http):
        answer = ask(http, method, path, machine.id, None)
        if (method, path) in PUBLIC:
            assert answer.status_code == 200, (method, path)
        else:
            assert (answer.status_code, answer.content) == (401, b""), (method, path)


def test_every_route_refuses_a_wrong_key_in_json(http: httpx.Client, machine: Machine) -> None:
    for method, path in SCOPES:
        answer = ask(http, method, path, machine.id, "smk_wrong")
        assert answer.status_code == 401, (method, path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"code": "unknown_key", "error": "unknown API key"}


@pytest.mark.parametrize("path", ["/nowhere", "/v1/nowhere", "/", "/smol/nowhere", "/v1/machines/"])
def test_without_a_key_no_path_tells_whether_it_exists(http: httpx.Client, path: str) -> None:
    answer = httpx.get(f"{http.base_url}{path}", trust_env=False)
    assert (answer.status_code, answer.content) == (401, b"")
    assert http.get(path).status_code == 404


@pytest.mark.parametrize("header", ["", "Basic dTpw", "Bearer", "smk_x", "Token smk_x"])
def test_what_is_no_bearer_token_is_no_credential(http: httpx.Client, header: str) -> None:
    answer = httpx.get(f"{http.base_url}/v1/machines", headers={"authorization": header}, trust_env=False)
    assert (answer.status_code, answer.content) == (401, b"")


def test_the_scheme_is_read_in_any_case(service: live.Live, http: httpx.Client) -> None:
    headers = {"authorization": f"bearer {service.key}"}
    assert httpx.get(f"{http.base_url}/v1/machines", headers=headers, trust_env=False).status_code == 200


def test_a_key_lives_until_it_is_revoked(http: httpx.Client) -> None:
    made = http.post(
        "/v1/apikeys", json={"description": "CI deploy key", "scopes": ["machine:read"], "expiresInDays": 30}
    )
    assert made.status_code == 200
    assert set(made.json()) == {"id", "key"}
    key = {"authorization": f"Bearer {made.json()['key']}"}
    assert http.get("/v1/machines", headers=key).status_code == 200
    listed = next(it for it in http.get("/v1/apikeys").json() if it["id"] == made.json()["id"])
    assert (listed["description"], listed["scopes"]) == ("CI deploy key", ["machine:read"])
    assert listed["expiresAt"] > listed["createdAt"]
    assert listed["lastUsedAt"]
    assert made.json()["key"] not in http.get("/v1/apikeys").text
    assert http.delete(f"/v1/apikeys/{made.json()['id']}").status_code == 204
    assert http.get("/v1/machines", headers=key).status_code == 401
    assert http.delete(f"/v1/apikeys/{made.json()['id']}").status_code == 404


def test_a_key_has_the_prefix_asked_for(http: httpx.Client) -> None:
    assert http.post("/v1/apikeys", json={}).json()["key"].startswith("smk_")
    assert http.post("/v1/apikeys", json={"prefix": "hf"}).json()["key"].startswith("hf_")


def test_no_key_is_ever_logged(service: live.Live, http: httpx.Client) -> None:
    key = http.post("/v1/apikeys", json={}).json()["key"]
    http.get("/v1/machines", headers={"authorization": f"Bearer {key}"})
    ask(http, "GET", "/v1/machines", "x", "smk_wrongwrongwrong")
    log = Path(service.log).read_text()
    assert "/v1/machines" in log
    for secret in (service.key, key, "smk_wrongwrongwrong"):
        assert secret not in log
