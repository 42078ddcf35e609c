"""Keys, pools, templates, volumes, webhooks, requests done once, health, documents; over plain HTTP."""

import json
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import live
from hutch.api.nullspace import inventory, responses, undone, webhooks

from .conftest import Machine, create, refused, told


def wait(condition: Callable[[], bool], limit: float = 20) -> None:
    until = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_key_lives_until_it_is_revoked(service: live.Live, http: httpx.Client) -> None:
    made = http.post("/v1/keys", json={"name": "ci", "scope": "machine:read, machine:exec"})
    assert made.status_code == 201, made.text
    new = inventory.NewKey.model_validate_json(made.content)
    assert (str(uuid.UUID(new.id)), new.key.startswith("ns_live_")) == (new.id, True)
    assert (new.name, new.scope) == ("ci", "machine:exec machine:read")
    theirs = {"authorization": f"Bearer {new.key}"}
    assert httpx.get(f"{service.url}/v1/machines", headers=theirs, trust_env=False).status_code == 200
    listed = next(it for it in http.get("/v1/keys").json() if it["id"] == new.id)
    shown = inventory.Key.model_validate(listed)
    assert (shown.prefix, shown.is_active, shown.name, shown.scope) == ("ns_live", True, "ci", new.scope)
    assert shown.last_used_at
    assert new.key not in http.get("/v1/keys").text
    gone = http.delete(f"/v1/keys/{new.id}")
    assert (gone.status_code, gone.json()) == (200, {"success": True})
    refused(httpx.get(f"{service.url}/v1/machines", headers=theirs, trust_env=False), 401, "unauthorized")
    refused(http.delete(f"/v1/keys/{new.id}"), 404, "not_found")
    refused(http.delete("/v1/keys/nope"), 404, "not_found")
    refused(http.post("/v1/keys", json={"scope": "everything"}), 400, "invalid_request")


@pytest.fixture
def pool(http: httpx.Client) -> Any:
    wanted = {
        **{"name": f"p{uuid.uuid4().hex[:8]}", "template_ref": "base", "min_ready": 1, "max_ready": 2},
        "resources": {"vcpus": 1, "memory_mb": 256},
    }
    made = http.post("/v1/template-warm-pools", json=wanted)
    assert made.status_code == 201, made.text
    inventory.Pool.model_validate_json(made.content)
    id = made.json()["id"]
    wait(lambda: http.get(f"/v1/template-warm-pools/{id}").json()["status"]["ready"] == 1)
    yield made.json()
    http.delete(f"/v1/template-warm-pools/{id}")


def test_a_pool_is_made_listed_and_deleted(http: httpx.Client, pool: dict[str, Any]) -> None:
    path = f"/v1/template-warm-pools/{pool['id']}"
    assert pool["id"].startswith("twp_")
    assert (pool["template_ref"], pool["state"], pool["min_ready"], pool["max_ready"]) == ("base", "enabled", 1, 2)
    assert http.get(f"/v1/template-warm-pools/{pool['id'].removeprefix('twp_')}").json()["id"] == pool["id"]
    assert http.get(f"{path}/status").json()["ready"] == 1
    assert http.post(f"{path}/reconcile").json()["state"] == "enabled"

    def found(**query: str) -> list[str]:
        answer = http.get("/v1/template-warm-pools", params=query)
        inventory.Pools.model_validate_json(answer.content)
        return [it["id"] for it in answer.json()["items"]]

    assert pool["id"] in found()
    assert pool["id"] in found(template="base", state="enabled", status="ready")
    assert pool["id"] not in found(template="alpine")
    assert found(state="disabled") == found(label="a") == []
    refused(http.get("/v1/template-warm-pools", params={"state": "odd"}), 400, "invalid_request")
    gone = http.delete(path)
    assert (gone.status_code, gone.json()["state"]) == (200, "deleted")
    refused(http.get(path), 404, "not_found")


