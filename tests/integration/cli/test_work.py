"""session, job, code, volume, usage, events, tenant, webhook."""

import json
import select
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest

from hutch.client import Hutch, NewMachine

from .conftest import LIMIT, Cli


def shown(hutch: Cli, *words: str) -> Any:
    return json.loads(hutch.text(*words, "--json"))


def test_a_session_keeps_what_a_line_changes(hutch: Cli, machine: str) -> None:
    session = hutch.text("session", "create", machine, "-e", "A=b", "-w", "/tmp")
    hutch("session", "exec", machine, session, "export B=c; exit 3", code=3)
    assert hutch.text("session", "exec", machine, session, "echo $A$B") == "bc"
    (found,) = shown(hutch, "session", "ls", machine)
    assert (found["id"], found["cwd"], found["env"]["B"]) == (session, "/tmp", "c")
    assert session in hutch.text("session", "ls", machine)
    assert hutch.text("session", "rm", machine, session) == session
    assert b"not found" in hutch("session", "rm", machine, session, code=1).stderr
    assert b"not found" in hutch("session", "exec", machine, session, "true", code=125).stderr


def test_a_job_runs_on_and_its_output_is_followed(hutch: Cli, machine: str) -> None:
    job = hutch.text("job", "start", machine, "-e", "A=b", "--", "sh", "-c", "echo $A; echo err >&2; sleep 0.3; exit 4")
    assert hutch.text("job", "output", machine, job, "-f", code=4) == "b"
    assert hutch.text("job", "output", machine, job, "--stderr") == "err"
    assert shown(hutch, "job", "show", machine, job)["exit_code"] == 4
    assert "exited" in hutch.text("job", "show", machine, job)
    endless = hutch.text("job", "start", machine, "sleep", "1000")
    assert hutch.text("job", "cancel", machine, endless) == endless
    assert [it["id"] for it in shown(hutch, "job", "ls", machine)] == [endless, job]
    assert b"not found" in hutch("job", "show", machine, "none", code=1).stderr


def test_a_program_of_this_box_runs_there(hutch: Cli, machine: str, tmp_path: Path) -> None:
    program = tmp_path / "x.py"
    program.write_text("import os, sys\nprint(os.environ['A'], 6*7)\nsys.exit(3)\n")
    assert hutch.text("code", machine, str(program), "-e", "A=b", code=3) == "b 42"
    assert hutch.text("code", machine, "-", "-L", "python", stdin=b"print(1)") == "1"
    assert b"--language" in hutch("code", machine, "-", code=2).stderr
    assert b"supported: python" in hutch("code", machine, str(program), "-L", "cobol", code=125).stderr
    assert b"No such file" in hutch("code", machine, str(tmp_path / "none.py"), code=1).stderr


def test_a_volume_is_made_mounted_and_removed(hutch: Cli) -> None:
    name = f"v-{uuid.uuid4().hex[:8]}"
    id = hutch.text("volume", "create", name, "--size", "1")
    assert id.startswith("vol-")
    machine = hutch.text("create", "debian", "--mount", f"{name}:/data:ro")
    (found,) = [it for it in shown(hutch, "volume", "ls") if it["id"] == id]
    assert (found["status"], found["machines"], found["size_gb"]) == ("attached", [machine], 1)
    assert b"mounted by" in hutch("volume", "rm", name, code=1).stderr
    hutch("rm", machine)
    assert hutch.text("volume", "rm", name) == name
    assert b"--mount" in hutch("create", "debian", "--mount", "nonsense", code=2).stderr


def test_usage_is_told_of_all_and_of_one(hutch: Cli, machine: str, sdk: Hutch) -> None:
    hutch("exec", machine, "true")
    assert shown(hutch, "usage")["execs"] >= 1
    assert shown(hutch, "usage", "--from", "2020-01-01", "--to", "2020-02-01")["uptime_seconds"] == 0
    id = sdk.machines.get(machine).id
    assert shown(hutch, "usage", machine)["execs"] == 1
    hutch("rm", machine)
    assert "EXECS" in hutch.text("usage", id)
    assert b"--from" in hutch("usage", "--from", "yesterday", code=2).stderr


def test_events_are_told_of_what_was_and_followed(hutch: Cli, machine: str, sdk: Hutch) -> None:
    assert [it["kind"] for it in shown(hutch, "events", machine)] == ["machine.creating", "machine.created"]
    following = hutch.spawn("events", machine, "-f", "--json")
    assert following.stdout is not None
    assert json.loads(following.stdout.readline())["kind"] == "machine.creating"
    sdk.machines.delete(machine)
    out, _ = following.communicate(timeout=LIMIT)
    assert json.loads(out.splitlines()[-1])["kind"] == "machine.destroyed"
    assert following.returncode == 0


def test_events_of_all_machines_go_on_until_interrupted(hutch: Cli, sdk: Hutch) -> None:
    made = []
    with hutch.spawn("events", "--kind", "machine.created") as following:
        assert following.stdout is not None
        line = b""
        while not line:  # it may not listen yet: make another
            made.append(sdk.machines.create(NewMachine("debian")).id)
            line = _line_within(following.stdout, 0.5)
        assert b"machine.created" in line
        following.send_signal(signal.SIGINT)
        assert following.wait(LIMIT) == 130
    for id in made:
        sdk.machines.delete(id)


def _line_within(file: Any, seconds: float) -> bytes:
    ready, _, _ = select.select([file], [], [], seconds)
    return bytes(file.readline()) if ready else b""


