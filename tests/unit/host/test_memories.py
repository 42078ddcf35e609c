"""Whole memories of saved states: what they hold, how they are named, and what a failure at any step leaves."""

import asyncio
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hutch.host.layers import Layers
from hutch.host.machines import optimize
from hutch.host.paths import Paths
from hutch.host.qemu.argv import Board
from hutch.host.saved import manifest as manifests
from hutch.host.saved import memories, memory
from hutch.host.saved.manifest import Fit, Manifest
from hutch.host.saved.states import States
from hutch.host.trash import Trash
from hutch.model import errors
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.machine import ImageRef, MachineSpec, Resources

ID, MIB, PAGE = SnapshotId("s" * 20), 2**20, memory.PAGE
SIZE = 4 * MIB
RUNS = [(1, 2), (700, 1)]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    for directory in (paths.states, paths.memories, paths.layers, paths.template("t").root, paths.state(ID).root):
        directory.mkdir(parents=True)
    template = paths.template("t").memory
    with template.open("wb") as file:
        file.truncate(SIZE)
        file.seek(MIB)
        file.write(b"t" * MIB)
    paths.template("t").manifest.write_text(f'{{"checksums": {{"memory": "{memory.checksum(template)}"}}}}')
    paths.state(ID).pages.write_bytes(b"1" * PAGE + b"2" * PAGE + b"3" * PAGE)
    paths.state(ID).devices.write_bytes(b"devices")
    manifests.write(paths.state(ID).manifest, saved(paths), durable=False)
    return paths


def saved(paths: Paths) -> Manifest:
    spec = MachineSpec(ImageRef("debian", "sha256:1"), Resources(1, 4, 1), hostname="m")
    sums = {what: memory.checksum(getattr(paths.state(ID), what)) for what in ("pages", "devices")}
    fit = Fit(Board("tcg", 1, 4), "qemu64", "7.2")
    return Manifest(ID, MachineId("m"), 0.0, True, fit, spec, 1, "t", True, (), RUNS, sums)


def whole() -> bytes:
    content = bytearray(SIZE)
    content[MIB : 2 * MIB] = b"t" * MIB
    content[PAGE : 3 * PAGE] = b"1" * PAGE + b"2" * PAGE
    content[700 * PAGE : 701 * PAGE] = b"3" * PAGE
    return bytes(content)


def opened(paths: Paths) -> Any:
    """What `optimize` needs of a context."""
    trash = Trash()
    states = States(paths, Layers(paths, trash), trash)
    states.open()
    collect = lambda: states.memories.collect(states.memories_named())  # noqa: E731
    return SimpleNamespace(
        paths=paths, states=states, settings=SimpleNamespace(disk_reserve_mib=0), collect=collect, trash=trash
    )


async def test_it_is_the_template_with_the_saved_pages_over_it_and_as_sparse(paths: Paths) -> None:
    context = opened(paths)
    await optimize.optimize(context, ID)
    await optimize.optimize(context, ID)
    (made,) = paths.memories.iterdir()
    assert made.read_bytes() == whole()
    assert made.stat().st_blocks * 512 < 2 * MIB
    for states in (context.states, opened(paths).states):
        state = states.get(ID)
        assert (state.memory, state.on_template, state.runs) == (made.name, False, [])
        assert await states.damage_of_memory(state) == []
        assert states.load(ID, state.fit) == state
    assert not paths.state(ID).pages.exists()


async def test_one_over_another_one_replaces_it(paths: Paths) -> None:
    first = opened(paths)
    await optimize.optimize(first, ID)
    (below,) = paths.memories.iterdir()
    state = first.states.get(ID)
    paths.state(ID).pages.write_bytes(b"4" * PAGE)
    again = {**state.checksums, "pages": memory.checksum(paths.state(ID).pages)}
    over = Manifest(**{**fields(state), "runs": [(5, 1)], "checksums": again})
    manifests.write(paths.state(ID).manifest, over, durable=False)
    context = opened(paths)
    await optimize.optimize(context, ID)
    await context.trash.empty()
    (made,) = paths.memories.iterdir()
    assert made.name != below.name
    content = bytearray(whole())
    content[5 * PAGE : 6 * PAGE] = b"4" * PAGE
    assert made.read_bytes() == bytes(content)


def fields(state: Manifest) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


