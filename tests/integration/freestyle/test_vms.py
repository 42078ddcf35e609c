"""VMs and what is done with them as a whole, over real HTTP."""

import itertools
from typing import Any

import httpx
import pytest

import live
from hutch.api.freestyle import responses, states
from hutch.model.builds import BuildState
from hutch.model.states import State
from integration.freestyle.conftest import Vm, create, refused, told

_NUMBER = itertools.count()


def native(vm: Vm) -> dict[str, Any]:
    shown: dict[str, Any] = vm.http.get(f"/smol/v1/machines/{vm.id}").json()
    return shown


def test_a_vm_is_made_and_runs(http: httpx.Client, service: live.Live) -> None:
    name = f"web-{next(_NUMBER)}"
    made = told(create(http, name=name, spec={"vcpuCount": 1, "memSizeGb": 1, "workdir": "/app"}), responses.CreatedVm)
    vm = Vm(http, made["id"])
    it = vm.look()
    assert (it["state"], it["name"]) == ("running", name)
    assert made["domains"] == [f"{vm.id}.hutch.localhost:{service.proxy.rpartition(':')[2]}"]
    assert (made["snapshotId"], it["buildId"]) == (None, None)
    its = native(vm)["resources"]
    assert (its["cpus"], its["memoryMb"], its["diskGb"]) == (1, 1024, 16)
    assert told(http.delete(vm.path), responses.VmOnly) == {"id": vm.id}
    refused(http.get(vm.path), "VM_DELETED")
    refused(http.delete(vm.path), "VM_DELETED")


def test_what_nobody_said_is_as_documented(vm: Vm, http: httpx.Client) -> None:
    listed = {it["id"]: it for it in told(http.get("/v1/vms"), responses.ListVms)["vms"]}[vm.id]
    assert listed["persistence"] == {"type": "sticky", "priority": 5}
    it = native(vm)
    assert [port["port"] for port in it["ports"]] == [3000]


def test_two_vms_may_be_called_the_same_and_anything(http: httpx.Client) -> None:
    for name in ("twin", "Mein Büro №1"):
        vms = [Vm(http, create(http, name=name).json()["id"]) for _ in range(2)]
        assert [it.look()["name"] for it in vms] == [name, name]
        for vm in vms:
            http.delete(vm.path)
    assert "name" in refused(create(http, name="a\0b"), "CREATE_VM_BAD_REQUEST")


def test_a_list_is_filtered_counted_and_paged(http: httpx.Client) -> None:
    word = f"lister{next(_NUMBER)}"
    ids = [create(http, name=f"{word}-{number}").json()["id"] for number in range(3)]
    Vm(http, ids[0]).post("suspend")
    http.delete(f"/v1/vms/{ids[1]}")

    def found(**query: Any) -> dict[str, Any]:
        return told(http.get("/v1/vms", params={"search": word, **query}), responses.ListVms)

    assert [it["id"] for it in found()["vms"]] == [ids[2], ids[0]]
    assert found()["totalCount"] == 2
    assert [it["id"] for it in found(vmState="suspended")["vms"]] == [ids[0]]
    assert [it["id"] for it in found(limit=1, offset=1)["vms"]] == [ids[0]]
    assert found(limit=0)["vms"] == []
    gone = [it for it in found(includeDeleted=True)["vms"] if it["deleted"]]
    assert [(it["id"], it["state"]) for it in gone] == [(ids[1], "stopped")]
    counts = found()
    assert counts["suspendedCount"] >= 1
    assert counts["runningCount"] >= 1
    refused(http.get("/v1/vms?vmState=lame"), "VALIDATION_ERROR")
    refused(http.get("/v1/vms?limit=-1"), "VALIDATION_ERROR")
    for id in (ids[0], ids[2]):
        http.delete(f"/v1/vms/{id}")


def test_the_life_of_a_vm(vm: Vm) -> None:
    first = vm.look()["vmInstanceId"]
    suspended = told(vm.post("suspend"), responses.SuspendedVm)
    assert (suspended["id"], suspended["vmInstanceId"]) == (vm.id, first)
    assert vm.look()["state"] == "suspended"
    started = told(vm.post("start", {}), responses.StartedVm)
    assert started["console_url"] is None
    second = vm.look()["vmInstanceId"]
    assert second != first
    assert told(vm.post("stop"), responses.StoppedVm) == {"vmId": vm.id, "vmInstanceId": second}
    assert vm.look()["state"] == "stopped"
    refused(vm.post("stop"), "VM_NOT_RUNNING")
    refused(vm.post("suspend"), "VM_NOT_RUNNING")
    assert told(vm.post("await"), responses.AwaitedVm)["exitStatus"] == "stopped"
    assert vm.post("start").status_code == 200  # the body may be left out
    assert told(vm.post("kill"), responses.VmOnly) == {"id": vm.id}
    assert vm.look()["state"] == "stopped"