def test_a_pool_is_changed_disabled_and_drained(http: httpx.Client, pool: dict[str, Any]) -> None:
    path = f"/v1/template-warm-pools/{pool['id']}"

    def shown(answer: httpx.Response) -> dict[str, Any]:
        assert answer.status_code == 200, answer.text
        inventory.Pool.model_validate_json(answer.content)
        it: dict[str, Any] = answer.json()
        return it

    said = {"name": f"{pool['name']}x", "max_ready": 3, "labels": {"team": "a"}, "metadata": {"n": [1]}}
    it = shown(http.patch(path, json={**said, "checkout_policy": "require", "template_ref": None}))
    assert {name: it[name] for name in said} == said
    assert (it["checkout_policy"], it["min_ready"]) == ("require", 1)
    assert it["updated_at"] >= it["created_at"]
    for label, is_found in (("team=a", True), ("team", True), ("team=b", False), ("other", False)):
        items = http.get("/v1/template-warm-pools", params={"label": label}).json()["items"]
        assert (pool["id"] in [one["id"] for one in items]) is is_found
    it = shown(http.post(f"{path}/disable"))
    assert (it["state"], it["degraded_reason"], it["status"]["ready"]) == ("disabled", "controller_disabled", 1)
    refused(create(http, warm_pool={"id": pool["id"], "wait_ms": 30_000}), 503, "warm_pool_unavailable")
    it = shown(http.post(f"{path}/drain"))
    assert (it["state"], it["degraded_reason"], it["status"]["ready"]) == ("draining", "drain_active", 0)
    assert pool["id"] in [
        one["id"] for one in http.get("/v1/template-warm-pools", params={"state": "draining"}).json()["items"]
    ]
    it = shown(http.post(f"{path}/enable"))
    assert (it["state"], it.get("degraded_reason")) == ("enabled", None)
    wait(lambda: http.get(f"{path}/status").json()["ready"] == 1)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"min_ready": 3}, 400),
        ({"max_ready": 65}, 400),
        ({"max_ready": -1}, 400),
        ({"name": "sp ace"}, 400),
        ({"labels": {"a": 1}}, 400),
        ({"checkout_policy": "often"}, 400),
        ({"template_ref": "alpine"}, 501),
        ({"resources": {"vcpus": 2, "memory_mb": 256}}, 501),
        ({"track_tag": "latest"}, 501),
        ({"stale_after_seconds": 60}, 501),
    ],
)
def test_a_change_of_a_pool_that_cannot_be_is_refused(
    http: httpx.Client, pool: dict[str, Any], fields: dict[str, Any], status: int
) -> None:
    path = f"/v1/template-warm-pools/{pool['id']}"
    refused(http.patch(path, json=fields), status, {400: "invalid_request"}.get(status, "not_implemented"))
    refused(http.patch("/v1/template-warm-pools/twp_nope", json={}), 404, "not_found")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"min_ready": 3}, 400),
        ({"template_ref": ""}, 400),
        ({"template_ref": "base", "template": "alpine"}, 400),
        ({"labels": {"a": 1}}, 400),
        ({"version_policy": "track_tag"}, 501),
        ({"idle_timeout_seconds": 60}, 501),
        ({"host_pool_id": "x"}, 501),
    ],
)
def test_a_pool_that_cannot_be_is_refused(http: httpx.Client, fields: dict[str, Any], status: int) -> None:
    wanted = {"name": "odd", "template_ref": "base", "min_ready": 0, "max_ready": 1}
    wanted |= {"resources": {"vcpus": 1, "memory_mb": 256}} | fields
    refused(
        http.post("/v1/template-warm-pools", json=wanted),
        status,
        {400: "invalid_request"}.get(status, "not_implemented"),
    )


def test_a_machine_comes_out_of_a_pool(http: httpx.Client, pool: dict[str, Any]) -> None:
    wanted = {"template": "base", "vcpus": 1, "memory_mb": 256, "metadata": {"a": 1}}
    it = told(create(http, **wanted, warm_pool={"id": pool["id"], "mode": "require"}), 201)
    assert it["warm_pool_checkout"] == {"source": "ready_instance", "hit": True, "mode": "require", "id": pool["id"]}
    assert (it["status"], it["metadata"]) == ("running", {"a": 1})
    for answer in (http.get(f"/v1/machines/{it['id']}"), http.get("/v1/machines"), http.get("/v1/machines?limit=100")):
        found = answer.json()
        items = found if isinstance(found, list) else found.get("items", [found])
        assert next(one for one in items if one["id"] == it["id"])["warm_pool_checkout"] == it["warm_pool_checkout"]
    http.delete(f"/v1/machines/{it['id']}")


