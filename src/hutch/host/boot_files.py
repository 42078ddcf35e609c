"""What every machine is booted with: Debian's cloud kernel and an initramfs that carries the agent.

The kernel package is downloaded with apt and unpacked, never installed, so the host's own boot is not touched. Its
uncompressed ELF is taken out of the bzImage, which spares every guest the decompression. The kernel once fetched is
kept (`boot/kernel-VERSION`), so that the same call works without a network; what machines boot from is
`boot/DIGEST`, immutable, and the same digest for the same kernel, modules and agent on every host.
"""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import lzma
import os
import re
import shutil
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from hutch import commands
from hutch.host.interface import OnProgress, Progress, ignore_progress
from hutch.host.paths import Paths
from hutch.model import errors

log = structlog.get_logger(__name__)

PACKAGE = "linux-image-cloud-amd64"
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_balloon",
    "ext4",
    "overlay",
)
DIRECTORIES = ("dev", "modules", "newroot", "proc", "run", "sys", "tmp")
_DOWNLOAD_TIMEOUT = 900.0
_APT_QUERY_TIMEOUT = 60.0
_ASK_EVERY = 24 * 3600.0
_UNPACK_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class BootFiles:
    """A kernel and its initramfs; `digest` (`sha256:…`) stands for the bytes of both."""

    kernel: Path  # uncompressed ELF with a PVH entry
    initramfs: Path
    kernel_version: str
    digest: str


async def ensure_boot_files(paths: Paths, agent: Path, on_progress: OnProgress = ignore_progress) -> BootFiles:
    """Fetch the kernel unless it is there, and build the initramfs around this agent unless it is there.

    Follows the host's apt sources: a newer kernel there is used from the next call on, an unreachable mirror is no
    error while some kernel is here. Safe to call concurrently, also from several processes.
    Raises `Unsupported` (no agent, no kernel to be had), `DiskFull`.
    """
    if not agent.is_file():
        raise errors.Unsupported("The guest agent has not been built: run guest/build and try again", path=str(agent))
    paths.boot.mkdir(parents=True, exist_ok=True)
    try:
        async with _only_one(paths.boot / ".lock"):
            for leftover in paths.boot.glob(".tmp-*"):
                shutil.rmtree(leftover)
            kernel = await _ensure_kernel(paths.boot, on_progress)
            on_progress(Progress("building initramfs"))
            return await asyncio.to_thread(_ensure_build, paths.boot, kernel, agent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.DiskFull("The host has no space left for the guests' kernel") from error
        raise


@contextlib.asynccontextmanager
async def _only_one(path: Path) -> AsyncIterator[None]:
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.05)
        yield


# The kernel


async def _ensure_kernel(boot: Path, on_progress: OnProgress) -> Path:
    """The kept kernel if it is the newest, else the newest, else (nothing can be fetched) the one kept last.

    Whether there is a newer one is asked once a day: apt takes half a second for the answer.
    """
    kernels = sorted(boot.glob("kernel-*"), key=lambda path: path.stat().st_mtime)
    if kernels and time.time() - kernels[-1].stat().st_mtime < _ASK_EVERY:
        return kernels[-1]
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=boot) as temporary:
        try:
            kept = await _ensure_newest(boot, Path(temporary), on_progress)
        except commands.CommandFailed as error:
            if not kernels:
                words = error.stderr.splitlines()[-1] if error.stderr else error.message
                raise errors.Unsupported(f"No kernel for the guests: apt could not get {PACKAGE}: {words}") from error
            log.warning("newest kernel cannot be fetched", using=kernels[-1].name, stderr=error.stderr[-1000:])
            return kernels[-1]
    for old in kernels:
        if old != kept:
            shutil.rmtree(old)
    os.utime(kept)
    return kept


async def _ensure_newest(boot: Path, temporary: Path, on_progress: OnProgress) -> Path:
    """By the host's package lists; by fresh private ones if those are missing or name what is no longer there."""
    package = await _newest_package(())
    if package is not None:
        with contextlib.suppress(commands.CommandFailed):
            return await _ensure_package(boot, package, (), temporary, on_progress)
    (temporary / "lists/partial").mkdir(parents=True)
    options = (f"-oDir::State::Lists={temporary}/lists", f"-oDir::Cache={temporary}", "-oAPT::Sandbox::User=root")
    on_progress(Progress("fetching package lists"))
    update = await commands.run(["apt-get", *options, "--error-on=any", "update"], timeout=_DOWNLOAD_TIMEOUT)
    package = await _newest_package(options)
    if package is None:
        raise commands.CommandFailed("apt knows no kernel", update.argv, f"no {PACKAGE} in the host's apt sources")
    return await _ensure_package(boot, package, options, temporary, on_progress)