def test_a_start_says_when_it_goes_idle(vm: Vm) -> None:
    vm.post("stop")
    vm.post("start", {"idleTimeoutSeconds": 77, "activityThresholdBytes": 5, "waitForReadySignal": False})
    assert native(vm)["autoStopSeconds"] == 77
    refused(vm.post("start", {"readySignalTimeoutSeconds": 0}), "VALIDATION_ERROR")


def test_forks_are_copies_that_run(vm: Vm, http: httpx.Client) -> None:
    forked = told(vm.post("fork", {"count": 2}), responses.ForkVm)
    assert forked["vmId"] == vm.id
    for it in forked["forks"]:
        copy = Vm(http, it["id"])
        assert copy.look()["state"] == "running"
        assert it["domains"][0].startswith(f"{copy.id}.")
        http.delete(copy.path)
    assert len(told(vm.post("fork"), responses.ForkVm)["forks"]) == 1
    refused(vm.post("fork", {"count": 0}), "VALIDATION_ERROR")
    vm.post("stop")
    refused(vm.post("fork", {}), "VM_NOT_RUNNING")


def test_optimizing_suspends_it(vm: Vm) -> None:
    assert told(vm.post("optimize"), responses.OptimizedVm)["id"] == vm.id
    assert vm.look()["state"] == "suspended"


def test_a_resize_gives_it_more_and_says_what_cannot_be(vm: Vm) -> None:
    def resize(**fields: Any) -> httpx.Response:
        return vm.post("resize", fields)

    assert told(resize(rootfsSizeGb=20), responses.Empty) == {}
    assert told(resize(memSizeGb=1, vcpuCount=1), responses.Empty) == {}
    its = native(vm)["resources"]
    assert (its["cpus"], its["memoryMb"], its["diskGb"]) == (1, 1024, 20)
    assert vm.look()["state"] == "running"
    for fields, code in (
        ({}, "RESIZE_VM_EMPTY_REQUEST"),
        ({"rootfsSizeGb": None}, "RESIZE_VM_EMPTY_REQUEST"),
        ({"vcpuCount": 3}, "RESIZE_VM_VCPU_NOT_POWER_OF_TWO"),
        ({"vcpuCount": 1024}, "RESIZE_VM_VCPU_OUT_OF_RANGE"),
        ({"memSizeGb": 2**20}, "RESIZE_VM_MEM_OUT_OF_RANGE"),
        ({"rootfsSizeGb": 10}, "RESIZE_VM_ROOTFS_SHRINK_NOT_SUPPORTED"),
        ({"rootfsSizeGb": 10**6}, "INVALID_PARAMETERS"),
        ({"vcpuCount": "two"}, "INVALID_PARAMETERS"),
    ):
        refused(resize(**fields), code)
    refused(vm.http.post("/v1/vms/nope/resize", json={"vcpuCount": 1}), "INTERNAL_RESIZE_VM_NOT_FOUND")