def test_a_repeated_request_is_told_the_same_and_takes_no_second(http: httpx.Client, pool: dict[str, Any]) -> None:
    body = {"warm_pool": {"id": pool["id"], "mode": "require", "wait_ms": 30_000}}
    headers = {"idempotency-key": uuid.uuid4().hex}
    with ThreadPoolExecutor(4) as many:
        made = list(many.map(lambda _: told(http.post("/v1/machines", json=body, headers=headers), 201), range(4)))
    assert {it["id"] for it in made} == {made[0]["id"]}
    assert {it["warm_pool_checkout"]["source"] for it in made} == {"ready_instance"}
    assert http.get(f"/v1/template-warm-pools/{pool['id']}/status").json()["claimed"] == 1
    http.delete(f"/v1/machines/{made[0]['id']}")


def test_without_one_ready_it_is_made_or_refused(http: httpx.Client) -> None:
    body = {"name": f"e{uuid.uuid4().hex[:8]}", "template": "alpine", "min_ready": 0, "max_ready": 0}
    pool = http.post("/v1/template-warm-pools", json=body | {"resources": {"vcpus": 1, "memory_mb": 256}}).json()["id"]
    refused(create(http, warm_pool={"id": pool, "mode": "require", "wait_ms": 50}), 503, "warm_pool_unavailable")
    it = told(create(http, warm_pool={"id": pool}), 201)
    assert it["warm_pool_checkout"] == {"source": "cold_create", "hit": False, "mode": "prefer", "id": pool}
    by = told(create(http, warm_pool={"mode": "bypass"}), 201)
    assert by["warm_pool_checkout"] == {"source": "bypassed", "hit": False, "mode": "bypass"}
    refused(create(http, template="base", warm_pool={"id": pool}), 400, "invalid_request")
    refused(create(http, warm_pool={"id": "twp_nope"}), 404, "not_found")
    over = told(create(http, template="base", vcpus=1, warm_pool={"id": pool, "mode": "bypass"}), 201)
    assert over["warm_pool_checkout"] == {"source": "bypassed", "hit": False, "mode": "bypass", "id": pool}
    assert (over["template"], over["config"]["memory_mb"]) == ("base", 256)
    refused(create(http, warm_pool={"id": "twp_nope", "mode": "bypass"}), 404, "not_found")
    for id in (it["id"], by["id"], over["id"]):
        http.delete(f"/v1/machines/{id}")
    http.delete(f"/v1/template-warm-pools/{pool}")


def test_templates_are_images_and_snapshots(machine: Machine) -> None:
    kept = machine.post("snapshots").json()["id"]
    found = machine.http.get("/v1/templates").json()
    for it in found:
        inventory.Template.model_validate(it)
    assert (found[0]["id"], found[0]["builtin"]) == ("base", True)
    assert kept in [it["id"] for it in found]
    assert machine.http.get(f"/v1/templates/{kept}").json()["canonical_ref"] == kept
    assert machine.http.get("/v1/templates/refs/base").json()["name"] == "base"
    assert machine.http.get("/v1/templates", params={"fields": "id"}).json()[0] == {"id": "base"}
    its = machine.http.get(f"/v1/templates/{kept}").json()["runtime_defaults"]
    assert its == {"default_env_keys": [], "default_workdir": "/workspace"}
    refused(machine.http.get("/v1/templates/none"), 404, "template_not_found")
    refused(machine.http.post("/v1/templates", json={}), 501, "not_implemented")
    refused(machine.http.post("/v1/templates/base/rename", json={}), 501, "not_implemented")
    refused(machine.http.get("/v1/templates/base/tags"), 501, "not_implemented")
    machine.http.delete(f"/v1/snapshots/{kept}")


