"""cp, image, key, doctor, up; where the service is, and what is said if it is not there."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx

import live
from hutch.cli import config

from .conftest import LIMIT, Cli


def test_files_are_copied_both_ways_with_their_bytes_and_mode(hutch: Cli, machine: str, tmp_path: Path) -> None:
    data = os.urandom(3 * 2**20)
    here, back = tmp_path / "run me.bin", tmp_path / "back"
    here.write_bytes(data)
    here.chmod(0o755)
    assert hutch("cp", str(here), f"{machine}:/workspace/").stdout == b""
    assert hutch.text("exec", machine, "stat", "-c", "%a", "workspace/run me.bin") == "755"
    hutch("cp", f"{machine}:/workspace/run me.bin", str(back))
    assert back.read_bytes() == data
    back.unlink()
    hutch("cp", f"{machine}:workspace/run me.bin", str(tmp_path))
    assert sorted(it.name for it in tmp_path.iterdir()) == ["run me.bin"]


def test_a_dash_is_stdin_and_stdout(hutch: Cli, machine: str) -> None:
    hutch("cp", "-", f"{machine}:/workspace/x", stdin=b"a\0b")
    assert hutch("cp", f"{machine}:/workspace/x", "-").stdout == b"a\0b"


def test_a_copy_that_fails_says_why_and_leaves_nothing(hutch: Cli, machine: str, tmp_path: Path) -> None:
    target = tmp_path / "x"
    assert b"file not found: workspace/none" in hutch("cp", f"{machine}:/workspace/none", str(target), code=1).stderr
    assert list(tmp_path.iterdir()) == []
    assert b"No such file" in hutch("cp", str(target), f"{machine}:/x", code=1).stderr
    assert b"exactly one of the two" in hutch("cp", "a", "b", code=2).stderr


def _tree(root: Path) -> dict[str, tuple[int, bytes | str | None]]:
    """What is below: permission bits, and content or a link's target."""

    def content(path: Path) -> bytes | str | None:
        if path.is_symlink():
            return os.readlink(path)
        return path.read_bytes() if path.is_file() else None

    paths = [root, *root.rglob("*")]
    return {str(it.relative_to(root)): (stat.S_IMODE(it.lstat().st_mode), content(it)) for it in paths}


def test_directories_are_copied_both_ways_with_modes_and_links(hutch: Cli, machine: str, tmp_path: Path) -> None:
    here = tmp_path / "a tree"
    (here / "deep" / "er").mkdir(parents=True)
    (here / "empty").mkdir(mode=0o750)
    (here / "big").write_bytes(os.urandom(3 * 2**20 + 7))
    (here / "big").chmod(0o640)
    (here / "deep" / "run").write_text("#!/bin/sh\n")
    (here / "deep" / "run").chmod(0o755)
    os.link(here / "big", here / "deep" / "same")
    (here / "deep" / "up").symlink_to("../big")
    (here / "absolute").symlink_to("/nowhere at all")
    (here / "deep" / "er").chmod(0o555)
    back, again = tmp_path / "back", tmp_path / "into"
    again.mkdir()
    hutch("cp", str(here), f"{machine}:/workspace/")
    hutch("cp", f"{machine}:/workspace/a tree", str(back))
    assert _tree(back) == _tree(here)
    assert (back / "big").samefile(back / "deep" / "same")
    hutch("cp", f"{machine}:/workspace/a tree/", str(again))
    assert _tree(again / "a tree") == _tree(here)
    hutch("cp", str(here / "deep"), f"{machine}:/workspace/new/name")
    assert hutch.text("exec", machine, "cat", "workspace/new/name/run") == "#!/bin/sh"
    assert b"there is already" in hutch("cp", f"{machine}:/workspace/a tree", str(again), code=1).stderr
    assert sorted(it.name for it in tmp_path.iterdir()) == ["a tree", "back", "into"]


def test_a_directory_that_cannot_be_copied_says_why_and_leaves_nothing(
    hutch: Cli, machine: str, tmp_path: Path
) -> None:
    (tmp_path / "it").mkdir()
    hutch("exec", machine, "sh", "-c", "echo x >workspace/file")
    assert b"could not be unpacked" in hutch("cp", str(tmp_path / "it"), f"{machine}:/workspace/file/", code=1).stderr
    hutch("exec", machine, "mkdir", "workspace/there")
    assert b"irectory" in hutch("cp", f"{machine}:/workspace/there", "-", code=1).stderr
    assert sorted(it.name for it in tmp_path.iterdir()) == ["it"]


