"""Which pages of a privately mapped file a process wrote, saved and put back: of this very process."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hutch.host.saved import memory
from hutch.model import errors

PAGES = 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "memory"
    path.write_bytes(b"a" * PAGES * memory.PAGE)
    return path


@pytest.fixture
def mapped(file: Path) -> Iterator[mmap.mmap]:
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_PRIVATE) as mapped:
        yield mapped


def test_the_pages_that_were_written_are_found_saved_and_put_back(
    file: Path, mapped: mmap.mmap, tmp_path: Path
) -> None:
    assert mapped[: memory.PAGE] == b"a" * memory.PAGE  # a page that is only read is the file's
    for page, count in ((3, 1), (10, 5), (PAGES - 1, 1)):
        mapped[page * memory.PAGE : (page + count) * memory.PAGE] = os.urandom(count * memory.PAGE)
    mapping = memory.find(os.getpid(), file)
    runs = memory.written(mapping)
    assert runs == [(3, 1), (10, 5), (PAGES - 1, 1)]
    memory.save(mapping, runs, tmp_path / "pages")
    before = mapped[:]
    mapped[3 * memory.PAGE : 12 * memory.PAGE] = bytes(9 * memory.PAGE)
    memory.load(mapping, runs, tmp_path / "pages")
    assert mapped[10 * memory.PAGE : 15 * memory.PAGE] == before[10 * memory.PAGE : 15 * memory.PAGE]
    assert mapped[4 * memory.PAGE : 10 * memory.PAGE] == bytes(6 * memory.PAGE)  # not among those saved
    assert file.read_bytes() == b"a" * PAGES * memory.PAGE


def test_a_file_whose_device_is_told_otherwise_is_found_by_its_path(
    file: Path, mapped: mmap.mmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = memory.find(os.getpid(), file)
    monkeypatch.setattr(os, "minor", lambda _: 0x1FF)
    assert memory.find(os.getpid(), file) == there


def test_a_process_that_does_not_map_it_says_so(file: Path) -> None:
    with pytest.raises(errors.MachineFailed, match="does not map"):
        memory.find(os.getpid(), file)
