"""The real Nullspace command line (PyPI), unmodified, against a live service."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

PROGRAM = Path(sys.executable).with_name("nullspace")


class Service(Protocol):
    """All that a client is told."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


@dataclass(frozen=True)
class Cli:
    """The program, and where it is pointed at."""

    environment: Mapping[str, str]

    def run(self, *words: str, code: int = 0, stdin: str = "") -> str:
        """What it writes."""
        done = subprocess.run(
            [PROGRAM, *words],
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def told(self, *words: str, code: int = 0) -> Any:
        """The same as JSON."""
        return json.loads(self.run(*words, "--json", code=code))


@pytest.fixture
def cli(service: Service, tmp_path: Path) -> Cli:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NULLSPACE")}
    its = {"NULLSPACE_API_KEY": service.key, "NULLSPACE_API_URL": f"{service.url}/nullspace", "NO_PROXY": "*"}
    return Cli({**kept, **its, "HOME": str(tmp_path)})


@pytest.fixture
def machine(cli: Cli) -> Iterator[str]:
    id: str = cli.told("machine", "create", "--template", "base")["id"]
    yield id
    subprocess.run([PROGRAM, "machine", "kill", id], env=cli.environment, capture_output=True, check=False)


def test_a_whole_day(cli: Cli) -> None:
    run = uuid.uuid4().hex
    made = cli.told(
        *("machine", "create", "--template", "base", "--on-timeout", "pause", "--auto-resume"),
        *("--inactivity-timeout-ms", "600000", "--metadata", f"run={run}"),
    )
    id = made["id"]
    assert (id.startswith("mch_"), made["status"]) == (True, "running")
    assert cli.run("machine", "exec", id, "--", "echo", "hello") == "hello\n"
    assert cli.told("machine", "get", id)["metadata"] == {"run": run}
    assert id in [it["id"] for it in cli.told("machine", "list", "--state", "running")]
    saved = cli.told("machine", "hibernate", id)
    assert saved["machine_id"] == id
    assert id in [it["id"] for it in cli.told("machine", "list", "--state", "paused")]
    assert id not in [it["id"] for it in cli.told("machine", "list", "--state", "running")]
    assert cli.told("machine", "resume", id)["id"] == id
    leased = cli.told("machine", "timeout", "set", id, "--seconds", "60")
    assert (leased["timeout_ms"], leased["timeout_action"]) == (60_000, "hibernate")
    copy = cli.told("machine", "fork", id)["id"]
    assert copy != id
    for one in (copy, id):
        cli.run("machine", "kill", one)
    cli.told("machine", "get", id, code=3)


def test_the_exit_code_is_the_commands(cli: Cli, machine: str) -> None:
    cli.run("machine", "exec", machine, "--shell", "exit 7", code=7)
    done = cli.told("machine", "exec", machine, "--shell", "echo out; echo err >&2; exit 0")
    assert (done["exit_code"], done["stdout"], done["stderr"]) == (0, "out\n", "err\n")


def test_what_is_not_there_is_exit_code_3(cli: Cli) -> None:
    told = cli.told("machine", "get", "nope", code=3)
    assert "machine_not_found" in json.dumps(told)


def test_a_wrong_key_is_exit_code_4(cli: Cli) -> None:
    Cli({**cli.environment, "NULLSPACE_API_KEY": "ns_live_wrong"}).run("machine", "list", "--json", code=4)


def test_files_processes_snapshots_and_metrics(cli: Cli, machine: str) -> None:
    cli.run("machine", "file", "write", machine, "/workspace/a.txt", stdin="hi")
    assert cli.run("machine", "file", "read", machine, "/workspace/a.txt").strip() == "hi"
    assert "a.txt" in cli.run("machine", "file", "list", machine, "/workspace")
    pid = cli.told("machine", "exec", machine, "--background", "--shell", "sleep 1000")["pid"]
    assert pid in [it["pid"] for it in cli.told("machine", "process", "list", machine)]
    cli.run("machine", "process", "kill", machine, str(pid))
    snap = cli.told("machine", "snapshot", "create", machine)["id"]
    assert snap in [it["id"] for it in cli.told("machine", "snapshot", "list", machine)]
    cli.run("machine", "metrics", machine)
    cli.run("snapshot", "delete", snap)


def test_the_doctor_finds_nothing_amiss(cli: Cli) -> None:
    report = cli.told("doctor")
    assert report["ok"], report
    assert {probe["name"]: probe["status"] for probe in report["probes"]}["api_reachability"] == "pass"
