"""create, start, stop, restart, rm, ps, logs."""

import json

from .conftest import Cli


def test_a_machine_is_created_started_stopped_and_removed(hutch: Cli) -> None:
    id = hutch.text("create", "--name", "life", "--memory", "128", "-e", "A=b", "-l", "team=x", "debian")
    assert id.startswith("mach-")
    assert hutch.text("start", "life") == "life"
    shown = json.loads(hutch.text("ps", "--json", "-l", "team=x"))
    assert [(it["id"], it["name"], it["state"], it["ready"], it["memory_mb"]) for it in shown] == [
        (id, "life", "started", True, 128)
    ]
    assert hutch.text("exec", "life", "sh", "-c", "echo $A") == "b"
    assert [it["ready"] for it in json.loads(hutch.text("restart", "life", "--json"))] == [True]
    assert hutch.text("stop", "life") == "life"
    assert hutch.text("rm", "life") == "life"
    assert json.loads(hutch.text("ps", "--json", "-l", "team=x")) == []


def test_a_list_in_a_pipe_is_plain_columns(hutch: Cli, machine: str) -> None:
    head, *rows = hutch.text("ps").splitlines()
    assert head.split() == ["NAME", "ID", "STATE", "IMAGE", "CPUS", "MEMORY", "AGE", "REASON"]
    assert any(row.split()[0] == machine and "\x1b" not in row and "\t" not in row for row in rows)


def test_a_machine_is_meant_by_its_name_its_id_or_a_beginning_of_one(hutch: Cli) -> None:
    id = hutch.text("create", "--name", "prefix-alpha", "debian")
    other = hutch.text("create", "--name", "prefix-beta", "debian")
    for typed in ("prefix-alpha", id, id.removeprefix("mach-"), "prefix-a"):
        assert hutch.text("exec", typed, "echo", "ok") == "ok"
    told = hutch("stop", "prefix", code=1).stderr.decode()
    assert "could be any of: prefix-alpha, prefix-beta" in told
    assert "there is no machine 'prefix-gamma'" in hutch("stop", "prefix-gamma", code=1).stderr.decode()
    hutch("rm", id, other)


def test_several_are_done_whatever_happens_to_one(hutch: Cli, machine: str) -> None:
    done = hutch("start", "no-such-one", machine, code=1)
    assert done.stdout.decode() == f"{machine}\n"
    assert done.stderr.decode().startswith("hutch: there is no machine 'no-such-one'\n  hint: ")


def test_what_the_service_refuses_is_one_line(hutch: Cli, machine: str) -> None:
    done = hutch("create", "--name", machine, "debian", code=1)
    assert done.stdout == b""
    assert done.stderr.decode().count("\n") == 1
    assert machine in done.stderr.decode()


def test_logs_and_events_are_shown(hutch: Cli, machine: str) -> None:
    hutch("start", machine)
    hutch("logs", machine)
    assert "running" in hutch.text("logs", "--events", machine)
    assert {"level", "message", "created_at", "id", "kind", "machine", "snapshot"} == set(
        json.loads(hutch.text("logs", "--json", machine))[0]
    )
