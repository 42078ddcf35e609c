"""Directories out of a guest that is not to be trusted."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hutch.cli import directories
from hutch.cli.failure import Failure


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "", content: bytes = b"bad", mode: int = 0o644) -> bytes:
    it = tarfile.TarInfo(name)
    it.type, it.linkname, it.mode = kind, to, mode
    it.size = len(content) if kind == tarfile.REGTYPE else 0
    body = content + bytes(-len(content) % 512) if it.size else b""
    return it.tobuf(tarfile.PAX_FORMAT) + body


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("good")
    return tmp_path / "root"


def unpack(root: Path, *members: bytes) -> list[str]:
    left: list[str] = []
    directories.unpack(io.BytesIO(b"".join(members) + bytes(1024)), root, left.append)
    return left


SYMLINK, HARDLINK, DIRECTORY = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "members",
    [
        lambda out: [member("../outside/file")],
        lambda out: [member(f"{out}/file")],
        lambda out: [member("a/../../outside/file")],
        lambda out: [member("link", SYMLINK, out), member("link/file")],
        lambda out: [member("link", SYMLINK, "../outside"), member("link/new", DIRECTORY)],
        lambda out: [member("link", SYMLINK, out), member("link", DIRECTORY, mode=0o777)],
        lambda out: [member("link", SYMLINK, out), member("same", HARDLINK, "link/file"), member("same")],
        lambda out: [member("same", HARDLINK, "../outside/file")],
        lambda out: [member("same", HARDLINK, f"{out}/file")],
        lambda out: [member("x\0/y")[:100] + b"no tar"],
    ],
)
def test_nothing_is_written_or_linked_outside(root: Path, members: Callable[[str], list[bytes]]) -> None:
    outside = root.parent / "outside"
    with pytest.raises(Failure):
        unpack(root, *members(str(outside)))
    assert [it.name for it in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "good"
    assert (outside.stat().st_mode & 0o777, (outside / "file").stat().st_nlink) != (0o777, 2)
    assert (outside / "file").stat().st_nlink == 1


def test_a_link_that_leads_out_is_kept_and_what_takes_its_place_is_not_written_through_it(root: Path) -> None:
    outside = root.parent / "outside" / "file"
    unpack(root, member("link", SYMLINK, str(outside)), member("other", SYMLINK, str(outside)), member("link"))
    assert (outside.read_text(), (root / "link").read_text(), (root / "link").is_symlink()) == ("good", "bad", False)
    assert os.readlink(root / "other") == str(outside)


def test_devices_and_pipes_are_left_out_and_special_bits_are_not_kept(root: Path) -> None:
    left = unpack(root, member("pipe", tarfile.FIFOTYPE), member("disk", tarfile.BLKTYPE), member("run", mode=0o4755))
    assert left == ["pipe", "disk"]
    assert [(it.name, it.stat().st_mode & 0o7777) for it in root.iterdir()] == [("run", 0o755)]


def test_headers_of_any_length_are_not_read_into_memory(root: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**40
    with pytest.raises(Failure, match="far too long"):
        unpack(root, header.tobuf(tarfile.GNU_FORMAT))
    header.type, header.size = tarfile.REGTYPE, 0
    header.pax_headers = {"size": "-1024"}
    with pytest.raises(Failure):
        unpack(root, header.tobuf(tarfile.PAX_FORMAT))


def test_what_is_packed_can_be_unpacked(root: Path, tmp_path: Path) -> None:
    (tmp_path / "from" / "d").mkdir(parents=True)
    (tmp_path / "from" / "d" / "x").write_bytes(b"1" * 1000)
    (tmp_path / "from" / "d" / "x").chmod(0o600)
    (tmp_path / "from" / ("n" * 200)).symlink_to("d/x")
    stream = b"".join(directories.pack(tmp_path / "from"))
    directories.unpack(io.BytesIO(stream), root)
    assert (root / ("n" * 200)).read_bytes() == b"1" * 1000
    assert (root / "d" / "x").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Failure):
        directories.unpack(io.BytesIO(stream[:700]), root)
