"""`Idempotency-Key`: a request that is sent twice is done once."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import live

from .conftest import Machine, create


def key() -> dict[str, str]:
    return {"idempotency-key": uuid.uuid4().hex}


def posted(http: httpx.Client, headers: dict[str, str], **fields: object) -> httpx.Response:
    return http.post(
        "/v1/machines", json={"source": {"type": "image", "reference": "debian"}, **fields}, headers=headers
    )


def test_a_machine_is_made_once(http: httpx.Client) -> None:
    headers = key()
    first, second = posted(http, headers), posted(http, headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert posted(http, key()).json()["id"] != first.json()["id"]


def test_a_key_that_may_make_it_needs_no_other_scope_to_be_told_of_it(http: httpx.Client, machine: Machine) -> None:
    machine.post("start")
    token = http.post("/v1/apikeys", json={"name": "maker", "scopes": ["machine:create"]}).json()["key"]
    source, bare = {"type": "image", "reference": "debian"}, machine.id.removeprefix("mach-")
    for path, body in (
        ("/v1/machines", {"source": source}),
        (f"{machine.path}/checkpoints", {}),
        (f"{machine.path}/branches/batch", {"count": 1}),
        ("/nullspace/v1/machines", {"template": "debian"}),
        (f"/nullspace/v1/machines/{bare}/snapshots", None),
        (f"/nullspace/v1/machines/{bare}/fork", None),
    ):
        headers = key() | {"authorization": f"Bearer {token}"}
        first, again = (http.post(path, json=body, headers=headers) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 201), (path, first.text, again.text)
        assert first.json() == again.json() or first.json()["id"] == again.json()["id"]


def test_many_at_once_make_one(service: live.Live) -> None:
    headers = key() | {"authorization": f"Bearer {service.key}"}
    body = {"source": {"type": "image", "reference": "debian"}}

    def post(_: int) -> str:
        made = httpx.post(f"{service.url}/v1/machines", json=body, headers=headers, trust_env=False)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(post, range(8)))) == 1


def test_another_body_with_the_same_key_is_409(http: httpx.Client) -> None:
    headers = key()
    assert posted(http, headers).status_code == 201
    answer = posted(http, headers, name="other")
    assert (answer.status_code, "idempotency" in answer.text.lower()) == (409, True)


def test_a_failure_is_not_kept(http: httpx.Client) -> None:
    headers, name = key(), f"n-{uuid.uuid4().hex[:8]}"
    taken = create(http, name=name).json()["id"]
    assert posted(http, headers, name=name).status_code == 409
    http.delete(f"/v1/machines/{taken}")
    assert posted(http, headers, name=name).status_code == 201


@pytest.mark.parametrize("wrong", ["", "x" * 256])
def test_a_key_that_is_empty_or_too_long_is_400(http: httpx.Client, wrong: str) -> None:
    assert posted(http, {"idempotency-key": wrong}).status_code == 400


def test_branches_and_checkpoints_are_made_once(running: Machine) -> None:
    for what, body in (("branches", {}), ("branches/batch", {"count": 2}), ("checkpoints", {})):
        headers = key()
        first, second = (running.post(what, body, headers=headers) for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 201), second.text
        if what == "branches/batch":
            ids = [[it["id"] for it in answer.json()["clones"]] for answer in (first, second)]
            assert (ids[0], len(set(ids[0]))) == (ids[1], 2)
            for id in ids[0]:
                running.http.delete(f"/v1/machines/{id}")
        else:
            assert first.json()["id"] == second.json()["id"]
            kind = "checkpoints" if what == "checkpoints" else "machines"
            running.http.delete(f"/v1/{kind}/{first.json()['id']}")


def test_what_was_made_and_is_gone_is_404(http: httpx.Client) -> None:
    headers = key()
    made = posted(http, headers).json()["id"]
    http.delete(f"/v1/machines/{made}")
    assert posted(http, headers).status_code == 404
