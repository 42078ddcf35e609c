"""build, builds, service, resize, optimize, kill, stats, watch.

A simulated guest's commands run on this box: nothing here installs packages or makes users.
"""

import contextlib
import json
import queue
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hutch.client import Hutch, errors

from .conftest import LIMIT, Cli


def shown(hutch: Cli, *words: str) -> Any:
    return json.loads(hutch.text(*words, "--json"))


@pytest.fixture
def name(sdk: Hutch) -> Iterator[str]:
    """A snapshot's name; what is built under it goes at the end."""
    name = f"b-{uuid.uuid4().hex[:8]}"
    yield name
    for it in sdk.snapshots.list():
        if it.name == name:
            sdk.snapshots.delete(it.id)


def recipe(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


ONE = """
base: {image: debian}
layers:
  - files: [{path: /tmp/of-a-build, content: "hello"}]
    discriminator: %s
"""


def test_a_recipe_is_built_and_machines_are_made_of_it(hutch: Cli, sdk: Hutch, name: str, tmp_path: Path) -> None:
    file = recipe(tmp_path / "web.yaml", ONE % name)
    done = hutch("build", "--recipe", file, "--name", name)
    assert done.stdout.decode().strip() == name
    told = done.stderr.decode()
    assert "[1/" in told
    assert "succeeded after" in told
    assert hutch.text("run", "--from", name, "cat", "tmp/of-a-build") == "hello"
    (found, *_) = shown(hutch, "builds", "ls", "-n", "1")
    assert (found["state"], found["name"]) == ("succeeded", name)
    assert found["id"] in hutch.text("builds", "ls")
    look = shown(hutch, "builds", "show", found["id"])
    assert [it["name"] for it in look["phases"]] == look["build"]["planned"]
    assert look["phases"][-1]["name"] in hutch.text("builds", "show", found["id"])
    assert "succeeded" in hutch("builds", "log", found["id"]).stderr.decode()
    assert hutch.text("builds", "cancel", found["id"]) == found["id"]


def test_what_was_built_before_is_not_built_again_unless_it_is_to_be(hutch: Cli, name: str, tmp_path: Path) -> None:
    file = recipe(tmp_path / "web.json", json.dumps({"layers": [{"discriminator": name}]}))
    first = shown(hutch, "build", "-q", "--recipe", file)
    again = shown(hutch, "build", "--recipe", file)
    fresh = shown(hutch, "build", "--recipe", file, "--no-cache")
    assert (first["state"], again["snapshot"] == first["snapshot"]) == ("succeeded", True)
    assert fresh["snapshot"] != first["snapshot"]
    assert hutch("build", "-q", "--recipe", file).stderr == b""


def test_sizes_are_those_of_machines_made_of_it(hutch: Cli, sdk: Hutch, name: str, tmp_path: Path) -> None:
    file = recipe(tmp_path / "web.yaml", ONE % name)
    sizes = ("--cpus", "2", "--memory", "128", "--disk", "21")
    assert hutch.text("build", "-q", "--recipe", file, "--name", name, *sizes) == name
    its = sdk.snapshots.get(name)
    assert (its.cpus, its.memory_mb, its.disk_gb) == (2, 128, 21)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: [", "neither YAML nor JSON"),
        ("when: 2026-01-01", "neither YAML nor JSON"),
        ("[]", "not a recipe"),
        ("bases: {}", "bases"),
        ("layers: 5", "layers"),
        ("layers: [{packages: [-x]}]", "package"),
        ("layers: [{files: [{path: /x, content: '%', encoding: base64}]}]", "base64"),
        ("base: {image: debian, checkpoint: x}", "stands on one of them"),
        ('name: "\\ud800"', "neither YAML nor JSON"),
    ],
)
def test_a_recipe_that_makes_no_sense_says_why(hutch: Cli, tmp_path: Path, text: str, words: str) -> None:
    file = recipe(tmp_path / "bad.yaml", text)
    assert words in hutch("build", "--recipe", file, "--cpus", "1", code=1).stderr.decode()


@pytest.mark.parametrize("words", [("build", "-"), ("build", "--recipe", "-")])
def test_what_is_no_text_is_told_as_such(hutch: Cli, words: tuple[str, ...]) -> None:
    assert hutch(*words, stdin=b"FROM \xff\n", code=1).stderr == b"hutch: -: not UTF-8\n"


def test_text_is_utf_8_whatever_the_terminal_speaks(hutch: Cli, tmp_path: Path, name: str) -> None:
    file, here = recipe(tmp_path / "r.yaml", "base: {}\nlayers: [{discriminator: é}]"), {"LC_ALL": "C"}
    here |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert hutch.text("build", "--recipe", file, "--name", name, **here) == name
    assert hutch.text("build", "--recipe", "-", "--name", name, stdin=Path(file).read_bytes(), **here) == name


