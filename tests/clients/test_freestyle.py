"""The published Freestyle clients (npm), unmodified, against a live service with real machines."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.live import Live

HERE = Path(__file__).parent / "freestyle"
NODE = Path(sys.executable).with_name("node")


@pytest.fixture(scope="module")
def installed() -> None:
    """The clients of `package-lock.json`; `make setup` has them installed already."""
    assert (HERE / "node_modules" / "freestyle").is_dir(), "make setup installs the clients"


def _told(real_service: Live, *words: str, **more: str) -> Any:
    done = subprocess.run(
        [NODE, *words],
        cwd=HERE,
        env={
            "PATH": os.environ["PATH"],
            "FREESTYLE_API_URL": real_service.url,
            "FREESTYLE_API_KEY": real_service.key,
            **more,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


pytestmark = pytest.mark.usefixtures("installed")


def test_a_life(real_service: Live) -> None:
    told = _told(real_service, "sdk.mjs", "life")
    assert len(told["vmId"]) == 20
    assert told["info"]["state"] == "running"
    assert (told["listed"]["name"], told["listed"]["persistence"]["type"]) == ("demo", "persistent")
    assert (told["hello"]["stdout"], told["hello"]["stderr"], told["hello"]["statusCode"]) == ("hello\n", "oops\n", 3)
    assert told["late"]["name"] == "ExecTimedOutError"
    assert told["suspended"]["id"] == told["vmId"]
    assert told["suspended"]["snapshotLayerId"].startswith("sl-")
    assert told["asleep"] == "suspended"
    assert told["woken"]["stdout"] == "lives\n"
    assert told["started"]["id"] == told["vmId"]
    assert told["inFork"]["stdout"] == "lives too\n"
    assert len(told["forks"]) == 2
    assert (told["found"]["name"], told["found"]["state"]) == ("renamed", "ready")
    assert told["again"]["stdout"] == "again\n"
    assert told["removed"]["snapshot_id"] == told["snapshot"]["snapshotId"]
    assert told["removedTwice"]["name"] == "SnapshotAlreadyDeletedError"
    assert told["snapshots"]["deleted"] is True
    assert told["stopped"]["vmId"] == told["vmId"]
    assert told["ended"]["id"] == told["vmId"]
    assert told["stoppedTwice"]["name"] == "VmNotRunningError"
    assert told["killed"]["id"] == told["vmId"]
    assert told["atRest"] == "stopped"
    assert told["deleted"]["id"] == told["vmId"]
    assert told["gone"]["name"] == "VmDeletedError"
    assert told["never"]["name"] == "VmNotFoundError"


def test_files_and_a_watch(real_service: Live) -> None:
    told = _told(real_service, "sdk.mjs", "files")
    assert told["text"] == "grüße\n"
    assert told["bytes"] is True
    assert told["listing"] == [{"name": "deep", "kind": "directory"}]
    assert (told["stat"]["size"], told["stat"]["isFile"]) == (70000, True)
    assert told["there"] == [True, False]
    assert told["missing"]["name"] == "FileNotFoundError"
    assert told["seen"]["filename"].endswith("watched")


def test_a_layered_spec(real_service: Live) -> None:
    told = _told(real_service, "sdk.mjs", "spec")
    assert told["ran"]["stdout"] == "/opt/app\none\ntwo\nfrom a layer\n1500\n1\n"
    assert {"name": "web"} in told["services"]
    assert (told["status"]["activeState"], told["status"]["subState"]) == ("active", "running")
    assert told["build"]["state"] == "succeeded"
    assert told["phases"]
    assert told["same"]
    assert told["sameBuild"]


def test_a_dockerfile(real_service: Live, tools: str) -> None:
    told = _told(real_service, "sdk.mjs", "dockerfile", IMAGE=tools)
    assert told["made"]["stdout"] == "/srv\nmade\ntwo words\ntwo words\n"
    assert told["failing"]["name"] == "BuildFailedError"
    assert "why" in told["failing"]["message"]
    assert "COPY" in told["local"]["message"]


def test_services_and_terminals(real_service: Live) -> None:
    told = _told(real_service, "sdk.mjs", "services")
    assert (told["created"]["success"], told["created"]["serviceName"]) == (True, "talker")
    assert told["twice"]["name"] == "ServiceAlreadyExistsError"
    assert told["status"]["activeState"] == "active"
    assert [result["success"] for result in told["stopped"]["results"]] == [True, False]
    assert [result["success"] for result in told["started"]["results"]] == [True]
    assert [result["success"] for result in told["restarted"]["results"]] == [True]
    assert any(line["message"] == "talking" for line in told["logs"])
    assert told["deleted"]["success"] is True
    assert told["gone"]["name"] == "ServiceNotFoundError"
    assert "in a terminal" in told["ran"]["stdout"]
    assert "/tmp" in told["stays"]["stdout"]
    assert [terminal["name"] for terminal in told["terminals"]] == ["work"]
    assert any("in a terminal" in line["line"] for line in told["lines"])
    assert "in a terminal" in told["output"]


def test_sizes(real_service: Live) -> None:
    told = _told(real_service, "sdk.mjs", "sizes")
    assert told["resized"] == {}
    cpus, kept, is_larger, disk = told["after"]["stdout"].split()
    assert (cpus, kept, is_larger) == ("2", "kept", "1")
    assert int(disk.rstrip("G")) >= 19
    assert told["empty"]["name"] == "ResizeVmEmptyRequestError"
    assert told["odd"]["name"] == "ResizeVmMemNotPowerOfTwoError"
    assert told["shrunk"]["name"] == "ResizeVmRootfsShrinkNotSupportedError"
    assert told["woken"]["stdout"] == "kept\n"


def test_the_older_client(real_service: Live) -> None:
    told = _told(real_service, "sandboxes.mjs")
    assert told["ran"]["stdout"] == "/srv\nfrom a file\nworker\n"
    assert told["status"]["activeState"] == "active"
    assert told["text"] == "two"
    assert told["info"]["state"] == "running"
    assert told["woken"]["stdout"] == told["copied"]["stdout"] == told["forked"]["stdout"] == "two"
    assert told["terminals"] == {"terminals": []}
    assert told["deleted"]["id"] == told["vmId"]


def test_the_command_line(real_service: Live) -> None:
    cli = "node_modules/freestyle/cli.mjs"

    def run(*words: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "FREESTYLE_API_URL": real_service.url,
            "FREESTYLE_API_KEY": real_service.key,
        }
        done = subprocess.run(
            [NODE, cli, *words], cwd=HERE, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    made = run("vm", "create")
    vm = next(word for word in made.split() if len(word) == 20 and word.isalnum())
    assert vm in run("vm", "list")
    assert "hi" in run("vm", "exec", vm, "echo hi")
    run("vm", "delete", vm)
