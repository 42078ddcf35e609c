"""cp."""

import os
import posixpath
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from hutch.cli import out, progress, service
from hutch.cli.failure import Code, Failure

if TYPE_CHECKING:
    from hutch.client import Hutch

_PIECE = 1024 * 1024
_USAGE = "hutch cp FILE MACHINE:PATH, or hutch cp MACHINE:PATH FILE; - is stdin or stdout"


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
        raise Failure(f"{source} is a directory", f"tar -c {source} | hutch exec {target.machine} -- tar -x -C /")
    with Path(source).open("rb") as file, progress.shown(source) as tell:
        status = os.fstat(file.fileno())
        pieces = _pieces(file, status.st_size, tell, source)
        hutch.files.write(id, guest_target(target.path, source), pieces, mode=status.st_mode & 0o777)


def _get(hutch: "Hutch", source: Place, target: str) -> None:
    assert source.machine is not None
    path = posixpath.join("/", source.path)
    pieces = hutch.files.read(service.machine_id(hutch, source.machine), path)
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
    """Copy a file into a machine or out of one: FILE MACHINE:PATH or MACHINE:PATH FILE; - is stdin or stdout."""
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