def test_a_command_line_that_makes_no_sense_says_so(hutch: Cli, tmp_path: Path) -> None:
    assert b"No such file" in hutch("build", "-f", str(tmp_path / "none"), code=1).stderr
    assert b"one Dockerfile or one recipe" in hutch("build", "-", "-f", "x", code=2).stderr
    assert b"no build context" in hutch("build", ".", code=2).stderr
    file = recipe(tmp_path / "r.yaml", "{}")
    assert b"USER@REGISTRY" in hutch("build", "--recipe", file, "--login", "me", code=2).stderr
    assert b"HUTCH_REGISTRY_PASSWORD" in hutch("build", "--recipe", file, "--login", "me@r.invalid", code=2).stderr
    assert b"build not found" in hutch("builds", "show", "none", code=1).stderr


def test_a_build_that_fails_says_why(hutch: Cli, tmp_path: Path) -> None:
    file = recipe(tmp_path / "bad.yaml", "layers: [{services: [{name: web, exec: [/bin/true]}]}]")
    done = hutch("build", "--recipe", file, code=1)
    assert b" failed: " in done.stderr
    assert b"systemd" in done.stderr
    (found, *_) = shown(hutch, "builds", "ls", "-n", "1")
    assert found["state"] == "failed"
    assert b" failed: " in hutch("builds", "log", found["id"], code=1).stderr


def test_ctrl_c_ends_the_build(hutch: Cli, sdk: Hutch, tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/never"
        layer = {"repositories": [{"url": url, "path": str(tmp_path / "clone")}], "discriminator": name}
        process = hutch.spawn("build", "--recipe", recipe(tmp_path / "r.json", json.dumps({"layers": [layer]})))
        assert process.stderr is not None
        told = b""
        while b"clone repositories" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        process.send_signal(signal.SIGINT)
        process.wait(LIMIT)
    assert process.returncode == 130
    (found, *_) = sdk.builds.list(1)
    assert found.state == "cancelled"
    assert found.id.encode() in process.stderr.read()


def test_a_machine_is_given_more_and_ended_at_once(hutch: Cli, sdk: Hutch, machine: str) -> None:
    assert hutch.text("resize", machine, "--cpus", "2", "--memory", "256", "--disk", "30") == machine
    its = sdk.machines.get(machine)
    assert (its.cpus, its.memory_mb, its.disk_gb) == (2, 256, 30)
    assert b"name what is to change" in hutch("resize", machine, code=2).stderr
    hutch("start", machine)
    assert hutch.text("kill", machine) == machine
    assert sdk.machines.get(machine).state == "stopped"


def test_services_of_a_guest_without_systemd_are_told_to_be_impossible(hutch: Cli, sdk: Hutch, machine: str) -> None:
    hutch("start", machine)
    for words in (
        ("create", machine, "web", "/bin/true"),
        ("ls", machine),
        ("status", machine, "web"),
        ("logs", machine, "web"),
        ("rm", machine, "web"),
        ("start", machine, "web"),
    ):
        assert b"systemd" in hutch("service", *words, code=1).stderr, words
    with pytest.raises(errors.ApiError, match="systemd"):
        sdk.services.restart(machine, ["web"])


def test_a_machine_is_optimized_and_goes_on(hutch: Cli, sdk: Hutch, machine: str) -> None:
    hutch("start", machine)
    assert hutch.text("optimize", machine) == machine
    assert sdk.machines.get(machine).state_detail == "suspended"
    hutch("exec", machine, "true")


def test_a_machine_is_watched(hutch: Cli, machine: str) -> None:
    hutch("start", machine)
    hutch("exec", machine, "mkdir", "-p", "workspace")
    assert "CPU" in hutch.text("stats", machine)
    assert shown(hutch, "stats", machine)["memory_total"] > 0
    following, watching = hutch.spawn("stats", machine, "-f", "--json"), hutch.spawn("watch", machine, "/workspace")
    assert following.stdout is not None
    assert watching.stdout is not None
    assert "cpu_percent" in json.loads(following.stdout.readline())
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in watching.stdout or ()], daemon=True).start()
    for number in range(LIMIT):  # it watches from some moment on
        hutch("exec", machine, "touch", f"workspace/{number}")
        with contextlib.suppress(queue.Empty):
            assert b"/workspace/" in lines.get(timeout=1)
            break
    else:
        raise AssertionError("nothing was told")
    for process in (following, watching):
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