def test_images_are_pulled_listed_and_removed(hutch: Cli) -> None:
    digest = hutch.text("image", "pull", "python:3.12")
    assert digest.startswith("sha256:")
    listed = {it["reference"]: it["digest"] for it in json.loads(hutch.text("image", "ls", "--json"))}
    assert listed["python:3.12"] == digest
    assert "python:3.12" in hutch.text("image", "ls")
    assert hutch.text("image", "rm", "python:3.12") == "python:3.12"
    assert b"manifest unknown" in hutch("image", "pull", "no/such:image", code=1).stderr


def test_key_create_prints_nothing_but_the_key(hutch: Cli, service: live.Live) -> None:
    done = hutch("key", "create", "--scope", "machine:read", "--scope", "machine:exec", "--prefix", "hf")
    key = done.stdout.decode().strip()
    assert done.stdout.decode() == f"{key}\n"
    assert done.stderr == b""
    assert key.startswith("hf_")
    shown = next(it for it in json.loads(hutch.text("key", "ls", "--json")) if it["prefix"] == "hf")
    assert shown["scopes"] == ["machine:exec", "machine:read"]
    other = {"HUTCH_URL": service.url, "HUTCH_KEY": key, "HUTCH_HOME": "/nowhere"}
    hutch("ps", **other)
    assert b"missing scope: machine:create" in hutch("create", "debian", code=1, **other).stderr
    hutch("key", "revoke", shown["id"])
    assert b"unknown API key" in hutch("ps", code=1, **other).stderr


def test_the_key_of_the_box_is_in_a_file_for_its_owner_only(service: live.Live) -> None:
    written = config.path(service.home)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert service.key not in service.log.read_text()


def test_an_unreachable_service_is_3_with_a_hint(hutch: Cli) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        done = hutch("ps", code=3, HUTCH_URL=url, HUTCH_KEY="x")
        assert b"start it with `hutch up`" in done.stderr
        assert hutch("exec", "m", "true", code=125, HUTCH_URL=url, HUTCH_KEY="x").stdout == b""


def test_up_refuses_a_port_that_is_taken_before_it_touches_anything(
    hutch: Cli, service: live.Live, tmp_path: Path
) -> None:
    address = service.url.removeprefix("http://")
    done = hutch("up", "--listen", address, code=1, HUTCH_HOME=str(tmp_path / "other"))
    assert f"cannot listen on {address}: Address already in use" in done.stderr.decode()
    assert not (tmp_path / "other").exists()


def test_up_refuses_an_address_that_is_none(hutch: Cli) -> None:
    assert b"is not HOST:PORT" in hutch("up", "--listen", "nonsense", code=1).stderr


def test_the_service_ends_in_bounded_time_although_a_stream_is_open(tmp_path: Path) -> None:
    with live.simulated(tmp_path) as service:
        http = httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {service.key}"}, trust_env=False)
        made = http.post("/v1/machines", json={"source": {"type": "image", "reference": "debian"}}).json()["id"]
        body = {"command": "echo begun; sleep 1000"}
        with http.stream("POST", f"/v1/machines/{made}/exec/stream", json=body) as answer:
            assert next(answer.iter_lines()) == "event: stdout"
            service.process.terminate()
            began = time.monotonic()
            assert service.process.wait(LIMIT) == 0
            assert time.monotonic() - began < 10


def test_doctor_tells_what_it_found_and_what_to_do(hutch: Cli) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hutch.cli.main", "doctor", "--json"],
        env=hutch.environment,
        capture_output=True,
        timeout=LIMIT,
    )
    found = {it["name"]: it for it in json.loads(done.stdout)}
    assert found["service"]["ok"]
    assert found["key"]["ok"]
    assert done.returncode == any(it["ok"] is False for it in found.values())
    assert all(it["remedy"] for it in found.values() if it["ok"] is False)


def test_help_imports_nothing_heavy(hutch: Cli) -> None:
    heavy = "{'httpx', 'fastapi', 'uvicorn', 'sqlalchemy', 'structlog', 'pydantic', 'asyncio'}"
    check = f"import sys, hutch.cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], env=hutch.environment, capture_output=True, timeout=LIMIT)
    assert done.stdout == b"[]\n", done
    assert "Usage" in hutch.text("--help")
    assert hutch.text("--version").startswith("hutch ")
