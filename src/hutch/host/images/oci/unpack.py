"""Turns a downloaded image into a root image, trusting nothing in it.

Layers are applied by umoci on a scratch file system in a file: an ext4 of a fixed size and number of inodes, mounted
without devices and setuid in a mount namespace that ends with the work. So the kernel bounds what a layer can unpack
to, whatever its headers say, and nothing of the image ever lies on a file system of the host: no device node, no
setuid file, no directory too deep to be removed. umoci itself keeps paths inside the root (tested for `..`, absolute
names, symlinks and hard links); the jail is for the trick that it does not know. Ownership, modes, hard links and
extended attributes are the kernel's own, so nothing has to be put right afterwards. What umoci has made is then copied,
in the same jail, to a file system of the right size: `mke2fs -d` would need minutes for a directory of 50 000 files,
and aborts on paths near the kernel's limit.
"""

from pathlib import Path

from hutch import commands
from hutch.host.images import rootfs
from hutch.host.images.source import ROOT_IMAGE
from hutch.host.interface import OnProgress, Progress
from hutch.model import errors

MOST_FILES = 1_000_000
_JAIL = Path(__file__).with_name("jail.sh")
_NAMESPACES = ("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child")
_NO_JAIL, _NOT_WRITTEN = 101, 102
_OVERHEAD = 1.05  # of the scratch file system for itself: inode tables and directories


class Unpacking:
    """The work on one image, in an empty directory that the caller removes afterwards."""

    def __init__(self, work: Path, max_size: int, timeout: float) -> None:
        self.layout = work / "layout"
        self._scratch = work / "scratch.ext4"
        self._root = work / ROOT_IMAGE
        self._jail = work / "jail"
        self._max_size = max_size
        self._timeout = timeout

    async def run(self, on_progress: OnProgress) -> Path:
        """From the layout to the root image. Raises `ImageUnavailable` with umoci's words, or that it is too large."""
        on_progress(Progress("unpacking"))
        self._jail.mkdir()
        await self._make_scratch()
        await self._jailed("-", "umoci", "raw", "unpack", "--image", "/layout:image", "/scratch/root")
        on_progress(Progress("building root image"))
        usage = await rootfs.usage_of_image(self._scratch)
        await commands.run(rootfs.mkfs_argv(self._root, usage), timeout=self._timeout)
        await self._jailed(self._root, "cp", "-a", "--", "/scratch/root/.", "/root")
        return self._root

    async def _make_scratch(self) -> None:
        size = int(self._max_size * _OVERHEAD) + MOST_FILES * 256
        options = "lazy_itable_init=1,assume_storage_prezeroed=1,nodiscard"
        argv = [
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-O",
            "^has_journal",
            "-m",
            "0",
            "-N",
            str(MOST_FILES),
            "-E",
            options,
        ]
        await commands.run([*argv, self._scratch, f"{size // 1024}k"], timeout=self._timeout)

    async def _jailed(self, root: Path | str, *argv: str) -> None:
        jail = [*_NAMESPACES, "sh", _JAIL, self._jail, self.layout, self._scratch, root]
        try:
            await commands.run([*jail, *argv], timeout=self._timeout)
        except commands.CommandFailed as error:
            raise self._meaning(error) from error

    def _meaning(self, error: commands.CommandFailed) -> errors.HutchError:
        if error.code == _NO_JAIL:
            return errors.Unsupported(
                "Unpacking images needs loop devices and the right to mount on this host", stderr=error.stderr
            )
        if error.code == _NOT_WRITTEN:
            return errors.DiskFull("The host's disk could not take the unpacked image", stderr=error.stderr)
        if "no space left on device" in error.stderr.lower():
            return errors.ImageUnavailable(
                f"it does not fit into {self._max_size >> 20} MiB and {MOST_FILES} files: {words(error.stderr)}",
                stderr=error.stderr,
            )
        return errors.ImageUnavailable(f"it does not unpack: {words(error.stderr)}", stderr=error.stderr)


def words(stderr: str) -> str:
    """The error in what umoci says, printable."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("⨯")), lines[-1] if lines else "umoci failed")
    said = "".join(char if char.isprintable() else " " for char in said.lstrip("⨯ "))
    return said if len(said) <= 300 else f"{said[:150]} … {said[-140:]}"  # the name of a member may be very long