async def _ensure_package(
    boot: Path, package: tuple[str, str], apt_options: Sequence[str], temporary: Path, on_progress: OnProgress
) -> Path:
    kept = boot / f"kernel-{package[1]}"
    if not kept.is_dir():
        on_progress(Progress("fetching kernel"))
        deb = await _fetch(package, apt_options, temporary)
        on_progress(Progress("unpacking kernel"))
        made = await _unpack(deb, temporary)
        made.rename(kept)
    return kept


async def _newest_package(apt_options: Sequence[str]) -> tuple[str, str] | None:
    """Name and version of the real package behind the metapackage, as apt's lists know them now."""
    shown = await commands.run(
        ["apt-cache", *apt_options, "show", "--no-all-versions", f"{PACKAGE}:amd64"],
        timeout=_APT_QUERY_TIMEOUT,
        check=False,
    )
    return parse_real_package(shown.stdout.decode(errors="replace"))


def parse_real_package(shown: str) -> tuple[str, str] | None:
    """From `apt-cache show` of the metapackage: the package it depends on exactly, and that one's version."""
    match = re.search(r"^Depends: (?:.*, )?(linux-image-[^ ,]+) \(= ([^)]+)\)", shown, re.MULTILINE)
    return None if match is None else (match[1], match[2])


async def _fetch(package: tuple[str, str], apt_options: Sequence[str], temporary: Path) -> Path:
    # Our home may be closed to apt's sandbox user, so it downloads into a directory of its own and we take the file.
    with tempfile.TemporaryDirectory(prefix="hutch-apt-") as directory:
        if os.geteuid() == 0:
            with contextlib.suppress(LookupError):  # a host without that user does not sandbox
                shutil.chown(directory, "_apt")
        name, version = package
        argv = ["apt-get", *apt_options, "download", f"{name}:amd64={version}"]
        await commands.run(argv, timeout=_DOWNLOAD_TIMEOUT, cwd=Path(directory))
        [deb] = Path(directory).glob("*.deb")
        return Path(shutil.move(deb, temporary / deb.name))


