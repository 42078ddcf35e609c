"""All forms of what a VM is made of mean the same; what contradicts itself is told as documented."""

import base64
import json
from typing import Any

import pytest

from hutch.api import bodies
from hutch.api.freestyle import recipe, sizes, specs
from hutch.api.freestyle.requests import ResizeVm
from hutch.model.errors import Flawed, InvalidRequest
from hutch.model.machine import Resources
from hutch.model.recipes import Base, File, GitIdentity, Group, Layer, Repository, UnitMode, User

MAY = sizes.Ranges(cpus=8, least_mib=64, most_mib=16 * 1024, most_gib=1024)
DISK = 16
SC = "a" * 20


def planned(body: Any, model: Any = specs.CreateVm) -> recipe.Plan:
    return recipe.plan(bodies.read(json.dumps(body).encode(), model), MAY, DISK)


def flaw(body: Any, model: Any = specs.CreateVm) -> str:
    with pytest.raises(InvalidRequest) as raised:
        planned(body, model)
    return raised.value.flaw if isinstance(raised.value, Flawed) else raised.value.message


LAYER = {"workdir": "/root", "aptDeps": ["curl"]}
MADE = Layer(workdir="/root", packages=("curl",), disk_gib=DISK)


@pytest.mark.parametrize(
    "body",
    [
        {"spec": {"snapshot": LAYER, "name": None}},
        {"spec": {"snapshot": {"snapshot": LAYER}, "name": "x"}},
        {"spec": {**LAYER, "additionalFiles": {}, "systemd": {"services": []}}},
        {"spec": LAYER, "template": None, "systemd": None, "git": None, "recreate": False, "unknown": 1},
        {"template": {**LAYER, "gitRepos": [], "users": None}},
        LAYER,
        {**LAYER, "spec": {"snapshot": {"waitForReadySignal": True}}},
    ],
)
def test_the_same_in_any_form(body: Any) -> None:
    it = planned(body)
    assert it.recipe.base == Base()
    assert it.recipe.layers[-1].packages == ("curl",)
    assert it.needs_build
    assert it.made_with == Layer(workdir="/root", disk_gib=DISK)


@pytest.mark.parametrize(
    ("body", "has"),
    [
        ({}, Layer(disk_gib=DISK)),
        ({"name": "x", "spec": None, "persistence": None}, Layer(disk_gib=DISK)),
        ({"spec": {"aptDeps": [], "name": None}}, Layer(disk_gib=DISK)),
        ({"spec": {"memSizeGb": 4, "vcpuCount": 2, "rootfsSizeGb": 32}}, Layer(2, 4096, 32)),
        ({"template": {"rootfsSizeGb": 32}, "workdir": "/app"}, Layer(disk_gib=32, workdir="/app")),
        ({"spec": {"snapshot": {"workdir": "/a"}, "workdir": "/b"}}, Layer(disk_gib=DISK, workdir="/b")),
    ],
)
def test_where_nothing_is_to_be_done_inside_nothing_is_built(body: Any, has: Layer) -> None:
    it = planned(body)
    assert (it.needs_build, it.made_with, it.recipe.base) == (False, has, Base())


@pytest.mark.parametrize(
    "body",
    [
        {"snapshotId": f"sc-{SC}"},
        {"snapshotId": SC},
        {"spec": {"snapshotId": f"sc-{SC}", "name": None}},
        {"spec": {"snapshot": {"snapshotId": f"sc-{SC}"}}},
        {"spec": {"snapshotId": SC}, "snapshotId": f"sc-{SC}"},
        {"template": {"snapshotId": SC}},
    ],
)
def test_a_snapshot_is_the_base_in_any_form(body: Any) -> None:
    it = planned(body)
    assert (it.needs_build, it.recipe.base, it.made_with) == (False, Base(snapshot=SC), Layer())


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        ({"snapshotId": SC, "spec": {"rootfsSizeGb": 64}}, False),
        ({"snapshotId": SC, "spec": {"memSizeGb": 2}}, True),
        ({"spec": {"snapshot": {"snapshotId": SC}, "aptDeps": ["x"]}}, True),
        ({"spec": {"skipCache": True}}, True),
        ({"spec": {"discriminator": "x"}}, True),
        ({"spec": {"baseImage": {"dockerfileContent": "FROM debian"}}}, True),
    ],
)
def test_what_needs_a_machine_to_work_in_is_built(body: Any, needs: bool) -> None:
    assert planned(body).needs_build is needs


