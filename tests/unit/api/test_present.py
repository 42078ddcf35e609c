"""From the service's nouns to smol's JSON."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from hutch.api import answers
from hutch.api.smol import files, present, responses
from hutch.control import health, images, machines, pools, processes
from hutch.model import errors, guest, keys
from hutch.model.ids import KeyId, MachineId, PoolId, ProcessId, SnapshotId, TenantId
from hutch.model.machine import (
    Event,
    ImageRef,
    Level,
    Machine,
    MachineSpec,
    NetworkMode,
    NetworkPolicy,
    Persistence,
    Pool,
    Resources,
    Snapshot,
    TimerAction,
    Timers,
)
from hutch.model.states import State

ID = MachineId("abcdefghij0123456789")
WHEN = datetime(2026, 11, 22, 6, 5, 4, 321000, UTC)
SPEC = MachineSpec(ImageRef("debian", "sha256:1"), Resources(1, 512, 20), "web", env={"A": "b"})
MACHINE = Machine(ID, TenantId("t"), "web", SPEC, State.STOPPED, WHEN, WHEN)


def fits(model: type[BaseModel], shown: dict[str, Any]) -> dict[str, Any]:
    """What a client reads, which must be just what the document says."""
    wire = present.Json(shown).body
    model.model_validate_json(wire)
    read: dict[str, Any] = json.loads(wire)
    return read


def in_state(state: State, **fields: Any) -> dict[str, Any]:
    return present.machine(dataclasses.replace(MACHINE, state=state, **fields))


def done(**fields: Any) -> processes.Completed:
    whole = {"stdout": b"", "stderr": b"", "stdout_truncated": False, "stderr_truncated": False}
    whole |= {"process": ProcessId("p"), "pid": 1, "exit": guest.Exit(code=0), "duration": 0.0141}
    return processes.Completed(**(whole | fields))


def test_a_machine_fits_its_document_in_every_state() -> None:
    for state in State:
        fits(responses.Machine, in_state(state, reason="it broke", ready_at=WHEN))


def test_every_state_has_a_word_and_none_is_left_out() -> None:
    assert set(present.STATES) == set(State)
    assert set(present.STATES.values()) == {"created", "stopped", "started", "paused", "error", "deleted"}


def test_a_machine_that_starts_is_never_shown_stopped_nor_ready() -> None:
    shown = present.machine(dataclasses.replace(MACHINE, state=State.STARTING), machines.Progress("booting", 0.5))
    assert (shown["state"], shown["ready"], shown["readyAt"]) == ("started", False, None)
    assert fits(responses.Machine, shown)["progress"] == {"phase": "booting", "fraction": 0.5}


def test_a_running_machine_is_ready_since_a_time() -> None:
    shown = in_state(State.RUNNING, ready_at=WHEN)
    assert (shown["state"], shown["ready"], shown["readyAt"]) == ("started", True, "2026-11-22T06:05:04.321Z")


def test_a_failed_machine_says_why_and_no_other_does() -> None:
    assert in_state(State.FAILED, reason="out of memory")["reason"] == "out of memory"
    assert "reason" not in in_state(State.STOPPED, reason="long ago")


def test_paused_and_suspended_are_one_word_and_told_apart_beside_it() -> None:
    for state in (State.PAUSED, State.SUSPENDED):
        shown = in_state(state)
        assert (shown["state"], shown["stateDetail"], shown["ready"]) == ("paused", state, False)


def test_a_machine_tells_where_it_came_from_and_what_becomes_of_it() -> None:
    shown = in_state(
        State.SUSPENDED,
        parent=MachineId("p"),
        snapshot=SnapshotId("s"),
        suspended_at=WHEN,
        persistence=Persistence.STICKY,
        priority=3,
        timers=Timers(5, TimerAction.SUSPEND, 60, TimerAction.STOP, 9),
    )
    assert (shown["parentId"], shown["checkpointId"]) == ("mach-p", "ckpt-s")
    assert (shown["ephemeral"], shown["persistence"]) == (False, {"type": "sticky", "priority": 3})
    assert (shown["autoStopSeconds"], shown["idleAction"]) == (5, "suspend")
    assert (shown["ttlSeconds"], shown["lifetimeAction"], shown["deleteAfterSuspendedSeconds"]) == (60, "stop", 9)
    assert fits(responses.Machine, shown)["suspendedAt"] == "2026-11-22T06:05:04.321Z"


def test_only_a_sticky_machine_has_a_priority() -> None:
    assert in_state(State.STOPPED)["persistence"] == {"type": "persistent", "priority": None}
    assert in_state(State.STOPPED, persistence=Persistence.EPHEMERAL)["ephemeral"]


def test_remaining_times_are_told_only_if_they_were_asked_for() -> None:
    shown = present.machine(MACHINE, remaining=machines.Remaining(idle=1.5))
    assert fits(responses.Machine, shown)["timers"] == {
        "idleRemainingSeconds": 1.5,
        "lifetimeRemainingSeconds": None,
        "suspendedRemainingSeconds": None,
    }
    assert "timers" not in present.machine(MACHINE)


SNAPSHOT = Snapshot(SnapshotId("s"), TenantId("t"), "before", ID, SPEC, WHEN, 4096)


def test_a_checkpoint_is_told_as_documented_and_more() -> None:
    shown = fits(responses.Checkpoint, present.checkpoint(SNAPSHOT))
    assert (shown["id"], shown["machineId"], shown["status"], shown["sizeBytes"]) == (
        "ckpt-s",
        f"mach-{ID}",
        "ready",
        4096,
    )
    assert (shown["name"], shown["reusedBytes"], shown["downloadUrl"], shown["arch"]) == ("before", None, "", "x86_64")


def test_a_checkpoint_that_was_found_damaged_says_so() -> None:
    found = dataclasses.replace(SNAPSHOT, damage=("memory: page 7",), verified_at=WHEN)
    shown = fits(responses.Checkpoint, present.checkpoint(found))
    assert (shown["status"], shown["damage"]) == ("damaged", ["memory: page 7"])


@pytest.mark.parametrize(
    ("ready", "making", "reason", "status"),
    [(2, 0, None, "ready"), (3, 0, None, "ready"), (1, 1, None, "filling"), (0, 0, "no memory", "waiting")],
)
def test_a_pool_is_told_as_documented_and_more(ready: int, making: int, reason: str | None, status: str) -> None:
    pool = Pool(PoolId("p"), TenantId("t"), "web", SPEC, 2, 4, ("sync",), WHEN)
    shown = fits(
        responses.Pool,
        present.pool(pools.PoolStatus(pool, ready, making, 7, None if reason is None else errors.NoCapacity(reason))),
    )
    assert (shown["id"], shown["image"], shown["status"]) == ("pool-p", "debian", status)
    assert (shown["targetSize"], shown["idleCount"], shown["busyCount"], shown["makingCount"]) == (2, ready, 7, making)
    assert (shown["min"], shown["max"], shown["warmUp"], shown["reason"]) == (2, 4, ["sync"], reason)


def test_ids_are_shown_with_their_prefix() -> None:
    assert in_state(State.STOPPED)["id"] == f"mach-{ID}"


def test_a_network_has_lists_only_where_they_mean_something() -> None:
    assert present.network(NetworkPolicy()) == {"mode": "open"}
    allowed = present.network(NetworkPolicy(NetworkMode.ALLOW, cidrs=("10.0.0.0/8",)))
    assert (allowed["mode"], list(allowed["cidrs"])) == ("allowCidrs", ["10.0.0.0/8"])


def test_an_exec_shows_both_families_unless_one_is_asked_for() -> None:
    ended = done(stdout=b"a\xff", exit=guest.Exit(code=3))
    both = fits(responses.ExecResult, present.exec_result(ended, ID, "both", "me"))
    assert (both["stdout"], both["stdoutB64"], both["exitCode"], both["durationMs"], both["user"]) == (
        "a�",
        "Yf8=",
        3,
        14,
        "me",
    )
    text = fits(responses.ExecResult, present.exec_result(ended, ID, "text", None))
    assert "stdoutB64" not in text
    assert "user" not in text
    assert fits(responses.ExecResult, present.exec_result(ended, ID, "b64", None))["stdout"] == ""


def test_text_is_capped_between_characters_and_says_so_while_the_bytes_are_whole() -> None:
    long = "é".encode() * (present.TEXT_LIMIT // 2) + b"x" + "é".encode()
    shown = present.exec_result(done(stdout=b"y" + long), ID, "both", None)
    assert shown["stdoutTruncated"]
    assert not shown["stderrTruncated"]
    assert "�" not in shown["stdout"]
    assert len(shown["stdoutB64"]) > present.TEXT_LIMIT * 4 / 3


def test_a_timeout_is_124_and_a_signal_128_and_its_number() -> None:
    assert present.exec_result(done(exit=guest.Exit(signal=9, timed_out=True)), ID, "text", None)["exitCode"] == 124
    assert present.exec_result(done(exit=guest.Exit(signal=15)), ID, "text", None)["exitCode"] == 143


HOST = health.HostInfo("tcg", "no /dev/kvm", "qemu 7.2.22", "0.1.0", "uid per machine")
CONFIG = images.ImageConfig(entrypoint=("python3",), env={"PATH": "/bin"})
INFO = guest.ProcessInfo("p", 7, ("sleep", "9"), 0.0, 1, 2)


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        (responses.Event, present.event(Event("1", ID, Level.INFO, "started", WHEN))),
        (
            responses.Key,
            present.key(keys.ApiKey(KeyId("k"), TenantId("t"), "smk", frozenset({"admin"}), "mine", WHEN)),
        ),
        (responses.Health, present.health_report(health.Report("c", "0.1.0", 1.5, HOST, {}, 1), True)),
        (responses.Process, present.process(INFO)),
        (responses.Process, present.process(dataclasses.replace(INFO, exit=guest.Exit(signal=9)))),
        (responses.ProcessOutput, present.process_output(guest.Output(b"ab", 3, b"", 0, guest.Exit(code=1)))),
        (responses.Image, present.image(images.Image(ImageRef("a", "sha256:1"), 5, 0.0, CONFIG))),
        (responses.Progress, present.progress(images.Progress("pulling"))),
    ],
)
def test_every_other_answer_fits_its_document(model: type[BaseModel], shown: dict[str, Any]) -> None:
    fits(model, shown)


def test_a_page_of_output_says_where_to_go_on() -> None:
    shown = present.process_output(guest.Output(b"ab", 3, b"", 7))
    assert (shown["stdoutOffset"], shown["stdoutNextOffset"], shown["stderrNextOffset"]) == (3, 5, 7)


@pytest.mark.parametrize(
    ("seconds", "told"), [(3e11, "9999-12-31T23:59:59.000Z"), (-(2.0**62), "0001-01-01T00:00:00.000Z")]
)
def test_a_moment_in_no_year_that_can_be_told_is_the_nearest_that_can(seconds: float, told: str) -> None:
    stat = guest.FileStat("/x", guest.FileKind.FILE, 0, 0o644, 0, 0, seconds, None)
    assert (answers.unix(seconds), files.shown(stat)["modifiedAt"]) == (told, told)