def test_volumes_are_attached_when_a_machine_is_made(http: httpx.Client) -> None:
    names = [f"v{uuid.uuid4().hex[:8]}" for _ in range(2)]
    made = [http.post("/v1/volumes", json={"name": name, "size_gb": 1}) for name in names]
    for it in made:
        assert it.status_code == 200, it.text
        inventory.Volume.model_validate_json(it.content)
    ids = [it.json()["id"] for it in made]
    assert made[0].json()["max_size_bytes"] == 2**30
    mounts = [
        {"ref": ids[1], "mount_path": "/data/two", "subpath": None, "read_only": True},
        {"ref": names[0], "mount_path": "/data/one"},
    ]
    machine = Machine(http, told(create(http, volumes=mounts, metadata={"a": 1}), 201)["id"])
    shown = machine.look()["metadata"]
    assert shown["a"] == 1
    assert [
        (it["volume_id"], it["mount_path"], it["read_only"], it["state"]) for it in shown["volume_attachments"]
    ] == [
        (ids[1], "/data/two", True, "mounted"),
        (ids[0], "/data/one", False, "mounted"),
    ]
    assert http.get(f"{machine.path}/volumes").json() == shown["volume_attachments"]
    for it in shown["volume_attachments"]:
        responses.Attachment.model_validate(it)
    assert http.get(f"/v1/volumes/{ids[0]}").json()["status"] == "attached"
    assert http.get(f"/v1/volumes/by-name/{names[0]}").json()["id"] == ids[0]
    assert [it["machine_id"] for it in http.get(f"/v1/volumes/{ids[0]}/attachments").json()] == [machine.id]
    refused(http.delete(f"/v1/volumes/{ids[0]}"), 409, "volume_busy")
    refused(machine.post("fork"), 409, "transition_conflict")
    refused(machine.post("volumes", {"ref": ids[0], "mount_path": "/x"}), 501, "not_implemented")
    http.delete(machine.path)
    assert set(ids) <= {it["id"] for it in http.get("/v1/volumes").json()}
    for id in ids:
        assert http.delete(f"/v1/volumes/{id}").status_code == 204
    refused(http.get(f"/v1/volumes/{ids[0]}"), 404, "not_found")
    refused(create(http, volumes=[{"ref": ids[0], "mount_path": "/x"}]), 404, "not_found")
    refused(create(http, volumes=[{"ref": "x", "mount_path": "/x", "subpath": "a"}]), 501, "not_implemented")


def test_webhooks_are_kept(http: httpx.Client) -> None:
    body = {"url": "https://example.org/hook", "operations": ["hibernate", "create"], "signing_secret": "s" * 32}
    made = http.post("/v1/lifecycle/webhooks", json=body)
    assert made.status_code == 201, made.text
    it = webhooks.Hook.model_validate_json(made.content)
    assert (it.url, it.operations, it.enabled) == (body["url"], ["create", "hibernate"], True)
    path = f"/v1/lifecycle/webhooks/{it.id}"
    assert http.get(path).json() == made.json()
    assert it.id in [one["id"] for one in http.get("/v1/lifecycle/webhooks").json()]
    assert http.get(f"{path}/deliveries").json() == []
    changed = http.patch(path, json={"enabled": False, "operations": ["fork"], "signing_secret": "n"}).json()
    assert (changed["enabled"], changed["operations"], changed["url"]) == (False, ["fork"], body["url"])
    assert http.get(path).json() == changed
    refused(http.patch(path, json={"operations": []}), 400, "invalid_request")
    assert http.delete(path).status_code == 204
    refused(http.get(path), 404, "not_found")
    refused(http.post("/v1/lifecycle/webhooks", json={**body, "operations": []}), 400, "invalid_request")
    off = http.post("/v1/lifecycle/webhooks", json={**body, "enabled": False}).json()
    assert off["enabled"] is False
    http.delete(f"/v1/lifecycle/webhooks/{off['id']}")
    refused(http.patch(path, json={"enabled": True}), 404, "not_found")


