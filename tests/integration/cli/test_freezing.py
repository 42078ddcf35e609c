"""pause, suspend, resume, fork, snapshot, rollback, resize, wait, tree, pool; timers of new machines."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from hutch.client import Hutch, NewMachine, NewPool

from .conftest import HUTCH, LIMIT, Cli


@pytest.fixture
def running(sdk: Hutch, machine: str) -> Iterator[str]:
    """A machine that runs, and is gone afterwards with all that was made of it."""
    id = sdk.machines.start(machine).id
    yield machine
    for it in sdk.machines.list():
        if it.parent == id:
            sdk.machines.delete(it.id)
    for snapshot in sdk.snapshots.list():
        if snapshot.machine == id:
            sdk.snapshots.delete(snapshot.id)


def as_json(hutch: Cli, *words: str) -> Any:
    return json.loads(hutch.text(*words, "--json"))


def state(sdk: Hutch, machine: str) -> str:
    return sdk.machines.get(machine).state_detail


def test_a_machine_is_paused_suspended_and_goes_on(hutch: Cli, sdk: Hutch, running: str) -> None:
    process = hutch.text("exec", "-d", running, "--", "sleep", "1000")
    for verb, detail in (("pause", "paused"), ("suspend", "suspended")):
        assert hutch.text(verb, running) == running
        assert state(sdk, running) == detail
        assert f"{running} " in hutch.text("ps")
        assert f" {detail} " in next(line for line in hutch.text("ps").splitlines() if line.startswith(f"{running} "))
    assert hutch.text("resume", running) == running
    assert state(sdk, running) == "running"
    assert [(it["id"], it["exit"]) for it in as_json(hutch, "ps", running)] == [(process, None)]


def test_several_are_suspended_whatever_happens_to_one(hutch: Cli, sdk: Hutch, running: str) -> None:
    done = hutch("suspend", "no-such-one", running, code=1)
    assert done.stdout.decode() == f"{running}\n"
    assert "there is no machine 'no-such-one'" in done.stderr.decode()
    (told,) = as_json(hutch, "resume", running)
    assert (told["name"], told["state_detail"]) == (running, "running")


def test_what_a_state_does_not_allow_is_one_line(hutch: Cli, machine: str) -> None:
    for words in (("pause", machine), ("suspend", machine), ("fork", machine), ("snapshot", machine)):
        done = hutch(*words, code=1)
        assert done.stdout == b""
        assert done.stderr.decode().count("\n") == 1
        assert "stopped" in done.stderr.decode()


def test_a_machine_is_forked_eight_times(hutch: Cli, sdk: Hutch, running: str) -> None:
    names = hutch.text("fork", running, "-n", "8").splitlines()
    assert names == [f"{running}-{number}" for number in range(1, 9)]
    id = sdk.machines.get(running).id
    children = {it.name: it for it in sdk.machines.list() if it.parent == id}
    assert set(children) == set(names)
    assert all(it.ready for it in children.values())
    assert state(sdk, running) == "running"


def test_forks_have_the_names_asked_for(hutch: Cli, running: str) -> None:
    one, two = f"a-{running[-6:]}", f"b-{running[-6:]}"
    assert hutch.text("fork", running, "--name", one, "--name", two).splitlines() == [one, two]
    prefix = f"p-{running[-6:]}"
    assert [it["name"] for it in as_json(hutch, "fork", running, "-n", "2", "--prefix", prefix)] == [
        f"{prefix}-1",
        f"{prefix}-2",
    ]
    assert one in hutch("fork", running, "--name", one, code=1).stderr.decode()


def test_a_snapshot_is_made_listed_verified_and_removed(hutch: Cli, running: str) -> None:
    name = f"s-{running[-6:]}"
    assert hutch.text("snapshot", running, "--name", name) == name
    other = hutch.text("snapshot", "create", running, "--persistence", "sticky:2")
    assert hutch.text("snapshot", "rename", other, f"{other}-r") == f"{other}-r"
    other = f"{other}-r"
    assert as_json(hutch, "snapshot", "ls", running)[0]["priority"] == 2
    assert [it["name"] for it in as_json(hutch, "snapshot", "ls", running)] == [other, name]
    head, *rows = hutch.text("snapshot", "ls").splitlines()
    assert head.split() == ["NAME", "ID", "STATUS", "MACHINE", "IMAGE", "SIZE", "AGE"]
    assert any(row.split()[0] == name and row.split()[3] == running for row in rows)
    assert hutch.text("snapshot", "verify", name) == name
    assert as_json(hutch, "snapshot", "verify", name[:-1])["damage"] == []
    done = hutch("snapshot", "rm", name, "no-such-one", other, code=1)
    assert done.stdout.decode().split() == [name, other]
    assert done.stderr.decode().startswith("hutch: there is no snapshot 'no-such-one'\n  hint: ")
    assert as_json(hutch, "snapshot", "ls", running) == []


def test_a_machine_is_made_of_a_snapshot(hutch: Cli, sdk: Hutch, running: str) -> None:
    sdk.files.write(running, "/workspace/x", b"then")
    snapshot, name = hutch.text("snapshot", running), f"of-{running[-6:]}"
    id = hutch.text("create", "--from", snapshot, "--name", name, "-l", "a=b")
    made = sdk.machines.get(name)
    assert (made.id, made.state_detail, made.labels, made.image) == (id, "suspended", {"a": "b"}, "debian")
    assert hutch.text("cp", f"{name}:/workspace/x", "-") == "then"
    told = hutch("create", "--from", "no-such-one", code=1)
    assert (told.stdout, "there is no snapshot 'no-such-one'" in told.stderr.decode()) == (b"", True)


def test_a_command_runs_in_a_machine_of_a_snapshot(hutch: Cli, running: str, sdk: Hutch) -> None:
    snapshot, before = hutch.text("snapshot", running), len(sdk.machines.list())
    done = hutch("run", "--from", snapshot, "--", "sh", "-c", "echo out; exit 7", code=7)
    assert done.stdout == b"out\n"
    assert hutch.text("run", "--from", snapshot, "echo", "-n", "x") == "x"
    assert len(sdk.machines.list()) == before


def test_a_machine_goes_back_to_a_snapshot(hutch: Cli, sdk: Hutch, running: str) -> None:
    sdk.files.write(running, "/workspace/x", b"then")
    snapshot = hutch.text("snapshot", running)
    sdk.files.write(running, "/workspace/x", b"now")
    assert hutch.text("rollback", running, snapshot) == running
    assert b"".join(sdk.files.read(running, "/workspace/x")) == b"then"
    assert as_json(hutch, "rollback", running, snapshot)["name"] == running
    assert hutch("rollback", running, "no-such-one", code=1).stdout == b""


def test_a_disk_grows_and_does_not_shrink(hutch: Cli, sdk: Hutch, machine: str) -> None:
    assert hutch.text("resize", machine, "--disk", "30") == machine
    assert sdk.machines.get(machine).disk_gb == 30
    assert hutch("resize", machine, "--disk", "5", code=1).stderr.count(b"\n") == 1
    assert as_json(hutch, "resize", machine, "--disk", "31")["disk_gb"] == 31


def test_waiting_ends_with_the_state_or_fails(hutch: Cli, sdk: Hutch, running: str) -> None:
    assert hutch.text("wait", running) == running
    waiting = hutch.spawn("wait", running, "--state", "suspended", "--state", "stopped", "--timeout", "20", "--json")
    sdk.machines.suspend(running)
    out, _ = waiting.communicate(timeout=LIMIT)
    assert (waiting.returncode, json.loads(out)["state_detail"]) == (0, "suspended")
    late = hutch("wait", running, "--state", "failed", "--timeout", "0.2", code=1)
    assert (b"suspended" in late.stderr, late.stderr.count(b"\n")) == (True, 1)
    assert b"state" in hutch("wait", running, "--state", "sleeping", code=1).stderr


def test_a_tree_shows_which_came_from_which(hutch: Cli, sdk: Hutch, running: str) -> None:
    snapshot = sdk.snapshots.create(running).name
    (child,) = sdk.machines.fork(running)
    made = sdk.machines.create(NewMachine(snapshot=snapshot)).name
    lines = hutch.text("tree").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"{running}  started  debian"))
    assert lines[at + 1].startswith(f"├── snapshot {snapshot}  ready")
    assert lines[at + 2].startswith(f"│   └── {made}  suspended")
    assert lines[at + 3].startswith(f"└── {child.name}  started")
    (root,) = [it for it in as_json(hutch, "tree") if it["name"] == running]
    assert [(it["kind"], it["name"]) for it in root["children"]] == [("snapshot", snapshot), ("machine", child.name)]


def test_a_new_machine_is_told_how_long_it_lives(hutch: Cli, sdk: Hutch) -> None:
    words = "create --name timed --idle 10m --idle-action suspend --ttl 1d --ttl-action destroy --delete-suspended 7d"
    told = as_json(hutch, *words.split(), "--persistence", "sticky:3", "debian")
    assert (told["auto_stop_seconds"], told["idle_action"]) == (600, "suspend")
    assert (told["ttl_seconds"], told["lifetime_action"]) == (86400, "destroy")
    assert (told["delete_after_suspended_seconds"], told["persistence"], told["priority"]) == (7 * 86400, "sticky", 3)
    remaining = sdk.machines.get("timed").remaining
    assert remaining is not None
    assert remaining.lifetime is not None
    assert 86000 < remaining.lifetime <= 86400
    hutch("rm", "timed")


def test_a_pool_is_made_listed_claimed_and_removed(hutch: Cli, sdk: Hutch) -> None:
    words = ("pool", "create", "debian", "--name", "warm", "--min", "1", "--max", "2", "--memory", "128")
    assert hutch.text(*words, "--warm-up", "true && true") == "warm"
    assert b"warm" in hutch(*words, code=1).stderr
    (told,) = as_json(hutch, "pool", "ls")
    assert (told["name"], told["min"], told["max"], told["memory_mb"]) == ("warm", 1, 2, 128)
    assert told["warm_up"] == ["sh", "-lc", "true && true"]
    assert hutch.text("pool", "ls").splitlines()[0].split()[:4] == ["NAME", "ID", "STATUS", "IMAGE"]
    assert hutch.text("pool", "set", "warm", "--name", "hot", "--max", "3", "--warm-up", "true") == "hot"
    assert hutch.text("pool", "drain", "hot") == "hot"
    assert hutch("pool", "claim", "hot", "--mode", "require", "--wait", "20", code=1).stdout == b""
    told = as_json(hutch, "pool", "set", "hot", "--name", "warm", "--state", "enabled")
    assert (told["name"], told["state"], told["max"]) == ("warm", "enabled", 3)
    words = ("--mode", "require", "--wait", "30", "--name", "out-of-warm", "-e", "A=b", "--ttl", "1h")
    id = hutch.text("pool", "claim", "warm", *words)
    claimed = sdk.machines.get("out-of-warm")
    assert (claimed.id, claimed.ready, claimed.env, claimed.ttl_seconds) == (id, True, {"A": "b"}, 3600)
    hutch("rm", "out-of-warm")
    assert hutch.text("pool", "rm", "warm") == "warm"
    assert hutch("pool", "claim", "warm", code=1).stdout == b""


def test_a_terminal_is_shown_that_something_goes_on(hutch: Cli, running: str) -> None:
    ours, its = pty.openpty()
    try:
        done = subprocess.run(
            [*HUTCH, "fork", running],
            env={**hutch.environment, "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=its,
            timeout=LIMIT,
        )
        assert (done.returncode, done.stdout.decode()) == (0, f"{running}-1\n")
        assert f"forking {running}".encode() in os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(its)


def test_a_day_of_freezing_with_the_sdk(sdk: Hutch, running: str) -> None:
    assert sdk.machines.pause(running).state_detail == "paused"
    assert sdk.machines.suspend(running).state == "paused"
    assert sdk.machines.resume(running).ready
    snapshot = sdk.snapshots.create(running, f"day-{running[-6:]}")
    assert sdk.snapshots.get(snapshot.name) == snapshot == sdk.snapshots.list(running)[0]
    assert sdk.snapshots.verify(snapshot.id).verified_at
    made = sdk.snapshots.restore(snapshot.id, f"back-{running[-6:]}")
    assert (made.snapshot, made.parent, made.state_detail) == (snapshot.id, snapshot.machine, "suspended")
    assert sdk.machines.start(made.id).ready
    assert sdk.machines.wait(made.id, "running", "stopped", timeout=5).ready
    assert [it.parent for it in sdk.machines.fork(running, 2, freeze_source=True)] == [snapshot.machine] * 2
    assert sdk.machines.rollback(running, snapshot.id).state_detail == "suspended"
    pool = sdk.pools.create(NewPool("debian", min=0, max=1, memory_mb=96))
    assert sdk.pools.get(pool.name).id == pool.id
    claimed = sdk.pools.claim(pool.id, NewMachine(name=f"claimed-{running[-6:]}"))
    assert (claimed.memory_mb, claimed.ready) == (96, True)
    sdk.machines.delete(claimed.id)
    sdk.pools.delete(pool.id)
    assert pool.id not in {it.id for it in sdk.pools.list()}
