"""What is in a guest, as a tar: by the guest's own, or, where it has none, file by file.

An image may have nothing but a program in it, and be there only to be copied from.
"""

import contextlib
import posixpath
import tarfile
from collections.abc import AsyncGenerator

from hutch.control.commands import Command
from hutch.control.inside import Inside
from hutch.model import errors
from hutch.model.guest import FileKind, FileStat

LINKS = 40
"""Symlinks that a path may lead through."""

_KERNEL = ("./proc", "./sys", "./dev", "./run")
"""What is in no image: left out where all is packed."""

MOST_WAITING = 200_000
"""What is listed and not yet packed, by file: as much as two of the largest directories."""

_BLOCK = 512


async def find(inside: Inside, path: str) -> FileStat:
    """What a path means in the end, symlinks followed. `GuestNotFound`; `GuestError` if they go round."""
    at, ahead, links = "/", path.split("/")[::-1], 0
    stat = FileStat("/", FileKind.DIRECTORY, 0, 0o755, 0, 0, 0.0)
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            at = posixpath.dirname(at)
            continue
        stat = await inside.stat(posixpath.join(at, part))
        if stat.kind is not FileKind.SYMLINK:
            at = stat.path
            continue
        links += 1
        if links > LINKS:
            raise errors.GuestError(f"{path}: too many symlinks")
        target = stat.target or ""
        at = "/" if target.startswith("/") else at
        ahead += target.split("/")[::-1]
    return stat if at == stat.path else await inside.stat(at)


async def has_tar(inside: Inside) -> bool:
    """Whether there is one."""
    return (await inside.run(Command(argv=("tar", "--help"), user="root", cwd="/", timeout=60.0))).pid > 0


async def pack(inside: Inside, it: FileStat) -> AsyncGenerator[bytes, None]:
    """A tar of a directory's content, or of one file, by the guest's tar."""
    where, names = it.path, ["."]
    if it.path == "/":
        all_of_it = [f"./{posixpath.basename(found.path)}" for found in await inside.list("/")]
        names = [name for name in all_of_it if name not in _KERNEL]
    elif it.kind is not FileKind.DIRECTORY:
        where, names = posixpath.dirname(it.path), [f"./{posixpath.basename(it.path)}"]
    argv = ("tar", "--numeric-owner", "-C", where, "-cf", "-", *names)
    command = Command(argv=argv, user="root", cwd="/")
    async with contextlib.aclosing(inside.output(command, f"reading {it.path} with tar")) as chunks:
        async for chunk in chunks:
            yield chunk


async def pack_by_file(inside: Inside, it: FileStat) -> AsyncGenerator[bytes, None]:
    """The same, of regular files, directories and symlinks, without any program of the guest's."""
    base = it.path if it.kind is FileKind.DIRECTORY else posixpath.dirname(it.path)
    waiting = [it]
    while waiting:
        at = waiting.pop()
        name = posixpath.normpath(posixpath.relpath(at.path, base))
        if it.path == "/" and f"./{name}" in _KERNEL:
            continue
        if at.kind is FileKind.DIRECTORY:
            waiting += await inside.list(at.path)
            if len(waiting) > MOST_WAITING:
                raise errors.GuestError(f"{it.path}: more files than can be copied from a guest without tar")
        if at.kind is not FileKind.OTHER:
            yield _header(at, f"./{name}")
        if at.kind is FileKind.FILE:
            size = 0
            async for chunk in inside.chunks(at.path):
                size += len(chunk)
                yield chunk
            if size != at.size:
                raise errors.GuestError(f"{at.path}: it changed while it was read")
            yield bytes(-size % _BLOCK)
    yield bytes(2 * _BLOCK)


def _header(it: FileStat, name: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.mtime = it.mode, it.uid, it.gid, int(it.modified_at)
    match it.kind:
        case FileKind.DIRECTORY:
            info.type = tarfile.DIRTYPE
        case FileKind.SYMLINK:
            info.type, info.linkname = tarfile.SYMTYPE, it.target or ""
        case _:
            info.size = it.size
    return info.tobuf(tarfile.GNU_FORMAT)
