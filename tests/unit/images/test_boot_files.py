"""The pure parts of making boot files: archive, bzImage, module order, package names."""

import gzip
import struct
from pathlib import Path

import pytest

from hutch.host import boot_files


def _bzimage(payload: bytes, protocol: int = 0x20F) -> bytes:
    setup_sectors, offset = 3, 0x40
    image = bytearray((setup_sectors + 1) * 512 + offset)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    struct.pack_into("<II", image, 0x248, offset, len(payload))
    return bytes(image) + payload + b"what follows is not payload"


def test_a_bzimage_tells_where_its_payload_is_even_if_the_magic_occurs_before() -> None:
    compressed = b"\x02\x21\x4c\x18" + b"data \x02\x21\x4c\x18"
    image = _bzimage(compressed + struct.pack("<I", 1234))
    assert boot_files.bzimage_payload(image) == ("lz4", compressed, 1234)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (b"\x7fELF" + bytes(1000), "no setup header"),
        (_bzimage(b"\x02\x21\x4c\x18" + bytes(8), protocol=0x207), "boot protocol 0x207"),
        (_bzimage(b"12345678"), "unknown compression: 313233343536"),
        (_bzimage(b"\x02\x21\x4c\x18" + bytes(100))[:-60], "beyond the end"),
    ],
)
def test_what_is_no_bzimage_of_ours_is_refused_with_a_reason(image: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        boot_files.bzimage_payload(image)


async def test_a_payload_that_is_no_elf_is_refused() -> None:
    payload = gzip.compress(b"not an ELF")
    with pytest.raises(ValueError, match="not the ELF of 10 bytes"):
        await boot_files.uncompressed_kernel(_bzimage(payload))


def _members(archive: bytes) -> dict[str, tuple[int, bytes]]:
    members, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        content = at + 110 + fields[11] + (-(at + 110 + fields[11]) % 4)
        if name == "TRAILER!!!":
            return members
        members[name] = (fields[1], archive[content : content + fields[6]])
        at = content + fields[6] + (-fields[6] % 4)


def test_a_cpio_archive_holds_what_was_put_in_sorted_and_the_same_every_time() -> None:
    entries = {"init": (0o100755, b"agent"), "dev": (0o040755, b""), "a/b.ko": (0o100644, b"1234567")}
    archive = boot_files.cpio(entries)
    assert _members(archive) == entries
    assert list(_members(archive)) == ["a/b.ko", "dev", "init"]
    assert archive == boot_files.cpio(dict(reversed(entries.items())))
    assert len(archive) % 4 == 0


def _modules(directory: Path, **needs: str) -> dict[str, Path]:
    for name, depends in needs.items():
        (directory / f"{name}.ko").write_bytes(b"\x7fELF..\0license=GPL\0depends=" + depends.encode() + b"\0intree=Y\0")
    return {name: directory / f"{name}.ko" for name in needs}


def test_modules_load_after_what_they_need_and_builtins_are_left_out(tmp_path: Path) -> None:
    available = _modules(
        tmp_path, ext4="jbd2,mbcache,crc16", jbd2="", mbcache="", virtio_net="net-failover", net_failover=""
    )
    order = boot_files.load_order(available, frozenset({"crc16"}), ["virtio_net", "ext4", "jbd2"])
    assert list(order) == ["net_failover", "virtio_net", "jbd2", "mbcache", "ext4"]


def test_a_module_the_kernel_does_not_have_is_named_with_who_needs_it(tmp_path: Path) -> None:
    available = _modules(tmp_path, ext4="jbd2")
    with pytest.raises(ValueError, match="module jbd2, needed by ext4,"):
        boot_files.load_order(available, frozenset(), ["ext4"])


def test_the_real_package_is_read_from_the_metapackage() -> None:
    shown = (
        "Package: linux-image-cloud-amd64\nVersion: 6.1.5-1\n"
        "Provides: wireguard-modules (= 1.0.0)\nDepends: linux-image-6.1.0-9-cloud-amd64 (= 6.1.5-1)\n"
    )
    assert boot_files.parse_real_package(shown) == ("linux-image-6.1.0-9-cloud-amd64", "6.1.5-1")
    assert boot_files.parse_real_package("") is None
