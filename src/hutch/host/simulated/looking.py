"""What is looked for, and looked at, in the directory of a simulated machine."""

import asyncio
import contextlib
import fnmatch
import grp
import os
import pwd
import stat as modes
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path

from hutch.host.agent.answers import SHOWN
from hutch.host.simulated import paths
from hutch.model import errors
from hutch.model.guest import Change, ChangeKind, FileStat, Match

FILE_LIMIT = 16 * 2**20
HEAD = 8 * 1024
LOOK = 0.02

Stat = Callable[[str, Path], FileStat]
Entries = Iterator[tuple[str, Path]]


def below(path: str, real: Path) -> Entries:
    """All below a directory: as the guest calls it, and where it is. Links are not followed."""
    for entry in sorted(real.iterdir()):
        shown, there = f"{path.rstrip('/')}/{entry.name}", paths.through(entry)
        yield shown, there
        if there.is_dir() and not there.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                yield from below(shown, there)


def find(path: str, real: Path, pattern: str, limit: int, stat: Stat) -> list[FileStat]:
    """What has a name that matches."""
    below_it = below(path, real)
    found = [stat(shown, entry) for shown, entry in below_it if fnmatch.fnmatchcase(Path(shown).name, pattern)]
    return sorted(found, key=lambda it: it.path)[:limit]


def search(path: str, real: Path, text: str, limit: int) -> list[Match]:
    """The lines of text files that hold this text."""
    if not text or "\n" in text:
        raise errors.GuestError("text must be a part of a line, of 1 to 4096 bytes")
    files = below(path, real) if real.is_dir() else iter([(path, real)])
    found = [match for shown, file in files for match in _scan(shown, file, text)]
    return sorted(found, key=lambda it: (it.path, it.line))[:limit]


def _scan(shown: str, file: Path, text: str) -> Iterator[Match]:
    seen = file.lstat()
    if not modes.S_ISREG(seen.st_mode) or seen.st_size > FILE_LIMIT:
        return
    content = file.read_bytes()
    if b"\0" in content[:HEAD]:
        return
    for number, line in enumerate(content.split(b"\n"), 1):
        if text.encode() in line:
            yield Match(shown, number, line.decode(errors="replace").rstrip("\r")[:SHOWN])


def give(real: Path, owner: str) -> None:
    """Change whom it belongs to, by names or numbers of this box."""
    user, _, group = owner.partition(":")
    try:
        uid = -1 if not user else int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
        gid = -1 if not group else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise errors.GuestError(f"there is no user or group '{owner}' in the machine") from None
    if uid == gid == -1 or owner.endswith(":"):
        raise errors.GuestError(f"there is no user or group '{owner}' in the machine")
    os.chown(real, uid, gid)


_Seen = dict[str, os.stat_result]


async def watch(
    path: str, look: Callable[[], Path], recursive: bool, skip: Sequence[str], on_open: Callable[[], None]
) -> AsyncGenerator[Change]:
    """What changes, by looking again and again; `look` gives the directory, or raises."""
    before = _look(path, look(), recursive, skip)
    on_open()
    while True:
        await asyncio.sleep(LOOK)
        now = _look(path, look(), recursive, skip)
        for change in _differences(before, now):
            yield change
        before = now


def _look(path: str, real: Path, recursive: bool, skip: Sequence[str]) -> _Seen:
    seen: _Seen = {}
    entries = below(path, real) if recursive else ((f"{path.rstrip('/')}/{it.name}", it) for it in real.iterdir())
    for shown, entry in entries:
        with contextlib.suppress(FileNotFoundError):
            if not entry.name.startswith(".hutch-") and not any(shown.startswith(f"{it}/") for it in skip):
                seen[shown] = entry.lstat()
    return seen


def _differences(before: _Seen, now: _Seen) -> Iterator[Change]:
    moved = {stat.st_ino for path, stat in before.items() if path not in now}
    moved &= {stat.st_ino for path, stat in now.items() if path not in before}
    for path, stat in before.items():
        if path not in now:
            yield _change(ChangeKind.RENAMED if stat.st_ino in moved else ChangeKind.REMOVED, path, stat)
    for path, stat in now.items():
        former = before.get(path)
        if former is None:
            yield _change(ChangeKind.RENAMED if stat.st_ino in moved else ChangeKind.CREATED, path, stat)
        elif modes.S_ISDIR(stat.st_mode):
            continue
        elif (former.st_mtime_ns, former.st_size) != (stat.st_mtime_ns, stat.st_size):
            yield _change(ChangeKind.WRITTEN, path, stat)
        elif (former.st_mode, former.st_uid, former.st_gid) != (stat.st_mode, stat.st_uid, stat.st_gid):
            yield _change(ChangeKind.CHANGED, path, stat)


def _change(kind: ChangeKind, path: str, stat: os.stat_result) -> Change:
    return Change(kind, path, modes.S_ISDIR(stat.st_mode))
