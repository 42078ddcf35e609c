"""Images from strangers. Each test is one trick; none may reach the host, and none may leave anything behind."""

import asyncio
import stat
import tarfile
from pathlib import Path

import pytest

from hutch.host.images.oci import unpack
from hutch.host.interface import Image
from hutch.model import errors
from registry import Member, OciImage, Registry, directory, hardlink, layer, symlink

from .conftest import MakeRig, Rig


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory of the host that a layer would like to write to."""
    directory = tmp_path / "victim"
    directory.mkdir()
    (directory / "file").write_text("the host's own")
    return directory


async def _pull(rig: Rig, registry: Registry, *members: Member) -> Image:
    registry.push("hostile:1", OciImage([layer(*members)]))
    return await rig.pull(registry.name("hostile:1"))


def _unharmed(victim: Path) -> bool:
    return [path.name for path in victim.iterdir()] == ["file"] and (victim / "file").read_text() == "the host's own"


async def test_dots_and_absolute_names_stay_inside(rig: Rig, registry: Registry, victim: Path) -> None:
    image = await _pull(rig, registry, Member("../../../escaped"), Member(f"{victim}/file"), Member("/rooted"))
    assert all(rig.has(image, path) for path in ("/escaped", f"{victim}/file", "/rooted"))
    assert _unharmed(victim)


async def test_a_symlink_to_the_host_is_followed_inside_only(rig: Rig, registry: Registry, victim: Path) -> None:
    up = symlink("up", "../../../../../../../../../../.." + str(victim))
    image = await _pull(
        rig, registry, symlink("link", str(victim)), Member("link/file", b"x"), up, Member("up/second", b"x")
    )
    assert rig.cat(image, f"{victim}/file") == "x"
    assert _unharmed(victim)


async def test_a_whiteout_behind_a_symlink_removes_nothing_of_the_host(
    rig: Rig, registry: Registry, victim: Path
) -> None:
    await _pull(rig, registry, symlink("link", str(victim)), Member("link/.wh.file"), Member("link/.wh..wh..opq"))
    assert _unharmed(victim)


async def test_a_hard_link_to_the_host_finds_nothing(rig: Rig, registry: Registry, victim: Path) -> None:
    for target in (f"{victim}/file", "../../../../../../.." + f"{victim}/file"):
        with pytest.raises(errors.ImageUnavailable, match="no such file or directory"):
            await _pull(rig, registry, hardlink("mine", target))
    with pytest.raises(errors.ImageUnavailable, match="no such file or directory"):
        await _pull(rig, registry, symlink("link", str(victim)), hardlink("mine", "link/file"))
    assert (victim / "file").stat().st_nlink == 1


async def test_the_root_itself_cannot_become_a_link(rig: Rig, registry: Registry, victim: Path) -> None:
    with pytest.raises(errors.ImageUnavailable, match="does not unpack"):
        await _pull(rig, registry, symlink(".", str(victim)), Member("file", b"x"))
    assert _unharmed(victim)


async def test_devices_fifos_and_setuid_files_lie_in_the_image_and_never_on_the_host(
    rig: Rig, registry: Registry
) -> None:
    seen: list[Path] = []

    async def look() -> None:
        while True:
            for path in rig.home.rglob("*"):
                try:
                    mode = path.lstat().st_mode
                except FileNotFoundError:
                    continue
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or mode & 0o6000:
                    seen.append(path)
            await asyncio.sleep(0.005)

    looking = asyncio.create_task(look())
    image = await _pull(
        rig,
        registry,
        directory("dev"),
        Member("dev/sda", kind=tarfile.BLKTYPE, device=(8, 0), mode=0o666),
        Member("dev/mem", kind=tarfile.CHRTYPE, device=(1, 1), mode=0o666),
        Member("pipe", kind=tarfile.FIFOTYPE),
        Member("su", b"x", mode=0o4755),
    )
    looking.cancel()
    assert seen == []
    assert "Type: block special" in rig.ask(image, "stat /dev/sda")
    assert "Type: FIFO" in rig.ask(image, "stat /pipe")
    assert "Mode:  04755" in rig.ask(image, "stat /su")


async def test_a_bomb_is_stopped_when_it_has_filled_its_room(make_rig: MakeRig, registry: Registry) -> None:
    rig = make_rig(max_size_mib=64)
    await rig.images.open()
    bomb = layer(Member("zeros", bytes(300 << 20)))
    registry.push("bomb:1", OciImage([bomb]))
    with pytest.raises(errors.ImageUnavailable, match="bomb:1: it does not fit into 64 MiB"):
        await rig.pull(registry.name("bomb:1"))


async def test_a_sparse_file_that_claims_a_tebibyte_is_stopped_too(make_rig: MakeRig, registry: Registry) -> None:
    rig = make_rig(max_size_mib=64)
    await rig.images.open()
    claims = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "huge",
        "GNU.sparse.realsize": str(1 << 40),
    }
    empty_map = b"0\n".ljust(512, b"\0")
    with pytest.raises(errors.ImageUnavailable, match="does not fit into 64 MiB"):
        await _pull(rig, registry, Member("huge", empty_map, pax=claims))


async def test_too_many_files_are_too_many(rig: Rig, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MOST_FILES", 2000)
    with pytest.raises(errors.ImageUnavailable, match="and 2000 files"):
        await _pull(rig, registry, *(Member(f"f{number}") for number in range(5000)))


async def test_ten_thousand_files_in_one_directory_are_quick(rig: Rig, registry: Registry) -> None:
    async with asyncio.timeout(60):
        await _pull(rig, registry, *(Member(f"f{number}") for number in range(10_000)))


async def test_a_tree_as_deep_as_paths_allow_is_fine_and_a_deeper_one_is_refused(rig: Rig, registry: Registry) -> None:
    image = await _pull(rig, registry, directory("/".join(["d"] * 1900)))
    assert rig.has(image, "/d/d/d")
    with pytest.raises(errors.ImageUnavailable, match="file name too long"):
        await _pull(rig, registry, directory("/".join(["d"] * 10_000)))


async def test_names_with_newlines_and_strange_bytes_are_only_names(rig: Rig, registry: Registry) -> None:
    image = await _pull(rig, registry, Member('a\nb "q" $(reboot)'), Member("-rf"), Member("--target-directory=x"))
    assert rig.has(image, "/--target-directory=x")


async def test_attributes_of_the_kernels_own_are_refused(rig: Rig, registry: Registry) -> None:
    with pytest.raises(errors.ImageUnavailable, match="operation not permitted"):
        await _pull(rig, registry, Member("f", b"x", xattrs={"security.ima": "x"}))


async def test_a_layer_of_another_content_than_its_digest_is_refused(rig: Rig, registry: Registry) -> None:
    registry.push("lies:1", OciImage([layer(Member("f", b"true"))]))
    registry.corrupt("lies")
    with pytest.raises(errors.ImageUnavailable, match="lies:1: "):
        await rig.pull(registry.name("lies:1"))


async def test_what_is_no_tar_is_refused(rig: Rig, registry: Registry) -> None:
    registry.push("garbage:1", OciImage([b"this is no tar" * 1000]))
    with pytest.raises(errors.ImageUnavailable, match="garbage:1: it does not unpack: "):
        await rig.pull(registry.name("garbage:1"))