def test_layers_are_the_lowest_first_and_the_upper_one_counts() -> None:
    it = planned(
        {
            "idleTimeoutSeconds": 7,
            "spec": {
                "workdir": "/top",
                "additionalFiles": {"/x": {"content": "top"}},
                "snapshot": {
                    "aptDeps": ["b"],
                    "idleTimeoutSeconds": 9,
                    "snapshot": {
                        **{"aptDeps": ["a"], "memSizeGb": 2, "ports": [{"port": 443, "targetPort": 80}]},
                        "baseImage": {"dockerfileContent": "FROM x"},
                    },
                },
            },
        }
    )
    assert it.recipe.base == Base(dockerfile="FROM x")
    assert [layer.packages for layer in it.recipe.layers] == [("a",), ("b",), ()]
    assert it.recipe.layers[0].disk_gib == DISK
    assert it.made_with == Layer(memory_mib=2048, disk_gib=DISK, workdir="/top")
    assert it.find("idle_timeout_seconds") == 7
    ports: Any = it.find("ports")
    assert ports[0].target_port == 80


def test_all_that_a_layer_may_say_is_in_its_recipe() -> None:
    layer = planned(
        {
            "spec": {
                "users": [{"name": "u", "uid": 1000, "gecos": "U", "groups": ["g"], "home": "/u", "shell": "/bin/sh"}],
                "groups": [{"name": "g", "gid": 5, "system": True}],
                "additionalFiles": {
                    "/a": {"content": "é", "encoding": "utf-8"},
                    "/b": {"content": base64.b64encode(b"\0\xff").decode(), "encoding": "base64", "executable": True},
                    "/c": {"content": "c", "encoding": "utf8"},
                },
                "git": {
                    "config": {"user": {"name": "n", "email": "e", "signingkey": "k"}},
                    "repos": [{"repo": "https://x/y", "path": "/y", "rev": "main"}],
                },
                "systemd": {
                    "services": [{"name": "s", "mode": "oneshot", "exec": ["true"], "remainAfterExit": False}],
                    "patchedServices": [{"name": "p", "timeoutSec": 0, "wantedBy": ["x.target"]}],
                },
                "waitForReadySignal": False,
                "readySignalTimeoutSeconds": 5,
            }
        }
    ).recipe.layers[0]
    assert layer.users == (User("u", 1000, "U", ("g",), "/u", "/bin/sh"),)
    assert layer.groups == (Group("g", 5, system=True),)
    assert layer.files == (File("/a", "é".encode()), File("/b", b"\0\xff", 0o755), File("/c", b"c"))
    assert layer.git == GitIdentity("n", "e", "k")
    assert layer.repositories == (Repository("https://x/y", "/y", "main"),)
    (unit,), (patch,) = layer.units, layer.patches
    assert (unit.name, unit.mode, unit.exec, unit.remain_after_exit) == ("s", UnitMode.ONESHOT, ("true",), False)
    assert (unit.enable, unit.wanted_by, unit.restart) == (True, ("multi-user.target",), None)
    assert (patch.name, patch.changes) == ("p", {"timeout": 0, "wanted_by": ("x.target",)})
    assert (layer.waits_until_ready, layer.ready_timeout) == (False, 5)


