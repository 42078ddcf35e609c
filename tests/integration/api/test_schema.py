"""What a dialect's OpenAPI document promises is kept, whatever is sent: requests are made out of the document itself.

Only what would do something to this box, or never end, is tamed: commands, addresses, sizes, streams.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import live
from hutch.api.freestyle import recipe as freestyle_recipe
from hutch.api.freestyle import sizes, specs
from hutch.api.smol import recipes as smol_recipes
from hutch.model.recipes import Layer, Recipe

BUDGET = 40.0
"""Seconds for all operations of a document."""

EXAMPLES = 40
HONEST = frozenset({501, 504})
"""Of a server, and no fault: what cannot be done here, and what did not happen in the time that was given for it."""


@dataclass(frozen=True)
class Dialect:
    """A document, the things its paths may name, and what must not be asked as it comes."""

    name: str
    things: Callable[[httpx.Client], Mapping[tuple[str, str], str]]
    bodies: Mapping[str, Any] = field(default_factory=dict)  # by field, in place of anything of the same type
    query: Mapping[str, Any] = field(default_factory=dict)
    endless: frozenset[str] = frozenset()
    honest: frozenset[int] = HONEST


def _of_smol(http: httpx.Client) -> dict[tuple[str, str], str]:
    """By the beginning of the path and the parameter."""

    def made(path: str, **body: Any) -> str:
        answer = http.post(path, json=body)
        assert answer.is_success, answer.text
        return str(answer.json().get("processId") or answer.json()["id"])

    def claimed(machine: str) -> str:
        answer = http.post("/v1/domains", json={"name": "schema.invalid", "machine": machine, "port": 80})
        return str(answer.json()["name"])

    source, small = {"type": "image", "reference": "debian"}, {"memoryMb": 64}
    machine = made("/v1/machines", source=source, resources=small)
    http.post(f"/v1/machines/{machine}/start")
    return {
        ("/v1/machines", "id"): machine,
        ("/v1/machines", "session"): made(f"/v1/machines/{machine}/sessions"),
        ("/v1/machines", "job"): made(f"/v1/machines/{machine}/jobs", command="echo x"),
        ("/v1/machines", "process"): made(f"/v1/machines/{machine}/exec", command="sleep 100", background=True),
        ("/v1/checkpoints", "id"): made(f"/v1/machines/{machine}/checkpoints"),
        ("/v1/builds", "id"): made("/v1/builds", base={"image": "debian"}),
        ("/v1/volumes", "id"): made("/v1/volumes", name="schema", sizeGb=1),
        ("/v1/pools", "id"): made("/v1/pools", image="debian", min=0, max=1),
        ("/v1/domains", "domain"): claimed(machine),
        ("/v1/webhooks", "id"): made("/v1/webhooks", url="https://hooks.invalid/"),
        ("/v1/apikeys", "id"): made("/v1/apikeys", scopes=["usage:read"]),
        ("/v1/tenants", "id"): made("/v1/tenants", name="schema"),
    }


SMOL = Dialect(
    "smol",
    _of_smol,
    bodies={
        **{"command": ["true"], "code": "", "warmUp": ["true"], "url": "https://hooks.invalid/", "min": 0, "count": 2},
        # what a build or a service does in a simulated guest is done on this box
        **{"layers": [{"discriminator": "schema"}], "dockerfile": "FROM scratch", "exec": ["true"]},
    },
    query={"follow": False, "timeout": 0.01, "wait": 0.01},
    endless=frozenset({"/v1/events", "/v1/machines/{id}/watch"}),
)


def _of_nullspace(http: httpx.Client) -> dict[tuple[str, str], str]:
    """The same."""
    root = "/nullspace/v1"

    def made(path: str, **body: Any) -> str:
        answer = http.post(root + path, json=body)
        assert answer.is_success, answer.text
        return str(answer.json().get("pid") or answer.json()["id"])

    machine = made("/machines", memory_mb=64)
    return {
        ("/v1/machines", "id"): machine,
        ("/v1/machines", "pid"): made(f"/machines/{machine}/exec", command="sleep 100", background=True),
        ("/v1/machines", "port"): str(http.base_url.port),  # where something listens: the service itself
        ("/v1/snapshots", "id"): made(f"/machines/{machine}/snapshots"),
        ("/v1/volumes", "id"): made("/volumes", name="schema-of-nullspace", size_gb=1),
        ("/v1/template-warm-pools", "id"): made(
            *("/template-warm-pools",),
            **{"name": "schema", "template": "base", "min_ready": 0, "max_ready": 1},
            resources={"vcpus": 1, "memory_mb": 64},
        ),
        ("/v1/lifecycle/webhooks", "id"): made(
            "/lifecycle/webhooks", url="https://hooks.invalid/", operations=["create"], signing_secret="s" * 32
        ),
        ("/v1/keys", "id"): made("/keys", scope="usage:read"),
        ("/v1/templates", "id"): "base",
    }


NULLSPACE = Dialect(
    "nullspace",
    _of_nullspace,
    bodies={
        **{"command": "true", "args": [], "timeout_secs": 1, "url": "https://hooks.invalid/", "min_ready": 0},
        **{"path": "/tmp/schema", "old_path": "/tmp/schema", "new_path": "/tmp/schema2", "files": ["/tmp/schema"]},
        "wait_ms": 1,
    },
    query={"path": "/tmp/schema"},
)


def _of_hyperfleet(http: httpx.Client) -> dict[tuple[str, str], str]:
    """The same."""
    made = http.post("/hyperfleet/machines", json={"name": "schema-h", "vcpu_count": 1, "mem_size_mib": 64}).json()
    http.post(f"/hyperfleet/machines/{made['id']}/start")
    return {("/machines", "id"): made["id"]}


HYPERFLEET = Dialect(
    "hyperfleet",
    _of_hyperfleet,
    bodies={"command": ["true"], "cmd": ["true"], "path": "/tmp/schema", "mem_size_mib": 64},
    query={"path": "/tmp/schema", "timeout": 0},
)


def _of_starpod(http: httpx.Client) -> dict[tuple[str, str], str]:
    """The same."""
    return {("/api/instances", "id"): http.post("/starpod/api/instances").json()["id"]}


STARPOD = Dialect("starpod", _of_starpod, honest=HONEST | {503})  # each instance runs, and the box is soon full


def _of_freestyle(http: httpx.Client) -> dict[tuple[str, str], str]:
    """The same."""
    vm = http.post("/freestyle/v1/vms", json={}).json()["id"]
    snapshot = http.post("/freestyle/v1/vms/snapshots", json={"spec": {}}).json()["snapshotId"]
    build = http.get(f"/freestyle/v1/vms/snapshots/{snapshot}").json()["buildId"]
    return {
        ("/v1/vms", "vm_id"): vm,
        ("/v1/vms", "id"): vm,
        ("/v1/vms", "snapshot_id"): snapshot,
        ("/v1/vms", "build_id"): build,
    }


FREESTYLE = Dialect(
    "freestyle",
    _of_freestyle,
    # what a build does in a simulated guest is done on this box: see the test of it
    bodies={
        **{"command": "true", "timeoutMs": 1000, "users": [], "groups": [], "aptDeps": [], "repos": [], "gitRepos": []},
        **{"services": [], "patchedServices": [], "exec": ["true"], "count": 1},
        **{"dockerfileContent": "FROM scratch", "path": "/tmp/schema", "git": {"config": {}}, "additionalFiles": {}},
        **{"workdir": "/tmp/schema", "discriminator": "schema", "skipCache": False, "rootfsSizeGb": 20},
    },
    endless=frozenset({"/v1/vms/{vm_id}/await", "/v1/vms/{vm_id}/stats/stream", "/v1/vms/{vm_id}/watch-files"}),
    honest=HONEST | {503},
)


def tame(body: Any, bodies: Mapping[str, Any]) -> Any:
    """The same body, without what would do something to this box. Of the wrong type it stays as it is."""
    if isinstance(body, list):
        return [tame(it, bodies) for it in body]
    if not isinstance(body, dict):
        return body
    of_its_type = {name: dict if isinstance(it, dict) else str | list | int for name, it in bodies.items()}
    is_harmful = {name for name, value in body.items() if name in bodies and isinstance(value, of_its_type[name])}
    return {name: bodies[name] if name in is_harmful else tame(value, bodies) for name, value in body.items()}


TAME = frozenset(
    {"cpus", "memory_mib", "disk_gib", "workdir", "discriminator", "waits_until_ready", "ready_timeout", "skip_cache"}
)
"""Fields of a layer for which nothing is run in the machine."""

_UNIT = {"name": "web", "mode": "service", "exec": ["reboot"]}
_PEOPLE = {"users": [{"name": "eve"}], "groups": [{"name": "eve"}]}
_REPOSITORY = {"repo": "/", "url": "/", "path": "/etc/eve"}
_SMOL_LAYER = {
    **_PEOPLE,
    **{"packages": ["eve"], "git": {"name": "eve"}, "repositories": [{"url": "/", "path": "/etc/eve"}]},
    **{"files": [{"path": "/etc/eve", "content": ""}], "services": [_UNIT], "patches": [_UNIT]},
}
_FREESTYLE_LAYER = {
    **_PEOPLE,
    **{"aptDeps": ["eve"], "gitRepos": [_REPOSITORY], "git": {"config": {"user": {"name": "eve"}}}},
    **{"additionalFiles": {"/etc/eve": {"content": ""}}},
    "systemd": {"services": [_UNIT], "patchedServices": [_UNIT]},
}
_WITH_BASE = {**_FREESTYLE_LAYER, "baseImage": {"dockerfileContent": "FROM debian\nRUN reboot"}}
_IN_GIT = {**_FREESTYLE_LAYER, "gitRepos": None, "git": {"config": {"user": {"name": "eve"}}, "repos": [_REPOSITORY]}}
_MAY = sizes.Ranges(cpus=8, least_mib=64, most_mib=2**14, most_gib=1024)


def _smol(body: Any) -> Recipe:
    return smol_recipes.build(smol_recipes.CreateBuild.model_validate_json(json.dumps(body))).recipe


def _vm(body: Any) -> Recipe:
    return freestyle_recipe.plan(specs.CreateVm.model_validate_json(json.dumps(body)), _MAY, 16).recipe


def _snapshot(body: Any) -> Recipe:
    return freestyle_recipe.plan(specs.CreateSnapshot.model_validate_json(json.dumps(body)), _MAY, 16).recipe


def _does(it: Recipe) -> set[str]:
    """What is run in a machine for it."""
    said = {field.name for layer in it.layers for field in fields(Layer)
            if getattr(layer, field.name) != getattr(Layer(), field.name)}  # fmt: skip
    return (said - TAME) | ({"dockerfile"} if it.base.dockerfile not in (None, "FROM scratch") else set())


@pytest.mark.parametrize(
    ("dialect", "read", "body"),
    [
        (SMOL, _smol, {"base": {"dockerfile": "FROM debian\nRUN reboot"}, "layers": [_SMOL_LAYER, _SMOL_LAYER]}),
        (FREESTYLE, _vm, {**_FREESTYLE_LAYER, "spec": {**_FREESTYLE_LAYER, "snapshot": {"snapshot": _WITH_BASE}}}),
        (FREESTYLE, _vm, {**_IN_GIT, "template": {**_IN_GIT, "baseImage": _WITH_BASE["baseImage"]}}),
        (FREESTYLE, _snapshot, {"spec": {**_FREESTYLE_LAYER, "snapshot": _WITH_BASE}}),
        (FREESTYLE, _snapshot, {"template": _WITH_BASE}),
    ],
    ids=["build", "spec", "template", "snapshot of a spec", "snapshot of a template"],
)
def test_nothing_of_a_recipe_that_is_made_up_is_run_on_this_box(
    dialect: Dialect, read: Callable[[Any], Recipe], body: Any
) -> None:
    everything = {field.name for field in fields(Layer)} - TAME
    assert _does(read(body)) == everything | {"dockerfile"}, "the worst that can be said in this form"
    assert _does(read(tame(body, dialect.bodies))) == set()


@pytest.mark.filterwarnings(
    "ignore::hypothesis.errors.HypothesisDeprecationWarning"
)  # of random, which others here use
@pytest.mark.parametrize("dialect", [SMOL, NULLSPACE, HYPERFLEET, STARPOD, FREESTYLE], ids=lambda it: it.name)
def test_every_operation_answers_as_its_document_says(service: live.Live, http: httpx.Client, dialect: Dialect) -> None:
    before = {it["id"] for it in http.get("/v1/machines").json()}
    things = dialect.things(http)
    schema = schemathesis.openapi.from_url(f"{service.url}/{dialect.name}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    asked = 0

    def check(operation: Any, until: float) -> None:
        known, is_asked = {it.name for it in operation.query}, False

        @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=operation.as_strategy())
        def answers(case: Any) -> None:
            nonlocal asked, is_asked
            if is_asked and time.monotonic() > until:  # each is asked once, however slow this box is
                return
            is_asked = True
            asked += 1
            case.body = tame(case.body, dialect.bodies)
            for name, value in dialect.query.items():
                if name in known:
                    case.query = {**(case.query or {}), name: value}
            for (root, name), value in things.items():
                if operation.path.startswith(root) and name in (case.path_parameters or {}) and asked % 4:
                    case.path_parameters[name] = value
            answer = case.call(
                base_url=f"{service.url}/{dialect.name}",
                headers={"authorization": f"Bearer {service.key}"},
                timeout=20,
            )
            usual = [status_code_conformance, content_type_conformance, response_schema_conformance]
            case.validate_response(
                answer, checks=usual if answer.status_code in dialect.honest else [*usual, not_a_server_error]
            )

        answers()

    began = time.monotonic()
    broken = []
    for number, operation in enumerate(operations, 1):
        if operation.path not in dialect.endless:
            try:
                check(operation, began + BUDGET * number / len(operations))
            except (Exception, BaseExceptionGroup) as error:
                broken.append("\n".join((operation.label, *(str(it) for it in getattr(error, "exceptions", [error])))))
    for it in http.get("/v1/machines").json():
        if it["id"] not in before:
            http.delete(f"/v1/machines/{it['id']}")
    assert not broken, "\n\n".join(broken)
    assert asked >= len([it for it in operations if it.path not in dialect.endless])
    assert httpx.get(f"{service.url}/health", trust_env=False).status_code == 200