async def _unpack(deb: Path, temporary: Path) -> Path:
    """A directory with `vmlinux`, `modules/` (as the package lays them out) and `kernel.json`."""
    tree, made = temporary / "tree", temporary / "kernel"
    await commands.run(["dpkg-deb", "-x", deb, tree], timeout=_UNPACK_TIMEOUT)
    [image] = (tree / "boot").glob("vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    made.mkdir()
    vmlinux = await uncompressed_kernel(image.read_bytes())
    (made / "vmlinux").write_bytes(vmlinux)
    (made / "vmlinux").chmod(0o644)
    modules = next(path for path in (tree / "lib/modules", tree / "usr/lib/modules") if path.is_dir())
    (modules / release).rename(made / "modules")
    described = {"version": release, "vmlinux": hashlib.sha256(vmlinux).hexdigest()}
    (made / "kernel.json").write_text(json.dumps(described))
    return made


_DECOMPRESSORS = {
    b"\x02\x21\x4c\x18": "lz4",  # legacy frame
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def bzimage_payload(image: bytes) -> tuple[str, bytes, int]:
    """The tool, the compressed kernel and its uncompressed size, by the setup header (Documentation/x86/boot.rst).

    The build appends the uncompressed size to the payload as 4 bytes (`size_append` in scripts/Makefile.lib), except
    for gzip, whose own last 4 bytes say the same.
    """
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise ValueError("not a bzImage: no setup header")
    (protocol,) = struct.unpack_from("<H", image, 0x206)
    if protocol < 0x208:
        raise ValueError(
            f"boot protocol {protocol:#x} does not tell where the payload is (2.08 is the first that does)"
        )
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = ((image[0x1F1] or 4) + 1) * 512 + offset
    payload = image[start : start + length]
    if len(payload) < length or length < 8:
        raise ValueError("the payload reaches beyond the end of the bzImage")
    for magic, tool in _DECOMPRESSORS.items():
        if payload.startswith(magic):
            (size,) = struct.unpack("<I", payload[-4:])
            return tool, payload if tool == "gzip" else payload[:-4], size
    raise ValueError(f"payload of unknown compression: {payload[:6].hex()}")


async def uncompressed_kernel(image: bytes) -> bytes:
    """The ELF inside a bzImage."""
    tool, payload, size = bzimage_payload(image)
    limits = commands.Limits(output=size)
    vmlinux = (await commands.run([tool, "-dc"], timeout=_UNPACK_TIMEOUT, stdin=payload, limits=limits)).stdout
    if len(vmlinux) != size or not vmlinux.startswith(b"\x7fELF"):
        raise ValueError(f"the bzImage's payload is not the ELF of {size} bytes that it says it is")
    return vmlinux


# The initramfs


def _ensure_build(boot: Path, kernel: Path, agent: Path) -> BootFiles:
    described = json.loads((kernel / "kernel.json").read_text())
    archive = initramfs(agent.read_bytes(), kernel / "modules")
    digest = hashlib.sha256(bytes.fromhex(described["vmlinux"]) + hashlib.sha256(archive).digest()).hexdigest()
    home = boot / digest
    files = BootFiles(home / "vmlinux", home / "initramfs.cpio", described["version"], f"sha256:{digest}")
    if not home.is_dir():
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=boot) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            (made / files.kernel.name).hardlink_to(kernel / "vmlinux")
            (made / files.initramfs.name).write_bytes(archive)
            manifest = {key: str(value) for key, value in asdict(files).items() if key not in ("kernel", "initramfs")}
            (made / "manifest.json").write_text(json.dumps(manifest))
            (made / files.initramfs.name).chmod(0o644)  # machines run under users of their own
            made.chmod(0o755)
            _sync(made)
            made.rename(home)
    return files


def _sync(directory: Path) -> None:
    for path in (*directory.iterdir(), directory):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def initramfs(agent: bytes, modules: Path, wanted: Sequence[str] = MODULES) -> bytes:
    """`/init` is the agent; `/modules/load` names the modules beside it, one a line, in the order to load them."""
    order = load_order(_available(modules), _builtin(modules), wanted)
    files = {f"modules/{name}.ko": (0o100644, _module_bytes(path)) for name, path in order.items()}
    load = "".join(f"{name}.ko\n" for name in order).encode()
    directories = dict.fromkeys(DIRECTORIES, (0o040755, b""))
    return cpio({**directories, **files, "modules/load": (0o100644, load), "init": (0o100755, agent)})


def _module_name(path: str) -> str:
    return Path(path).name.split(".")[0].replace("-", "_")


def _available(modules: Path) -> dict[str, Path]:
    return {_module_name(path.name): path for path in (modules / "kernel").rglob("*.ko*")}


def _builtin(modules: Path) -> frozenset[str]:
    return frozenset(_module_name(line) for line in (modules / "modules.builtin").read_text().split())


def _module_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def dependencies(module: bytes) -> list[str]:
    """What a module says it needs in its own `.modinfo`: modules.dep is made only when the package is installed."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    if match is None:
        raise ValueError("not a kernel module: it does not say what it depends on")
    return [name.replace("-", "_") for name in match[1].decode().split(",") if name]


def load_order(available: Mapping[str, Path], builtin: frozenset[str], wanted: Sequence[str]) -> dict[str, Path]:
    """The wanted modules and all they need, each after what it needs; what is built into the kernel is left out."""
    order: dict[str, Path] = {}

    def add(name: str, needed_by: str) -> None:
        if name in order or name in builtin:
            return
        if name not in available:
            raise ValueError(f"module {name}, needed by {needed_by}, is not in this kernel's package")
        for needed in dependencies(_module_bytes(available[name])):
            add(needed, name)
        order[name] = available[name]

    for name in wanted:
        add(name, "the guests")
    return order


def cpio(entries: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A newc archive (Documentation/driver-api/early-userspace/buffer-format.rst) of name → (mode, content).

    Sorted, and without times, owners or real inode numbers: the same entries give the same bytes.
    """
    archive = bytearray()

    def member(inode: int, name: str, mode: int, content: bytes) -> None:
        links = 2 if mode & 0o040000 else 1
        fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive.extend(b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0")
        archive.extend(b"\0" * (-len(archive) % 4) + content)
        archive.extend(b"\0" * (-len(archive) % 4))

    for inode, (name, (mode, content)) in enumerate(sorted(entries.items()), start=1):
        member(inode, name, mode, content)
    member(0, "TRAILER!!!", 0, b"")
    return bytes(archive)
