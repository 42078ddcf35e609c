"""The journal of a machine, written and read back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hutch.host.machines import journal
from hutch.host.machines.journal import Journal, Phase
from hutch.host.qemu.process import Identity
from hutch.model.ids import MachineId, SnapshotId, VolumeId
from hutch.model.machine import ImageRef, MachineSpec, NetworkMode, NetworkPolicy, Resources
from hutch.model.volumes import Mount

ENTRY = Journal(
    id=MachineId("a" * 20),
    spec=MachineSpec(
        image=ImageRef("debian", "sha256:" + "0" * 64),
        resources=Resources(1, 256, 20),
        hostname="web",
        network=NetworkPolicy(NetworkMode.BLOCKED, ("10.0.0.0/8",), ("example.org",)),
        env={"A": "b ü"},
        workdir="/workspace",
        mounts=(Mount(VolumeId("v" * 20), "/data", readonly=True),),
        command=("sleep", "1"),
    ),
    uid=200_000,
    phase=Phase.RUNNING,
    process=Identity(4711, 12345, slot=7),
    template="0" * 32,
    booted=True,
)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    ENTRY.write(tmp_path / "machine.json")
    read = journal.read(tmp_path / "machine.json")
    assert read == ENTRY
    assert read.process is not None
    assert read.process.slot == 7


def test_an_entry_of_before_maps_no_memory_of_saved_states(tmp_path: Path) -> None:
    ENTRY.write(tmp_path / "machine.json")
    raw = json.loads((tmp_path / "machine.json").read_text())
    del raw["memory"]
    assert journal.parse(raw) == ENTRY


@pytest.mark.parametrize(
    ("former", "change", "is_synced"),
    [
        (Phase.WAKING, {"phase": Phase.RUNNING}, False),
        (Phase.RUNNING, {"phase": Phase.PAUSED}, False),
        (Phase.SUSPENDED, {"phase": Phase.STARTING, "process": None}, False),
        (Phase.STOPPED, {"phase": Phase.STARTING}, False),
        (Phase.STARTING, {"phase": Phase.WAKING, "saved": None}, True),
        (Phase.RUNNING, {"layers": ("a", "b")}, True),
        (Phase.RUNNING, {"phase": Phase.SUSPENDING}, True),
        (Phase.SUSPENDING, {"phase": Phase.SUSPENDED}, True),
        (Phase.RUNNING, {"phase": Phase.STOPPED}, True),
        (Phase.RUNNING, {"phase": Phase.FAILED, "reason": "why"}, True),
        (Phase.RUNNING, {"phase": Phase.DESTROYING}, True),
        (Phase.RUNNING, {"disk_gib": 30}, True),
    ],
)
def test_only_what_a_power_cut_would_change_is_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, former: Phase, change: dict[str, Any], is_synced: bool
) -> None:
    saved = SnapshotId("s" * 20) if former in (Phase.SUSPENDED, Phase.STARTING, Phase.SUSPENDING) else None
    before = replace(ENTRY, phase=former, saved=saved)
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    after = replace(before, **change)
    after.write(tmp_path / "machine.json", before)
    assert bool(synced) is is_synced
    assert journal.read(tmp_path / "machine.json") == after


def test_a_memory_is_needed_while_a_process_may_map_it() -> None:
    entry = replace(ENTRY, memory="m")
    at_rest = (Phase.STOPPED, Phase.SUSPENDED, Phase.FAILED)
    assert all(replace(entry, phase=phase).mapped == "m" for phase in Phase)
    without = [phase for phase in Phase if replace(entry, phase=phase, process=None).mapped is None]
    assert sorted(without) == sorted(at_rest)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', '{"format": 1}', '{"format": 1, "spec": 3}'])
def test_a_file_that_is_no_journal_is_told_from_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "machine.json").write_text(content)
    assert journal.read(tmp_path / "machine.json") is None


def test_a_failed_write_leaves_the_former_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ENTRY.write(tmp_path / "machine.json")
    monkeypatch.setattr("json.dump", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Exception, match="disk is full"):
        Journal(ENTRY.id, ENTRY.spec, None).write(tmp_path / "machine.json")
    assert journal.read(tmp_path / "machine.json") == ENTRY
    assert [path.name for path in tmp_path.iterdir()] == ["machine.json"]
