"""Directories as tar streams, for `cp`: packed from here, and unpacked here out of a guest that is not to be trusted.

Nothing is written but below the target: every step to a member is taken from a descriptor of the directory before, and
no symlink is ever followed, whoever made it. Kept are names, permission bits, symlinks and hard links; owners and
times are not, devices and sockets are left out.
"""

import contextlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from hutch.cli.failure import Failure

_PIECE = 1024 * 1024
_BLOCK = tarfile.BLOCKSIZE
_LONGEST_HEADER = 1024 * 1024
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)

Leave = Callable[[str], None]


def pack(root: Path) -> Iterator[bytes]:
    """A tar stream of all below a directory, as root's, by names that begin with a dot."""
    # Only what it knows of hard links is used; nothing is written to it.
    with tarfile.open(os.devnull, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _all(root):
            info = tar.gettarinfo(path, f"./{path.relative_to(root)}")
            if info is not None:  # a socket
                info.uid = info.gid = 0
                info.uname = info.gname = "root"
                yield info.tobuf(tarfile.PAX_FORMAT)
                if info.isreg():
                    yield from _content(path, info.size)
    yield bytes(2 * _BLOCK)


def _all(root: Path) -> Iterator[Path]:
    """It and what is below; links are not followed. `OSError` for a directory that cannot be read."""

    def fail(error: OSError) -> None:
        raise error

    yield root
    for directory, directories, files in os.walk(root, onerror=fail):
        directories.sort()
        yield from (Path(directory, name) for name in sorted((*directories, *files)))


def _content(path: Path, size: int) -> Iterator[bytes]:
    """As many bytes as the header says, in whole blocks; `Failure` if the file has become shorter."""
    left = size
    with path.open("rb") as file:
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise Failure(f"{path} became shorter while it was read")
            yield piece
            left -= len(piece)
    yield bytes(-size % _BLOCK)


class _Member(tarfile.TarInfo):
    """One whose extended headers are of bounded size: they are read into memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type in _HEADERS and self.size > _LONGEST_HEADER:
            raise tarfile.HeaderError("a header that is far too long")
        return super()._proc_member(tar)  # type: ignore[misc]

    def _block(self, count: int) -> int:
        if count < 0:  # before Python 3.11.14 it would be read for ever
            raise tarfile.HeaderError("a size below zero")
        return int(super()._block(count))  # type: ignore[misc]


def unpack(stream: Any, root: Path, leave: Leave = lambda _: None) -> None:
    """Write what a tar stream holds below a directory that is there and empty. `stream` has `read(size)`.

    `leave` is told of what is left out. `Failure` for a stream that is none, or that leads elsewhere.
    """
    modes: dict[tuple[str, ...], int] = {}
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar:
            for member in tar:
                place = _place(member.name)
                if member.isdir():
                    os.close(_walk(top, place))
                    modes[place] = member.mode
                elif place:
                    _write(tar, member, top, place, leave)
        for place in sorted(modes, key=len, reverse=True):  # a directory may not be writable
            _set_mode(top, place, modes[place])
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise Failure(f"what came is no tar stream: {error}") from None
    except OSError as error:
        raise Failure(f"cannot write below {root}: {error.strerror}") from None
    finally:
        os.close(top)


def _place(name: str) -> tuple[str, ...]:
    """The way to a member. `Failure` if it leads out."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise Failure(f"refused: {name[:200]!a} leads out of the directory", "nothing was kept")
    return parts


def _walk(top: int, place: tuple[str, ...]) -> int:
    """A descriptor of a directory below, made if it is missing; whatever else is there is an `OSError`."""
    here = os.dup(top)
    for part in place:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=here)
            further = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = further
    return here


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, top: int, place: tuple[str, ...], leave: Leave) -> None:
    *above, name = place
    parent = _walk(top, tuple(above))
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.islnk():
            _link(top, _place(member.linkname), parent, name)
        elif member.isreg():
            content = tar.extractfile(member)
            assert content is not None
            _save(content, parent, name, member.mode)
        else:
            leave("/".join(place))
    finally:
        os.close(parent)


def _link(top: int, to: tuple[str, ...], parent: int, name: str) -> None:
    *above, last = to
    source = _walk(top, tuple(above))
    try:
        os.link(last, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(source)


def _save(content: IO[bytes], parent: int, name: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
        while piece := content.read(_PIECE):
            file.write(piece)
        os.fchmod(file.fileno(), mode & 0o777)


def _set_mode(top: int, place: tuple[str, ...], mode: int) -> None:
    found = _walk(top, place)
    try:
        os.fchmod(found, stat.S_IMODE(mode) & 0o777)
    finally:
        os.close(found)
