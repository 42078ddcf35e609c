"""Snapshots, builds, and VMs made of them, over real HTTP."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hutch.api.freestyle import responses
from integration.freestyle.conftest import Vm, create, refused, told

_NUMBER = itertools.count()


def spec(**more: Any) -> dict[str, Any]:
    """One that nothing was built of before."""
    return {"additionalFiles": {f"/etc/spec-{next(_NUMBER)}": {"content": "x"}}, **more}


def build(http: httpx.Client, **fields: Any) -> str:
    return str(told(http.post("/v1/vms/snapshots", json=fields), responses.CreatedSnapshot)["snapshotId"])


def look(http: httpx.Client, id: str) -> dict[str, Any]:
    return told(http.get(f"/v1/vms/snapshots/{id}"), responses.SnapshotInfo)


def listed(http: httpx.Client, **query: Any) -> dict[str, dict[str, Any]]:
    every = told(http.get("/v1/vms/snapshots", params=query), responses.ListSnapshots)
    return {it["snapshotId"]: it for it in every["snapshots"]}


@pytest.fixture
def made(vm: Vm) -> Iterator[str]:
    """A snapshot of a VM."""
    name = f"made-{next(_NUMBER)}"
    it = told(vm.post("snapshot", {"name": name}), responses.SnapshotOfVm)
    assert (it["sourceVmId"], it["sourceVmInstanceId"]) == (vm.id, vm.look()["vmInstanceId"])
    yield it["snapshotId"]
    vm.http.delete(f"/v1/vms/snapshots/{it['snapshotId']}")


def test_a_snapshot_of_a_vm_is_sticky_and_told(vm: Vm, made: str, http: httpx.Client) -> None:
    it = look(http, made)
    assert (it["state"], it["sourceVmId"], it["deleted"], it["failed"]) == ("ready", vm.id, False, False)
    assert it["snapshotPersistence"] == {"type": "sticky", "priority": 5}
    assert (it["vcpuCount"], it["rootfsSizeMb"]) == (1, 16 * 1024)
    assert (it["buildId"], it["failureReason"]) == (None, None)
    assert look(http, made.removeprefix("sc-")) == it
    assert listed(http)[made] == it
    assert told(vm.post("snapshot"), responses.SnapshotOfVm)["snapshotId"] != made
    vm.post("stop")
    refused(vm.post("snapshot", {}), "VM_NOT_RUNNING")


def test_a_name_is_a_label_that_may_be_given_again(vm: Vm, http: httpx.Client) -> None:
    name = f"label-{next(_NUMBER)}"
    ids = [told(vm.post("snapshot", {"name": name}), responses.SnapshotOfVm)["snapshotId"] for _ in range(2)]
    ids.append(build(http, name=name, spec=spec()))
    assert [look(http, id)["name"] for id in ids] == [name, f"{name}-1", f"{name}-2"]
    for id in ids:
        http.delete(f"/v1/vms/snapshots/{id}")


def test_a_vm_is_made_of_a_snapshot_with_and_without_the_prefix(made: str, http: httpx.Client) -> None:
    for fields in ({"snapshotId": made}, {"spec": {"snapshotId": made[3:]}}, {"template": {"snapshotId": made}}):
        it = told(create(http, **fields), responses.CreatedVm)
        assert it["snapshotId"] == made
        http.delete(f"/v1/vms/{it['id']}")
    refused(create(http, snapshotId="sc-" + "x" * 20), "SNAPSHOT_NOT_FOUND")
    refused(http.post("/v1/vms/snapshots", json={"spec": {"snapshotId": "nope"}}), "SNAPSHOT_NOT_FOUND")


def test_it_is_renamed_and_deleted_and_its_record_stays(made: str, http: httpx.Client) -> None:
    path, name = f"/v1/vms/snapshots/{made}", f"My snapshot {next(_NUMBER)}"
    renamed = told(http.patch(path, json={"name": name}), responses.RenamedSnapshot)
    assert renamed == {"snapshot_id": made, "name": name.replace(" ", "-")}
    assert told(http.patch(path, json={"name": None}), responses.RenamedSnapshot) == renamed
    refused(http.patch(path, json={"name": "§"}), "VALIDATION_ERROR")
    assert told(http.delete(path), responses.DeletedSnapshot) == {"snapshot_id": made}
    refused(http.delete(path), "SNAPSHOT_ALREADY_DELETED")
    assert look(http, made)["deleted"] is True
    assert made not in listed(http)
    assert listed(http, includeDeleted=True)[made]["deleted"] is True
    refused(create(http, snapshotId=made), "SOURCE_SNAPSHOT_DELETED")
    for method in ("GET", "DELETE", "PATCH"):
        body = {"json": {"name": "x"}} if method == "PATCH" else {}
        refused(http.request(method, "/v1/vms/snapshots/sc-nope", **body), "SNAPSHOT_NOT_FOUND")


def test_a_spec_is_built_once_and_told_of(http: httpx.Client) -> None:
    its = spec(snapshot=spec())
    first = build(http, spec=its, name=f"built-{next(_NUMBER)}")
    it = look(http, first)
    assert it["snapshotPersistence"] == {"type": "persistent"}
    assert it["templateHash"]
    assert build(http, spec=its) == first
    record = told(http.get(f"/v1/vms/builds/{it['buildId']}"), responses.BuildRecord)
    assert (record["state"], record["failureReason"]) == ("succeeded", None)
    assert record["finishedAt"] >= record["startedAt"]
    phases = told(http.get(f"/v1/vms/builds/{it['buildId']}/phases"), responses.ListBuildPhases)["phases"]
    assert phases
    assert {it["buildId"] for it in phases} == {record["buildId"]}
    assert [it["name"] for it in phases if it["snapshotId"] == first]
    made = told(create(http, spec={"snapshot": its}), responses.CreatedVm)
    assert made["snapshotId"] == first
    vm = Vm(http, made["id"])
    assert vm.look()["buildId"] == record["buildId"]
    assert told(http.get(f"{vm.path}/build"), responses.BuildRecord) == record
    assert {it["id"]: it for it in http.get("/v1/vms").json()["vms"]}[vm.id]["createdDeclaratively"] is True
    http.delete(vm.path)


def test_a_snapshot_says_what_is_to_become_of_it(http: httpx.Client) -> None:
    kept = {"type": "sticky", "priority": 7}
    assert look(http, build(http, spec=spec(), persistence=kept))["snapshotPersistence"] == kept


def test_what_a_spec_says_of_vms_is_theirs_unless_they_say_otherwise(http: httpx.Client) -> None:
    its = spec(idleTimeoutSeconds=77, ports=[{"port": 443, "targetPort": 8080}], workdir="/srv")
    snapshot = build(http, spec=its)
    for fields, idle, port in (
        ({"snapshotId": snapshot}, 77, 8080),
        ({"spec": {"snapshot": its}}, 77, 8080),
        ({"snapshotId": snapshot, "idleTimeoutSeconds": 9, "ports": [{"port": 443, "targetPort": 1}]}, 9, 1),
    ):
        id = told(create(http, **fields), responses.CreatedVm)["id"]
        it = http.get(f"/smol/v1/machines/{id}").json()
        assert (it["autoStopSeconds"], [port["port"] for port in it["ports"]]) == (idle, [port]), fields
        assert it["workdir"] == "/srv"
        http.delete(f"/v1/vms/{id}")


def test_a_vm_for_which_nothing_was_built_has_no_build(vm: Vm, http: httpx.Client) -> None:
    refused(http.get(f"{vm.path}/build"), "BUILD_NOT_FOUND_FOR_VM")
    refused(http.get("/v1/vms/nope/build"), "VM_NOT_FOUND")
    refused(http.get("/v1/vms/builds/bld-nope"), "BUILD_NOT_FOUND")
    refused(http.get("/v1/vms/builds/nope/phases"), "BUILD_NOT_FOUND")


def test_a_build_that_fails_is_told_with_its_code_and_listed(http: httpx.Client) -> None:
    name = f"broken{next(_NUMBER)}"
    broken = {"git": {"config": {}, "repos": [{"repo": "/nowhere", "path": f"/{name}"}]}}
    refused(create(http, spec=broken), "BUILD_FAILED")
    words = refused(http.post("/v1/vms/snapshots", json={"spec": broken, "name": name}), "BUILD_FAILED")
    assert words
    failed = [it for it in listed(http).values() if it["name"] == name]
    assert [(it["state"], it["failed"], bool(it["failureReason"])) for it in failed] == [("failed", True, True)]
    assert name not in [it["name"] for it in listed(http, includeFailed=False).values()]
    assert http.get("/v1/vms/snapshots").json()["failedCount"] >= 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "CREATE_SNAPSHOT_BAD_REQUEST"),
        ({"spec": {"snapshot": {}, "snapshotId": "x"}}, "CONFLICTING_SPEC_SOURCES_ERROR"),
        ({"spec": {"vcpuCount": 1, "snapshot": {}}}, "NON_LEAF_LAYER_FIELD_ERROR"),
        ({"spec": {}, "template": {}}, "CONFLICTING_SPEC_SOURCES_ERROR"),
        ({"spec": {"memSizeGb": 3}}, "CREATE_VM_MEM_NOT_POWER_OF_TWO"),
        ({"spec": {"users": [{"name": "root!"}]}}, "VALIDATION_ERROR"),
        ({"spec": {"users": [{"name": "a"}, {"name": "a"}]}}, "DUPLICATE_USER_NAME"),
        ({"spec": {"groups": [{"name": ""}]}}, "GROUP_NAME_EMPTY"),
        ({"spec": {"workdir": ""}}, "WORKDIR_EMPTY"),
        ({"spec": {"workdir": "/../etc"}}, "CREATE_SNAPSHOT_BAD_REQUEST"),
        ({"spec": {"additionalFiles": {"/a/../../b": {"content": ""}}}}, "CREATE_SNAPSHOT_BAD_REQUEST"),
        ({"spec": {"systemd": {"services": [{"name": "", "mode": "oneshot", "exec": ["x"]}]}}}, "SERVICE_NAME_EMPTY"),
        ({"spec": {"systemd": {"services": [{"name": "a", "mode": "oneshot", "exec": []}]}}}, "EXEC_EMPTY"),
        ({"spec": {"systemd": {"services": [{"name": "a", "mode": "forking", "exec": ["x"]}]}}}, None),
    ],
)
def test_what_no_snapshot_can_be_made_of_has_its_code(http: httpx.Client, fields: Any, code: str | None) -> None:
    refused(http.post("/v1/vms/snapshots", json=fields), code or "CREATE_SNAPSHOT_BAD_REQUEST")