def test_a_name_tells_content_and_size_and_not_where_the_holes_are(tmp_path: Path) -> None:
    sparse, dense, moved, longer = (tmp_path / name for name in ("sparse", "dense", "moved", "longer"))
    content = bytes(MIB + 5000) + b"x" + bytes(2 * MIB)
    dense.write_bytes(content)
    longer.write_bytes(content + b"\0")
    for path, at in ((sparse, MIB + 5000), (moved, MIB + 5001)):
        with path.open("wb") as file:
            file.truncate(len(content))
            file.seek(at)
            file.write(b"x")
    names = [memories._name_of(path) for path in (sparse, dense, moved, longer)]
    assert names[0] == names[1]
    assert len(set(names)) == 3


async def test_a_file_system_that_cannot_share_is_copied_on(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "no")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    await optimize.optimize(opened(paths), ID)
    (made,) = paths.memories.iterdir()
    assert made.read_bytes() == whole()


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_disk(*_: object, **__: object) -> Any:
    raise errors.DiskFull("the host's disk is full")


@pytest.mark.parametrize(
    ("where", "fail"),
    [
        ("os.copy_file_range", full),
        ("os.ftruncate", full),
        ("hutch.host.saved.memory.lay", full),
        ("os.fsync", full),
        ("hutch.host.saved.memories._name", full),
        ("hutch.host.saved.manifest.write", full_disk),
    ],
)
async def test_a_failure_at_any_step_leaves_the_state_as_it_was(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, where: str, fail: Callable[..., Any]
) -> None:
    context = opened(paths)
    before = context.states.get(ID)
    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        with pytest.raises(errors.DiskFull):
            await optimize.optimize(context, ID)
    await context.trash.empty()
    assert [*paths.memories.iterdir()] == []
    for states in (context.states, opened(paths).states):
        assert states.get(ID) == before
        assert states.load(ID, before.fit) == before
    await optimize.optimize(context, ID)


async def test_what_somebody_reads_stays_until_he_has_done_so(paths: Paths) -> None:
    context = opened(paths)
    with context.states.pinned(ID) as before:
        await optimize.optimize(context, ID)
        assert memory.size(before.runs) == paths.state(ID).pages.stat().st_size
        assert before in context.states.needed()
    assert not paths.state(ID).pages.exists()


async def test_a_memory_that_was_damaged_below_is_not_copied(paths: Paths) -> None:
    with paths.template("t").memory.open("r+b") as file:
        file.seek(MIB)
        file.write(b"T")
    with pytest.raises(errors.Damaged, match="template's memory is not what was saved"):
        await optimize.optimize(opened(paths), ID)
    assert [*paths.memories.iterdir()] == []


def twin(paths: Paths) -> SnapshotId:
    """Another state with the same memory: of a suspended machine two snapshots were made."""
    other = SnapshotId("o" * 20)
    shutil.copytree(paths.state(ID).root, paths.state(other).root)
    manifests.write(paths.state(other).manifest, Manifest(**{**fields(saved(paths)), "id": other}), durable=False)
    return other


async def test_a_file_that_another_state_has_and_that_was_damaged_is_not_taken_for_whole(paths: Paths) -> None:
    other = twin(paths)
    context = opened(paths)
    await optimize.optimize(context, ID)
    (made,) = paths.memories.iterdir()
    with made.open("r+b") as file:
        file.write(b"x")
    with pytest.raises(errors.Damaged, match="shares is damaged"):
        await optimize.optimize(context, other)
    assert [*paths.memories.iterdir()] == [made]
    assert await context.states.damage_of_memory(context.states.get(other)) == []


async def test_one_at_a_time_looks_for_room_on_the_disk_and_fills_it(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, context, steps = twin(paths), opened(paths), list[str]()
    write = context.states.memories.write

    async def note(*given: Any) -> Any:
        made = await write(*given)
        steps.append("written")
        return made

    monkeypatch.setattr(context.states.memories, "write", note)
    monkeypatch.setattr("hutch.host.files.require_space", lambda *_: steps.append("looked"))
    await asyncio.gather(*(optimize.optimize(context, state) for state in (ID, other)))
    assert steps == ["looked", "written"] * 2


async def test_what_a_service_left_unfinished_is_removed(paths: Paths) -> None:
    (paths.memories / ".half").write_bytes(b"x")
    (paths.memories / ".gone-x").write_bytes(b"x")
    opened(paths)
    assert [*paths.memories.iterdir()] == []


def test_a_manifest_of_before_stands_on_no_memory_file(paths: Paths) -> None:
    raw = json.loads(paths.state(ID).manifest.read_text())
    del raw["state"]["memory"]
    raw["sha256"] = manifests._checksum(raw["state"])
    paths.state(ID).manifest.write_text(json.dumps(raw))
    assert opened(paths).states.get(ID) == saved(paths)