def test_lifecycle_is_listed(machine: Machine) -> None:
    machine.post("hibernate")
    answer = machine.http.get(f"{machine.path}/lifecycle")
    assert answer.status_code == 200, answer.text
    responses.Events.model_validate_json(answer.content)
    shown = answer.json()
    told_ = [(it["operation"], it["status"]) for it in shown["events"]]
    assert told_[:2] == [("hibernate", "succeeded"), ("hibernate", "requested")]
    assert told_[-1] == ("create", "requested")
    assert (shown["offset"], shown["limit"], shown["has_more"]) == (0, 50, False)
    some = {"operation": "hibernate", "status": "succeeded", "order": "asc", "limit": 1}
    found = machine.http.get(f"{machine.path}/lifecycle", params=some).json()
    assert [it["id"] for it in found["events"]] == [shown["events"][0]["id"]]
    first = machine.http.get(f"{machine.path}/lifecycle", params={"limit": 1}).json()
    assert (len(first["events"]), first["has_more"]) == (1, True)
    late = machine.http.get(f"{machine.path}/lifecycle", params={"from": "2999-01-01T00:00:00Z"}).json()
    assert late["events"] == []
    everywhere = machine.http.get("/v1/lifecycle/events", params={"machine_id": machine.id}).json()
    assert everywhere == shown
    refused(machine.http.get("/v1/lifecycle/events?target_machine_id=x"), 501, "not_implemented")
    refused(machine.http.get("/v1/lifecycle/events?machine_id=mch_nope"), 404, "machine_not_found")
    refused(machine.http.get("/v1/lifecycle/events?snapshot_id=snap_nope"), 404, "snapshot_not_found")
    for bad in ({"limit": 0}, {"operation": "dance"}, {"from": "then"}, {"from": "2026-01-01T00:00:00"}):
        refused(machine.http.get(f"{machine.path}/lifecycle", params=bad), 400, "invalid_request")


def test_the_lifecycle_of_a_snapshot_is_its_making(machine: Machine) -> None:
    kept = machine.post("snapshots").json()["id"]
    (made,) = machine.http.get(f"/v1/snapshots/{kept}/lifecycle").json()["events"]
    assert (made["operation"], made["snapshot_id"], made["machine_id"]) == ("snapshot_created", kept, machine.id)
    refused(machine.http.get("/v1/snapshots/snap_nope/lifecycle"), 404, "snapshot_not_found")
    machine.http.delete(f"/v1/snapshots/{kept}")
    assert machine.http.get(f"/v1/snapshots/{kept}/lifecycle").json()["events"] == [made]


def test_lifecycle_of_all_is_listed_and_of_deleted_machines(http: httpx.Client) -> None:
    first, second = (Machine(http, told(create(http), 201)["id"]) for _ in range(2))
    http.delete(first.path)
    http.delete(second.path)
    gone = http.get(f"{first.path}/lifecycle").json()["events"]
    assert (gone[0]["operation"], gone[0]["status"]) == ("destroy", "succeeded")
    page = {"operation": "destroy", "status": "succeeded", "limit": 1}
    newest = http.get("/v1/lifecycle/events", params=page).json()
    before = http.get("/v1/lifecycle/events", params={**page, "offset": 1}).json()
    assert [it["events"][0]["machine_id"] for it in (newest, before)] == [second.id, first.id]
    assert newest["has_more"]
    assert before["events"][0] == gone[0]
    times = {"from": gone[-1]["occurred_at"], "order": "asc", "limit": 500}
    since = http.get("/v1/lifecycle/events", params=times).json()["events"]
    assert {first.id, second.id} <= {it["machine_id"] for it in since}


