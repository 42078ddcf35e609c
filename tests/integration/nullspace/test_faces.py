"""One machine, two dialects: which of them a request speaks, and what each shows of the other's machines."""

import httpx
import pytest

import live

from .conftest import Machine, create, refused, told


def get(service: live.Live, path: str, key: str | None) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.get(f"{service.url}{path}", headers=headers, trust_env=False)


def test_at_the_root_the_key_decides(service: live.Live, key: str, machine: Machine) -> None:
    mine, theirs = get(service, "/v1/machines", key).json(), get(service, "/v1/machines", service.key).json()
    assert {it["id"][:4] for it in mine} == {"mch_"}
    assert {it["id"][:5] for it in theirs} == {"mach-"}
    assert get(service, "/v1/snapshots", key).status_code == 200
    assert get(service, "/v1/snapshots", service.key).status_code == 404
    assert get(service, "/v1/checkpoints", key).status_code == 404


def test_below_its_name_any_key_speaks_a_dialect(service: live.Live, key: str, machine: Machine) -> None:
    assert {it["id"][:4] for it in get(service, "/nullspace/v1/machines", service.key).json()} == {"mch_"}
    assert {it["id"][:5] for it in get(service, "/smol/v1/machines", key).json()} == {"mach-"}


@pytest.mark.parametrize(
    ("path", "token", "is_ours"),
    [
        ("/v1/machines", "ns_live_wrong", True),
        ("/v1/snapshots", "ns_x", True),
        ("/nullspace/v1/machines", "smk_wrong", True),
        ("/nullspace/nowhere", None, True),
        ("/v1/machines", "smk_wrong", False),
        ("/v1/snapshots", None, False),
        ("/v1/machines", "nsx", False),
    ],
)
def test_an_unknown_key_is_refused_in_the_words_of_its_dialect(
    service: live.Live, path: str, token: str | None, is_ours: bool
) -> None:
    answer = get(service, path, token)
    assert answer.status_code == 401
    if is_ours:
        assert refused(answer, 401, "unauthorized")
    else:
        assert answer.content == b"" if token is None else answer.json()["code"] == "unknown_key"


def test_a_machine_is_one_machine_in_both(service: live.Live, machine: Machine) -> None:
    bare = machine.id.removeprefix("mch_")
    theirs = get(service, f"/v1/machines/mach-{bare}", service.key).json()
    assert (theirs["state"], theirs["resources"]["memoryMb"], theirs["workdir"]) == ("started", 256, "/workspace")
    machine.post("hibernate")
    assert get(service, f"/v1/machines/mach-{bare}", service.key).json()["state"] == "paused"


def test_a_machine_of_the_other_dialect_is_shown_whole(service: live.Live, http: httpx.Client) -> None:
    headers = {"authorization": f"Bearer {service.key}"}
    source = {"type": "image", "reference": "debian"}
    made = httpx.post(f"{service.url}/v1/machines", json={"source": source}, headers=headers, trust_env=False).json()
    it = told(http.get(f"/v1/machines/{made['id'].removeprefix('mach-')}"))
    assert (it["status"], it["template"], it["timeout_action"]) == ("paused", "base", "destroy")
    assert not {"timeout_ms", "timeout_at", "remaining_ms", "started_at", "cwd"} & it.keys()
    assert told(http.post(f"/v1/machines/{it['id']}/resume"))["status"] == "running"
    http.delete(f"/v1/machines/{it['id']}")


def test_a_wrong_key_learns_nothing_of_paths(service: live.Live) -> None:
    answers = [get(service, f"/nullspace{path}", None) for path in ("/v1/machines", "/nowhere", "/", "/v1/machines/x")]
    assert {it.status_code for it in answers} == {401}


def test_request_ids_are_kept(http: httpx.Client) -> None:
    answer = create(http, template="no-such-image")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    mine = http.get("/v1/machines/nope", headers={"x-request-id": "abc-1"})
    assert mine.json()["request_id"] == mine.headers["x-request-id"] == "abc-1"
