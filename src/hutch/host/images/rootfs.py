"""A root image: a raw, sparse ext4 file that every machine's disk is a layer over.

It is as small as its content allows and grows to the machine's disk when the agent asks for it. It keeps a journal,
because machines' disks must survive a loss of power.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from hutch import commands

LABEL = "hutch-root"
MIB = 1 << 20
BLOCK = 4096
INODE = 256
GROUP = 32768 * BLOCK
INODES_PER_GROUP = 8192
"""One for 16 KiB, as is usual; every group that a disk later grows by gets as many as the first."""

MAKE_TIMEOUT = 1800.0
_QUERY_TIMEOUT = 60.0

# Named one by one, so that the host's /etc/mke2fs.conf has no say. resize_inode and 64bit are what lets it grow.
FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize,metadata_csum"
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree takes."""

    size: int  # bytes
    files: int  # inodes


def mkfs_argv(image: Path, usage: Usage, tree: Path | None = None) -> list[str | Path]:
    """The command that makes `image` with room for `usage`, a quarter more and 64 MiB; filled with `tree` if given.

    mke2fs fills a directory of n files in n² steps and aborts on very long paths: only for trees that we trust.
    """
    content = usage.size + usage.size // 4 + 64 * MIB
    inodes = max((content // GROUP + 1) * INODES_PER_GROUP, usage.files + usage.files // 4 + 1024)
    # The file is new and sparse, so inode tables are zero already and no guest has to write them.
    extended = "root_owner=0:0,lazy_itable_init=1,assume_storage_prezeroed=1,nodiscard"
    argv: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", LABEL, "-O", FEATURES, "-b", str(BLOCK)]
    argv += ["-I", str(INODE), "-m", "0", "-N", str(inodes), "-J", "size=16", "-E", extended]
    argv += [] if tree is None else ["-d", tree]
    return [*argv, image, f"{(content + inodes * INODE) // BLOCK}"]


async def usage_of_tree(tree: Path) -> Usage:
    """As `du` counts it."""
    size = await commands.run(["du", "-s", "--block-size=1", tree], timeout=_QUERY_TIMEOUT)
    files = await commands.run(["du", "-s", "--inodes", tree], timeout=_QUERY_TIMEOUT)
    return Usage(int(size.stdout.split()[0]), int(files.stdout.split()[0]))


async def usage_of_image(image: Path) -> Usage:
    """Of an ext4 that is not mounted, by its superblock."""
    told = (await commands.run(["dumpe2fs", "-h", image], timeout=_QUERY_TIMEOUT)).stdout.decode()
    number = {name: int(value) for name, value in re.findall(r"^([A-Z][a-z ]+): +(\d+)$", told, re.MULTILINE)}
    blocks = number["Block count"] - number["Free blocks"] - number["Overhead clusters"]
    return Usage(blocks * BLOCK, number["Inode count"] - number["Free inodes"])


async def has_systemd(image: Path) -> bool:
    """Whether /sbin/init is a link to systemd. Read by debugfs: nothing of the image is followed on the host."""
    shown = await commands.run(["debugfs", "-R", "stat /sbin/init", image], timeout=_QUERY_TIMEOUT)
    return (
        re.search(r'^Fast link dest: "[^"]*/systemd/systemd"$', shown.stdout.decode(errors="replace"), re.M) is not None
    )
