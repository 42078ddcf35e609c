"""The images this host has, as they lie on disk: the only module that knows the layout.

    images/sha256-HEX/root.ext4    immutable once it is there
    images/sha256-HEX/image.json   what the image says of itself
    images/names.json              canonical reference → digest
    images/.tmp-*                  work in progress; what a crash leaves behind is removed at the next start

A directory appears by one rename, when all in it has been written and synced: there is never half an image.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hutch.host.images.source import ROOT_IMAGE
from hutch.host.interface import ImageConfig

_DESCRIPTION = "image.json"
_NAMES = "names.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of the library."""

    digest: str
    pinned: str  # the canonical reference with the digest in it: what it is called when no name is left
    size: int  # bytes it takes on disk
    created_at: float  # Unix seconds
    config: ImageConfig
    systemd: bool
    is_private: bool = False  # pulled with a caller's credentials
    others: tuple[str, ...] = ()  # of a private one: what it was pulled as besides `pinned`

    def is_open_to(self, pinned: str) -> bool:
        """Whether who may pull `pinned` may use it: who can show a manifest may not have the layers."""
        return not self.is_private or pinned == self.pinned or pinned in self.others


class Library:
    """Knows what is there; plain and quick, for one process (HUTCH_HOME has one owner)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}

    def open(self) -> None:
        """Read what is there, and remove what a crash left behind."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob(".tmp-*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        found = self._directory.glob(f"*/{_DESCRIPTION}")
        self._entries = {entry.digest: entry for entry in map(_read, found)}
        names = self._directory / _NAMES
        known = json.loads(names.read_text()) if names.exists() else {}
        self._names = {name: digest for name, digest in known.items() if digest in self._entries}

    def root(self, digest: str) -> Path:
        """Where the root image of this digest is, or would be."""
        return self._directory / digest.replace(":", "-") / ROOT_IMAGE

    def get(self, digest: str) -> Entry | None:
        """The image of this digest, if it is there."""
        return self._entries.get(digest)

    def named(self, canonical: str) -> str | None:
        """The digest that this name was last used for, if that image is there."""
        return self._names.get(canonical)

    def names(self, digest: str) -> list[str]:
        """All names of an image."""
        return sorted(name for name, known in self._names.items() if known == digest)

    def entries(self) -> list[Entry]:
        """All images, newest first."""
        return sorted(self._entries.values(), key=lambda entry: entry.created_at, reverse=True)

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """An empty directory on the same file system, closed to other users; it is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=self._directory) as directory:
            yield Path(directory)

    def publish(self, root: Path, entry: Entry) -> Entry:
        """Put a finished root image in its place. `root` must be in a `workspace`, and synced."""
        made = root.parent / "published"
        made.mkdir()
        made.chmod(0o755)
        size = root.stat().st_blocks * 512
        entry = replace(entry, size=size)
        root.chmod(0o444)
        root.rename(made / ROOT_IMAGE)
        _write(made, entry)
        made.rename(self.root(entry.digest).parent)
        sync(self._directory)
        self._entries[entry.digest] = entry
        return entry

    def open_to(self, digest: str, pinned: str, is_private: bool) -> None:
        """An image that is there was pulled once more, as this."""
        entry = self._entries[digest]
        entry = replace(entry, others=(*entry.others, pinned), is_private=entry.is_private and is_private)
        _write(self.root(digest).parent, entry)
        self._entries[digest] = entry

    def name(self, canonical: str, digest: str) -> None:
        """Remember what a reference means, on disk before this returns."""
        if self._names.get(canonical) != digest:
            self._write_names({**self._names, canonical: digest})

    def forget_name(self, *canonical: str) -> None:
        """Remove names; their images stay."""
        self._write_names({name: digest for name, digest in self._names.items() if name not in canonical})

    def remove(self, digest: str) -> None:
        """Remove an image with all its names. It is gone at once; a crash cannot bring half of it back."""
        self.forget_name(*self.names(digest))
        with self.workspace() as work:
            self.root(digest).parent.rename(work / "removed")
            del self._entries[digest]

    def _write_names(self, names: dict[str, str]) -> None:
        new = self._directory / f".tmp-{_NAMES}"
        new.write_text(json.dumps(names, indent=1, sort_keys=True))
        sync(new)
        new.rename(self._directory / _NAMES)
        sync(self._directory)
        self._names = names


def _write(directory: Path, entry: Entry) -> None:
    new = directory / f"{_DESCRIPTION}.new"
    new.write_text(json.dumps(asdict(entry), indent=1))
    sync(new)
    new.rename(directory / _DESCRIPTION)
    sync(directory)


def _read(description: Path) -> Entry:
    told: dict[str, Any] = json.loads(description.read_text())
    config = told.pop("config")
    config |= {name: tuple(config.get(name, ())) for name in ("entrypoint", "cmd", "shell", "triggers")}
    others = tuple(told.pop("others", ()))
    return Entry(**told, config=ImageConfig(**config), others=others)


def sync(path: Path) -> None:
    """Wait until a file or directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
