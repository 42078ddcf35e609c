"""The page of the freestyle dialect names everything there is, and its document has what its contract has."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hutch.api import openapi, page
from hutch.api.freestyle import codes, dialect, guest, requests, specs, states
from hutch.api.metrics import Metrics
from hutch.api.service import Service
from hutch.settings import Settings

TEXT = (Path(__file__).parents[3] / "docs/apis/freestyle.md").read_text()
ITS = Service(None, Settings(), Metrics())  # type: ignore[arg-type]
PAPER = openapi.document(dialect.routes(ITS), (*requests.ALL, *specs.ALL, *guest.BODIES), dialect.PUBLIC)

VM, SNAPSHOT, BUILD = "/v1/vms/{vm_id}", "/v1/vms/snapshots/{snapshot_id}", "/v1/vms/builds/{build_id}"
CONTRACT: Mapping[str, str] = {
    "GET /v1/vms": "vms totalCount runningCount startingCount suspendedCount stoppedCount",
    "POST /v1/vms": "id domains",
    f"GET {BUILD}": "buildId accountId state plannedPhases startedAt updatedAt",
    f"GET {BUILD}/phases": "phases",
    "GET /v1/vms/snapshots": (
        "snapshots totalCount buildingCount readyCount failedCount cancelledCount lostCount deletedCount"
    ),
    "POST /v1/vms/snapshots": "snapshotId",
    f"GET {SNAPSHOT}": "snapshotId state createdAt failed cancelled lost deleted snapshotPersistence",
    f"DELETE {SNAPSHOT}": "snapshot_id",
    f"PATCH {SNAPSHOT}": "snapshot_id",
    "POST /v1/vms/{id}/resize": "",
    f"GET {VM}": "id state",
    f"DELETE {VM}": "id",
    f"POST {VM}/await": "id exitStatus",
    f"GET {VM}/build": "buildId accountId state plannedPhases startedAt updatedAt",
    f"POST {VM}/exec-await": "",
    f"GET {VM}/files/{{filepath}}": "",
    f"PUT {VM}/files/{{filepath}}": "",
    f"POST {VM}/fork": "vmId forks",
    f"POST {VM}/kill": "id",
    f"POST {VM}/optimize": "id message",
    f"POST {VM}/snapshot": "snapshotId sourceVmId",
    f"POST {VM}/start": "id domains",
    f"GET {VM}/stats/stream": "",
    f"POST {VM}/stop": "vmId vmInstanceId",
    f"POST {VM}/suspend": "id vmInstanceId snapshotLayerId",
    f"POST {VM}/systemd/restart": "results",
    f"GET {VM}/systemd/services": "services",
    f"POST {VM}/systemd/services": "success message serviceName",
    f"DELETE {VM}/systemd/services/{{service_id}}": "success message",
    f"GET {VM}/systemd/services/{{service_id}}/logs": "logs",
    f"GET {VM}/systemd/services/{{service_id}}/status": "name activeState subState loadState description",
    f"POST {VM}/systemd/start": "results",
    f"POST {VM}/systemd/stop": "results",
    f"GET {VM}/terminals": "terminals",
    f"GET {VM}/terminals/{{terminal_id}}/logs": "logs",
    f"GET {VM}/terminals/{{terminal_id}}/xterm-256color": "output",
    f"POST {VM}/watch-files": "",
}
"""Every operation, and what its answer must have."""


def operations() -> Iterator[tuple[str, Any]]:
    for path, methods in PAPER["paths"].items():
        for method, its in methods.items():
            yield f"{method.upper()} {path}", its


def required(operation: Any) -> set[str]:
    schema = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
    while "$ref" in schema:
        schema = PAPER["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return set(schema.get("required", ()))


def test_all_37_operations_are_there_with_what_their_answers_must_have() -> None:
    there = dict(operations())
    assert len(CONTRACT) == 37
    assert set(CONTRACT) <= set(there)
    for name, fields in CONTRACT.items():
        assert set(fields.split()) <= required(there[name]), name


def written() -> Iterator[str]:
    """The operations that the page names; `…` stands for a VM's path, and `{a,b}` for two of them."""
    for method, path in re.findall(r"`(GET|POST|PUT|PATCH|DELETE) ([^`?]+)", TEXT):
        whole = path.replace("…", VM)
        several = re.search(r"\{(\w+(?:,\w+)+)\}", whole)
        for name in several[1].split(",") if several else [""]:
            yield f"{method} {whole.replace(several[0], name) if several else whole}"


def test_every_operation_is_in_the_page_and_no_other() -> None:
    assert set(written()) == {name for name, _ in operations()}


def test_every_field_is_in_the_page() -> None:
    for model in (specs.CreateVm, specs.SnapshotSpec, requests.VmPersistence, requests.DockerCredentials):
        for field in model.model_fields.values():
            assert re.search(rf"`[^`]*\b{field.alias}\b", TEXT), field.alias


def test_every_code_is_in_the_page_or_one_of_a_family() -> None:
    families = re.findall(r"`([A-Z_]+_)…", TEXT)
    for code in codes.STATUSES:
        assert re.search(rf"\b{code}\b", TEXT) or code.startswith(tuple(families)), code


def test_every_state_is_in_the_page() -> None:
    for state in (*states.STATES_SHOWN, *states.BUILD_STATES.values()):
        assert f"`{state}`" in TEXT


@pytest.mark.parametrize("path", sorted(PAPER["paths"]))
def test_the_docs_page_shows_every_operation(path: str) -> None:
    assert f"<code>{path}</code>" in page.render(PAPER)