CONFLICT, MISPLACED = "conflicting_spec_sources_error", "non_leaf_layer_field_error"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"spec": {"snapshot": {}, "snapshotId": SC}}, CONFLICT),
        ({"spec": {"snapshot": {"snapshotId": SC, "baseImage": {"dockerfileContent": "FROM x"}}}}, CONFLICT),
        ({"spec": {}, "template": {}}, CONFLICT),
        ({"snapshotId": "b" * 20, "spec": {"snapshot": {"snapshotId": SC}}}, CONFLICT),
        ({"snapshotId": SC, "template": {"baseImage": {"dockerfileContent": "FROM x"}}}, CONFLICT),
        ({"spec": {"memSizeGb": 2, "snapshot": {}}}, MISPLACED),
        ({"spec": {"snapshot": {"vcpuCount": 2, "snapshot": {}}}}, MISPLACED),
        ({"spec": {"snapshot": {"rootfsSizeGb": 20, "snapshot": {}}}}, MISPLACED),
        (
            {"gitRepos": [{"repo": "a", "path": "/a"}], "git": {"config": {}, "repos": [{"repo": "b", "path": "/b"}]}},
            "invalid_git_repo_spec_error",
        ),
        ({"spec": {"vcpuCount": 3}}, "create_vm_vcpu_not_power_of_two"),
        ({"spec": {"vcpuCount": 0}}, "create_vm_vcpu_out_of_range"),
        ({"spec": {"vcpuCount": 16}}, "create_vm_vcpu_out_of_range"),
        ({"spec": {"memSizeGb": 3}}, "create_vm_mem_not_power_of_two"),
        ({"spec": {"memSizeGb": 0}}, "create_vm_mem_out_of_range"),
        ({"spec": {"memSizeGb": 32}}, "create_vm_mem_out_of_range"),
        ({"spec": {"rootfsSizeGb": 0}}, "create_vm_rootfs_out_of_range"),
        ({"spec": {"rootfsSizeGb": 2048}}, "create_vm_rootfs_out_of_range"),
        ({"additionalFiles": {"/x": {"content": "!", "encoding": "base64"}}}, "additionalFiles: '/x': the content is"),
        ({"additionalFiles": {"/x": {"content": "", "encoding": "latin-1"}}}, "additionalFiles: '/x': encoding"),
    ],
)
def test_what_contradicts_itself_or_is_out_of_place_has_its_code(body: Any, found: str) -> None:
    assert flaw(body).startswith(found)


def test_a_conflict_names_both_fields_and_how_deep_they_are() -> None:
    spec = {"snapshot": {"snapshot": {}, "snapshotId": SC}}
    with pytest.raises(Flawed, match="at depth 1 has conflicting base sources `snapshot` and `snapshotId`"):
        planned({"spec": spec})
    with pytest.raises(Flawed, match=r"Field `memSizeGb` may only .* at depth 0"):
        planned({"spec": {"memSizeGb": 2, "snapshot": {}}})


@pytest.mark.parametrize("depth", [recipe.MOST_LAYERS + 1, 150, 1000, 100_000])
def test_a_chain_of_any_depth_is_told_to_be_too_deep(depth: int) -> None:
    body = b'{"spec":' + b'{"snapshot":' * depth + b"{}" + b"}" * depth + b"}"
    with pytest.raises((InvalidRequest, bodies.Malformed)):
        recipe.plan(bodies.read(body, specs.CreateVm), MAY, DISK)


def test_a_snapshot_of_an_empty_spec_is_one_of_the_image() -> None:
    it = planned({"spec": {}, "name": "x"}, specs.CreateSnapshot)
    assert (it.recipe.base, it.recipe.layers) == (Base(), (Layer(disk_gib=DISK),))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, "empty_request"),
        ({"vcpuCount": None}, "empty_request"),
        ({"vcpuCount": 3}, "vcpu_not_power_of_two"),
        ({"vcpuCount": 64}, "vcpu_out_of_range"),
        ({"memSizeGb": 3}, "mem_not_power_of_two"),
        ({"memSizeGb": 0}, "mem_out_of_range"),
        ({"rootfsSizeGb": 5}, "rootfs_shrink_not_supported"),
    ],
)
def test_a_resize_has_its_codes(body: Any, found: str) -> None:
    with pytest.raises(Flawed) as raised:
        sizes.resize(ResizeVm.model_validate_json(json.dumps(body)), Resources(1, 512, 10), MAY)
    assert raised.value.flaw == f"resize_vm_{found}"