def test_logs_are_followed_until_the_machine_is_gone(hutch: Cli, machine: str, sdk: Hutch) -> None:
    hutch("start", machine)
    with hutch.spawn("logs", "-f", machine) as following:
        assert following.stdout is not None
        assert following.stdout.readline()
        sdk.machines.delete(machine)
        assert following.wait(LIMIT) == 0


def test_a_tenant_is_made_limited_and_suspended(hutch: Cli) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    id = hutch.text("tenant", "create", name, "--machines", "3")
    assert id.startswith("tenant-")
    key = hutch.text("key", "create", "--tenant", name, "--scope", "machine:*")
    assert shown(hutch, "ps") is not None
    assert json.loads(hutch.text("ps", "--json", HUTCH_KEY=key)) == []
    assert shown(hutch, "tenant", "limit", name, "--cpus", "2")["limits"] == {
        **dict.fromkeys(
            ("machines", "running_machines", "memory_mb", "disk_gb", "volumes", "checkpoints", "requests_per_second")
        ),
        "cpus": 2,
    }
    hutch("tenant", "suspend", name)
    assert b"suspended" in hutch("create", "debian", code=1, HUTCH_KEY=key).stderr
    hutch("tenant", "reactivate", name)
    assert "active" in hutch.text("tenant", "ls")
    assert b"there is no tenant" in hutch("tenant", "suspend", "no-such-tenant", code=1).stderr


def test_a_webhook_is_made_and_removed(hutch: Cli) -> None:
    id, secret = hutch.text("webhook", "create", "https://hooks.invalid/", "--kind", "machine.failed").split()
    assert secret
    (found,) = [it for it in shown(hutch, "webhook", "ls") if it["id"] == id]
    assert (found["url"], found["kinds"], found["secret"]) == ("https://hooks.invalid/", ["machine.failed"], None)
    assert shown(hutch, "webhook", "deliveries", id) == []
    words = ("--disable", "--kind", "all", "--description", "ours", "--secret", "-")
    assert hutch.text("webhook", "update", id, *words, stdin=b"mine\n") == id
    (found,) = [it for it in shown(hutch, "webhook", "ls") if it["id"] == id]
    assert (found["enabled"], found["kinds"], found["description"]) == (False, [], "ours")
    assert json.loads(hutch.text("webhook", "update", id, "--enable", "--json"))["enabled"]
    assert b"not found" in hutch("webhook", "retry", id, "none", code=1).stderr
    assert hutch.text("webhook", "rm", id) == id


@pytest.mark.parametrize("words", [("--offline", "--allow", "10.0.0.0/8")])
def test_what_contradicts_itself_is_a_usage_error(hutch: Cli, words: tuple[str, ...]) -> None:
    hutch("create", "debian", *words, code=2)


def test_an_allow_list_is_asked_for_by_networks_and_hosts(hutch: Cli, sdk: Hutch) -> None:
    made = hutch.text("create", "debian", "--allow", "10.0.0.0/8", "--allow", "*.example.org")
    assert sdk.machines.get(made).network == "allowCidrs"
    hutch("rm", made)


def test_a_domain_is_claimed_moved_and_given_up(hutch: Cli, sdk: Hutch) -> None:
    first, second = (hutch.text("create", "debian") for _ in range(2))
    done = hutch("domain", "add", "shop.invalid", first, "8080")
    assert done.stdout == b"shop.invalid\n"
    (claim,) = [it for it in sdk.domains.list() if it.name == "shop.invalid"]
    for told in (claim.record_name, claim.proof, claim.file_url):
        assert told.encode() in done.stderr
    assert b"is not verified" in hutch("domain", "verify", "shop.invalid", code=1).stderr
    moved = json.loads(hutch.text("domain", "add", "shop.invalid", second, "81", "--json"))
    assert (moved["machine"], moved["port"], moved["proof"]) == (sdk.machines.get(second).id, 81, claim.proof)
    assert "shop.invalid" in hutch.text("domain", "ls")
    hutch("domain", "add", "shop", first, "80", code=1)
    hutch("domain", "add", "other.invalid", first, "70000", code=2)
    assert hutch.text("domain", "rm", "shop.invalid") == "shop.invalid"
    assert b"not found" in hutch("domain", "rm", "shop.invalid", code=1).stderr
    hutch("rm", first, second)


def test_what_deletes_tells_what_is_gone_as_json(hutch: Cli) -> None:
    machine, volume = hutch.text("create", "debian"), hutch.text("volume", "create", "json-volume")
    found = json.loads(hutch.text("ps", "--json"))
    id = next(it["id"] for it in found if machine in (it["id"], it["name"]))
    hutch("start", machine)
    session = hutch.text("session", "create", machine)
    snapshot = hutch.text("snapshot", "create", machine)
    kept = next(it["id"] for it in json.loads(hutch.text("snapshot", "ls", "--json")) if it["name"] == snapshot)
    hook = hutch.text("webhook", "create", "https://hooks.invalid/").split()[0]
    for words, told in (
        (("session", "rm", machine, session), {"id": session, "deleted": True}),
        (("snapshot", "rm", snapshot), [{"id": kept, "deleted": True}]),
        (("webhook", "rm", hook), {"id": hook, "deleted": True}),
        (("volume", "rm", "json-volume"), [{"id": volume, "deleted": True}]),
        (("rm", machine), [{"id": id, "deleted": True}]),
    ):
        assert json.loads(hutch.text(*words, "--json")) == told
    assert json.loads(hutch("rm", "nothing-like-it", "--json", code=1).stdout) == []