@pytest.mark.parametrize(
    ("persistence", "shown"),
    [
        ({"type": "sticky", "priority": 9}, {"type": "sticky", "priority": 9}),
        ({"type": "sticky", "priority": None}, {"type": "sticky", "priority": 5}),
        ({"type": "persistent"}, {"type": "persistent"}),
        ({"type": "ephemeral"}, {"type": "ephemeral", "deleteEvent": "OnSuspend"}),
        ({"type": "ephemeral", "deleteEvent": "OnStop"}, {"type": "ephemeral", "deleteEvent": "OnStop"}),
    ],
)
def test_what_becomes_of_it_is_kept_and_told(http: httpx.Client, persistence: Any, shown: Any) -> None:
    vm = Vm(http, create(http, persistence=persistence).json()["id"])
    listed = {it["id"]: it for it in told(http.get("/v1/vms"), responses.ListVms)["vms"]}[vm.id]
    assert listed["persistence"] == shown
    assert vm.post("suspend").status_code == 200
    if shown == {"type": "ephemeral", "deleteEvent": "OnSuspend"}:
        refused(http.get(vm.path), "VM_DELETED")
    else:
        assert vm.look()["state"] == "suspended"
        vm.post("stop")
        if shown["type"] == "ephemeral":
            refused(http.get(vm.path), "VM_DELETED")
    http.delete(vm.path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"persistence": {"type": "sticky", "priority": 11}}, "priority"),
        ({"persistence": {"type": "eternal"}}, "persistence"),
        ({"ports": [{"port": 80, "targetPort": 80}]}, "only 443 and 8081"),
        ({"ports": [{"port": 443, "targetPort": 1}, {"port": 443, "targetPort": 2}]}, "given twice"),
        ({"ports": [{"port": 443, "targetPort": 0}]}, "1 to 65535"),
        ({"idleTimeoutSeconds": 0}, "idle"),
        ({"readySignalTimeoutSeconds": 10**6}, "readySignalTimeoutSeconds"),
        ({"domains": [{"domain": "localhost"}]}, "domain"),
        ({"domains": [{"domain": "a.example"}], "ports": []}, "vmPort"),
        ({"name": 5}, "name"),
    ],
)
def test_what_makes_no_sense_is_told_with_a_code_that_ends_retries(http: httpx.Client, fields: Any, words: str) -> None:
    before = http.get("/v1/vms").json()["totalCount"]
    assert words in refused(create(http, **fields), "CREATE_VM_BAD_REQUEST")
    assert http.get("/v1/vms").json()["totalCount"] == before


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"spec":' + b'{"snapshot":' * 5000 + b"}" * 5001])
@pytest.mark.parametrize(("path", "code"), [("/v1/vms", "VM"), ("/v1/vms/snapshots", "SNAPSHOT")])
def test_what_is_no_request_is_told_too(http: httpx.Client, body: bytes, path: str, code: str) -> None:
    refused(http.post(path, content=body), f"CREATE_{code}_BAD_REQUEST")


def test_a_spec_of_ten_megabytes_is_refused(http: httpx.Client) -> None:
    files = {"/x": {"content": "x" * 10 * 1024 * 1024}}
    refused(create(http, spec={"additionalFiles": files}), "CREATE_VM_BAD_REQUEST", 413)
    refused(
        http.post("/v1/vms/snapshots", json={"spec": {"additionalFiles": files}}), "CREATE_SNAPSHOT_BAD_REQUEST", 413
    )


def test_ports_and_domains_lead_to_it(http: httpx.Client) -> None:
    ports = [{"port": 8081, "targetPort": 90}, {"port": 443, "targetPort": 80}]
    name = f"shop{next(_NUMBER)}.example"
    made = told(create(http, ports=ports, domains=[{"domain": name}]), responses.CreatedVm)
    vm = Vm(http, made["id"])
    assert len(made["domains"]) == 1, "the other one is not verified, and leads nowhere yet"
    assert [it["port"] for it in native(vm)["ports"]] == [80, 90]
    assert http.get(f"/smol/v1/domains/{name}").json()["port"] == 80
    http.delete(vm.path)
    closed = told(create(http, ports=[]), responses.CreatedVm)
    assert closed["domains"] == []
    http.delete(f"/v1/vms/{closed['id']}")


def test_a_null_never_goes_idle_and_nothing_goes_idle_after_five_minutes(http: httpx.Client) -> None:
    for fields, idle in (({}, 300), ({"idleTimeoutSeconds": None}, None), ({"idleTimeoutSeconds": 9}, 9)):
        vm = Vm(http, create(http, **fields).json()["id"])
        it = native(vm)
        assert (it["autoStopSeconds"], it["idleAction"]) == (idle, "suspend")
        http.delete(vm.path)


def test_one_to_be_made_anew_is_started_after_it_was_deleted(http: httpx.Client) -> None:
    vm = Vm(http, create(http, recreate=True).json()["id"])
    http.delete(vm.path)
    refused(http.get(vm.path), "VM_DELETED")
    refused(vm.post("stop"), "VM_DELETED")
    assert told(vm.post("start", {}), responses.StartedVm)["id"] == vm.id
    assert vm.look()["state"] == "running"
    http.delete(vm.path)
    plain = Vm(http, create(http).json()["id"])
    http.delete(plain.path)
    refused(plain.post("start", {}), "VM_DELETED")


def test_an_unknown_vm_and_paths_that_lead_nowhere(http: httpx.Client, service: live.Live) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/start"), ("POST", "/fork"), ("POST", "/await")):
        assert "nope" in refused(http.request(method, f"/v1/vms/nope{path}"), "VM_NOT_FOUND")
    refused(http.get("/v1/vms/x/y/z"), "NOT_FOUND")
    refused(http.put("/v1/vms"), "VALIDATION_ERROR", 405)
    answer = httpx.get(f"{service.url}/v1/vms", trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED_ERROR")
    assert http.get("/freestyle/v1/vms").status_code == 200
    assert http.get("/freestyle/docs").status_code == 200


def test_every_state_has_its_word() -> None:
    assert set(states.STATES) == set(State)
    assert set(states.STATES.values()) | {"building"} == set(states.STATES_SHOWN)
    assert set(states.BUILD_STATES) == set(BuildState)