class TestOnce:
    """The header `Idempotency-Key`."""

    def test_a_repeated_create_is_the_same_machine(self, http: httpx.Client) -> None:
        key = uuid.uuid4().hex
        first, again = create(http, key, metadata={"a": 1}), create(http, key, metadata={"a": 1})
        assert told(first, 201)["id"] == told(again, 201)["id"]
        refused(create(http, key, metadata={"a": 2}), 409, "transition_conflict")
        http.delete(f"/v1/machines/{first.json()['id']}")

    def test_duplicates_at_once_make_one(self, http: httpx.Client) -> None:
        key, start = uuid.uuid4().hex, threading.Barrier(6)

        def send() -> str:
            start.wait()
            return str(told(create(http, key), 201)["id"])

        with ThreadPoolExecutor(6) as threads:
            made = {it.result() for it in [threads.submit(send) for _ in range(6)]}
        assert len(made) == 1
        http.delete(f"/v1/machines/{made.pop()}")

    def test_a_failure_is_not_kept(self, http: httpx.Client) -> None:
        key = uuid.uuid4().hex
        refused(create(http, key, template="no-such-image"), 404, "template_not_found")
        it = told(create(http, key), 201)
        http.delete(f"/v1/machines/{it['id']}")

    def test_forks_and_snapshots_too(self, machine: Machine) -> None:
        for verb, path in (("fork", "machines"), ("snapshots", "snapshots")):
            headers = {"idempotency-key": uuid.uuid4().hex}
            made = {machine.post(verb, headers=headers).json()["id"] for _ in range(2)}
            assert len(made) == 1
            machine.http.delete(f"/v1/{path}/{made.pop()}")

    def test_keys_have_a_length(self, http: httpx.Client) -> None:
        refused(create(http, "k" * 256), 400, "invalid_request")


def test_health_needs_no_key(service: live.Live) -> None:
    for path in ("/healthz", "/nullspace/healthz"):
        answer = httpx.get(f"{service.url}{path}", trust_env=False)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_documents_need_no_key(service: live.Live, http: httpx.Client) -> None:
    paper = httpx.get(f"{service.url}/nullspace/openapi.json", trust_env=False).json()
    assert paper["info"]["title"] == "Hutch, nullspace dialect"
    assert "/v1/machines/{id}/hibernate" in paper["paths"]
    page = httpx.get(f"{service.url}/nullspace/docs", trust_env=False)
    assert page.headers["content-type"].startswith("text/html")
    assert "/v1/machines/{id}/hibernate" in page.text
    assert http.get("/openapi.json").json() == paper  # by the key
    assert httpx.get(f"{service.url}/openapi.json", trust_env=False).json() != paper


def every_refusal() -> list[tuple[str, str]]:
    of_machines = [
        (method, f"/v1/machines/{{id}}{path}") for them in undone.OF_MACHINES.values() for method, path in them
    ]
    below = [("POST", f"{path}{rest}") for paths in undone.BELOW.values() for path in paths for rest in ("", "/a/b")]
    return of_machines + [it for them in undone.OF_THE_SERVICE.values() for it in them] + below


@pytest.mark.parametrize(("method", "path"), every_refusal())
def test_what_is_documented_and_not_here_is_a_501(service: live.Live, key: str, method: str, path: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False) as http:
        filled = path.replace("{port}", "80")
        for name in ("grant", "upload", "part", "context", "run", "artifact", "attachment", "delivery"):
            filled = filled.replace(f"{{{name}}}", "x")
        if filled.startswith("/v1/machines/"):
            nobody = filled.replace("{id}", "mch_nope")
            refused(http.request(method, nobody), 404, "machine_not_found")
            filled = filled.replace("{id}", _some_machine(http))
        refused(http.request(method, filled.replace("{id}", "x")), 501, "not_implemented")


_MACHINES: dict[str, str] = {}


def _some_machine(http: httpx.Client) -> str:
    base = str(http.base_url)
    if base not in _MACHINES:
        _MACHINES[base] = told(create(http), 201)["id"]
    return _MACHINES[base]


def test_a_path_that_leads_nowhere_is_not_found(http: httpx.Client) -> None:
    refused(http.get("/v1/nowhere"), 404, "not_found")
    refused(http.put("/v1/machines"), 405, "invalid_request")
    assert json.loads(http.get("/nowhere").content)["request_id"]
