"""cp."""

import contextlib
import os
import posixpath
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from hutch.cli import directories, out, progress, service, streaming
from hutch.cli.failure import Code, Failure

if TYPE_CHECKING:
    from hutch.client import Hutch

_PIECE = 1024 * 1024
_USAGE = "hutch cp PATH MACHINE:PATH, or hutch cp MACHINE:PATH PATH; - is stdin or stdout"
_UNPACK = """t=$1
if [ -d "$t" ] || [ "${t%/}" != "$t" ]; then t="${t%/}/$2"; fi
mkdir -p "$t" && cd "$t" && exec tar -xpf -"""
"""What is there, or ends in a slash, is a directory to put it in; else the directory is called so."""


@dataclass(frozen=True)
class Place:
    """One end of a copy: a path here (`machine` None) or in a machine."""

    machine: str | None
    path: str


def place(text: str) -> Place:
    """`MACHINE:PATH` or a path here. One that has a slash before its colon is here."""
    machine, colon, path = text.partition(":")
    if not colon or "/" in machine or not machine:
        return Place(None, text)
    return Place(machine, path)


def guest_target(path: str, source: str) -> str:
    """Where a file goes in a machine: a path that ends in a slash, or none, is a directory. Pure."""
    whole = posixpath.join("/", path)
    return posixpath.join(whole, Path(source).name) if whole.endswith("/") else whole


def _pieces(file: BinaryIO, total: int | None, tell: progress.Tell, name: str) -> Iterator[bytes]:
    done = 0
    while piece := file.read(_PIECE):
        yield piece
        done += len(piece)
        tell(f"{name} {out.size(done)}", done / total if total else None)


def _put(hutch: "Hutch", source: str, target: Place) -> None:
    assert target.machine is not None
    id = service.machine_id(hutch, target.machine)
    if source == "-":
        if target.path in ("", "/") or target.path.endswith("/"):
            raise Failure("stdin has no name", "name the file: MACHINE:/path/file", Code.USAGE)
        hutch.files.write(id, guest_target(target.path, source), _pieces(sys.stdin.buffer, None, lambda *_: None, ""))
        return
    if Path(source).is_dir():
        _put_directory(hutch, Path(source), id, posixpath.join("/", target.path))
        return
    with Path(source).open("rb") as file, progress.shown(source) as tell:
        status = os.fstat(file.fileno())
        pieces = _pieces(file, status.st_size, tell, source)
        hutch.files.write(id, guest_target(target.path, source), pieces, mode=status.st_mode & 0o777)


def _put_directory(hutch: "Hutch", source: Path, id: str, path: str) -> None:
    from hutch.client import Command

    failed: list[BaseException] = []
    # "." and ".." have no name of their own: what they hold goes into what is there.
    name = source.name if source.name not in ("", "..") else "."

    def pack() -> Iterator[bytes]:
        try:
            yield from directories.pack(source)
        except (Failure, OSError) as error:
            failed.append(error)  # the command sees the end of its input, and ends

    command = Command(["sh", "-c", _UNPACK, "sh", f".{path}", name], cwd="/", interactive=True)
    with progress.shown(str(source)), contextlib.closing(streaming.Told(hutch, id, command, pack)) as told:
        told.read_all()
    if failed:
        raise failed[0]
    told.check(f"{source} could not be unpacked in the machine")


def _get_directory(hutch: "Hutch", id: str, path: str, target: str) -> None:
    from hutch.client import Command

    here = Path(target)
    final = here / posixpath.basename(path.rstrip("/")) if here.is_dir() else here
    if final.exists() or final.is_symlink():
        raise Failure(f"there is already {final}", "remove it, or name another directory")
    partial = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        command = Command(["tar", "-cf", "-", "."], cwd=path)
        with progress.shown(path), contextlib.closing(streaming.Told(hutch, id, command)) as told:
            try:
                directories.unpack(
                    told, partial, lambda name: out.say(f"left out, as it is a device or a pipe: {name}")
                )
            except Failure:
                told.check(f"{path} could not be packed in the machine")  # that is why
                raise
            told.read_all()
            told.check(f"{path} could not be packed in the machine")
        partial.rename(final)
    finally:
        _remove(partial)


def _remove(directory: Path) -> None:
    """Also what may not be written."""

    def retry(remove: Callable[[str], None], path: str, _: object) -> None:
        Path(path).parent.chmod(0o700)
        Path(path).chmod(0o700)
        remove(path)

    with contextlib.suppress(OSError):
        shutil.rmtree(directory, onerror=retry)


def _get(hutch: "Hutch", source: Place, target: str) -> None:
    from hutch.client import errors

    assert source.machine is not None
    id, path = service.machine_id(hutch, source.machine), posixpath.join("/", source.path)
    try:
        _get_file(hutch, id, path, target)
    except errors.Invalid as error:
        if target == "-" or not _is_directory(hutch, id, path):
            raise error from None
        _get_directory(hutch, id, path, target)


def _is_directory(hutch: "Hutch", id: str, path: str) -> bool:
    from hutch.client import errors

    try:
        hutch.files.list(id, path)
    except (errors.Invalid, errors.NotFound):
        return False
    return True


def _get_file(hutch: "Hutch", id: str, path: str, target: str) -> None:
    pieces = hutch.files.read(id, path)
    if target == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    final = Path(target) / posixpath.basename(path) if Path(target).is_dir() else Path(target)
    partial = final.with_name(f".{final.name}.part")
    try:
        with progress.shown(path) as tell, partial.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                tell(f"{path} {out.size(file.tell())}", None)
        partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)


def cp(
    source: Annotated[str, typer.Argument(metavar="SOURCE")], target: Annotated[str, typer.Argument(metavar="TARGET")]
) -> None:
    """Copy a file or a directory into a machine or out of one: PATH MACHINE:PATH or MACHINE:PATH PATH.

    - is stdin or stdout. A directory keeps its permission bits and links; both ways it needs tar in the machine.
    """
    here, there = place(source), place(target)
    if (here.machine is None) == (there.machine is None):
        raise Failure("exactly one of the two must be in a machine", _USAGE, Code.USAGE)
    try:
        with service.connect() as hutch:
            if there.machine is not None:
                _put(hutch, source, there)
            else:
                _get(hutch, here, target)
    except OSError as error:
        raise Failure(f"{error.filename or source}: {error.strerror}") from None
