"""COPY and ADD in a build machine: brought into a directory of their own there, then put where they belong.

What comes from a stage or an image is a tar of one machine, read as the other one takes it. Nothing is unpacked on
the host. Owners, modes and symlinks are kept; extended attributes are not, because not every tar knows them.
"""

import asyncio
import contextlib
import fnmatch
import posixpath
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from hutch.control.commands import Command
from hutch.control.dockerfile import forms, packing, stages, words
from hutch.control.dockerfile.forms import Document, redacted
from hutch.control.dockerfile.reading import Instruction
from hutch.control.dockerfile.state import State
from hutch.control.inside import Inside
from hutch.model import errors
from hutch.model.guest import FileKind

STAGE = "/.hutch-copy"
"""Where things arrive."""

MOST = 1000
"""What one source with wildcards may mean."""

_LIMIT = 3600.0
_WILD = re.compile(r"[*?\[\\]")

_FETCH = """
set -eu
if command -v curl >/dev/null; then curl -fsSL -o "$2" "$1"
elif command -v wget >/dev/null; then wget -q -O "$2" "$1"
elif command -v python3 >/dev/null; then
    python3 -c 'import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as its, open(sys.argv[2], "wb") as to: shutil.copyfileobj(its, to)' "$1" "$2"
else echo "there is no curl, wget or python3 in this image to fetch it with" >&2; exit 127
fi
chmod 600 "$2"
"""

_OWN = """
set -eu
owner=$1 mode=$2
case $owner in
'') ;;
*:*) chown -Rh "$owner" "$3" ;;
*[!0-9]*) id=$(id -u "$owner"); chown -Rh "$id:$id" "$3" ;;
*) chown -Rh "$owner:$owner" "$3" ;;
esac
if [ -n "$mode" ]; then chmod -R "$mode" "$3"; fi
"""

_PUT = """
set -eu
from=$1 name=$2 target=$3 is_directory=$4
if [ -d "$from" ] && [ ! -L "$from" ]; then
    if [ -d "$target" ]; then
        mode=$(stat -c %a "$target/.") owner=$(stat -c %u:%g "$target/.")
        cp -a "$from/." "$target/"
        chown "$owner" "$target/."; chmod "$mode" "$target/."
    elif [ -e "$target" ]; then echo "$target is there, and is no directory" >&2; exit 1
    else
        mkdir -p "$(dirname "$target")"
        mv "$from" "$target"
    fi
else
    if [ -n "$is_directory" ] || [ -d "$target" ]; then
        mkdir -p "$target"
        target=${target%/}/$name
    else mkdir -p "$(dirname "$target")"
    fi
    if [ -d "$target" ] && [ ! -L "$target" ]; then echo "$target is a directory" >&2; exit 1; fi
    mv -f "$from" "$target"
fi
"""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """Something in `STAGE`, and what it is called."""

    path: str
    name: str


class Copying:
    """One COPY or ADD into `inside`."""

    def __init__(self, inside: Inside, instruction: Instruction, state: State, escape: str) -> None:
        self._inside = inside
        self._instruction = instruction
        self._form = forms.copy(instruction)
        self._state = state
        self._escape = escape
        self._arrived: list[_Arrived] = []

    async def run(self, origin: Inside | None) -> None:
        """Do it; `origin` is a machine of what `--from` names. `GuestError`, or `Flawed` for its words."""
        await self._inside.remove(STAGE)
        for document in self._form.documents:
            await self._write(document)
        for source in map(self._expand, self._form.sources):
            if origin is None:
                forms.check_source(self._instruction, source)
                await self._fetch(source)
            else:
                for path in await self._found(origin, source):
                    await self._carry(origin, path)
        await self._put()
        await self._inside.remove(STAGE)

    def _expand(self, word: str) -> str:
        return stages.expanded(self._instruction, word, self._state.variables, self._escape)

    def _place(self, name: str) -> str:
        """Where the next thing is to arrive: in a directory of its own, so that names never meet."""
        path = f"{STAGE}/{len(self._arrived)}/{name}"
        self._arrived.append(_Arrived(path, name))
        return path

    async def _write(self, document: Document) -> None:
        text = document.content
        if document.is_expanded:
            try:
                work = asyncio.to_thread(words.expand, text, self._state.variables, self._escape, is_raw=True)
                text = await work
            except words.BadWord as error:
                raise self._instruction.flaw(f"heredoc {document.name}: {error}") from None
        await self._inside.write(self._place(document.name), text.encode(), 0o644)

    async def _fetch(self, url: str) -> None:
        name = unquote(posixpath.basename(urlsplit(url).path))
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            if self._expand(self._form.target).endswith("/"):
                raise self._instruction.flaw(
                    f"{redacted(url)}: its path has no name for the file: say one in the target"
                )
            name = "file"
        path = self._place(name)
        await self._inside.make_directory(posixpath.dirname(path))
        await self._shell(_FETCH, url, path, what=f"fetching {redacted(url)}", inside=self._inside)
        if self._form.checksum:
            wanted = self._expand(self._form.checksum)
            if not re.fullmatch(r"sha256:[0-9a-f]{64}", wanted):
                raise self._instruction.flaw(f"--checksum={wanted[:80]}: use sha256: and 64 hex digits")
            told = await self._shell('sha256sum < "$1"', path, what="sha256sum", inside=self._inside)
            if told.split()[0].decode() != wanted.removeprefix("sha256:"):
                raise errors.GuestError(
                    f"{redacted(url)}: its checksum is sha256:{told.split()[0].decode()}, not {wanted}"
                )

    async def _found(self, origin: Inside, source: str) -> list[str]:
        """The paths that a source means, wildcards as Go's path.Match has them, in each part of the path."""
        if not source:
            raise self._instruction.flaw("a source is empty")
        found = ["/"]
        for part in posixpath.normpath("/" + source).strip("/").split("/"):
            if not _WILD.search(part):
                found = [posixpath.join(path, part) for path in found]
                continue
            pattern, names = self._pattern(part), []
            for path in found:
                with contextlib.suppress(errors.GuestError):  # no directory
                    names += [
                        it.path for it in await origin.list(path) if pattern.fullmatch(posixpath.basename(it.path))
                    ]
            if len(names) > MOST:
                raise self._instruction.flaw(f"{source[:200]} means more than {MOST} files: name a directory")
            found = names
        if not found:
            raise errors.GuestError(f"{source[:200]}: there is nothing of that name")
        return found

    def _pattern(self, part: str) -> re.Pattern[str]:
        try:
            return re.compile(fnmatch.translate(_glob(part)))
        except re.error:
            raise self._instruction.flaw(f"{part[:200]} is not a pattern") from None

    async def _carry(self, origin: Inside, path: str) -> None:
        """What is at a path, a symlink's target for it, into the other machine."""
        found = await packing.find(origin, path)
        name, real = posixpath.basename(path) or "root", posixpath.basename(found.path)
        is_directory = found.kind is FileKind.DIRECTORY
        place = self._place(name)
        into = place if is_directory else posixpath.dirname(place)
        await self._inside.make_directory(into)
        pack = packing.pack if await packing.has_tar(origin) else packing.pack_by_file
        taking = Command(argv=("tar", "--numeric-owner", "-C", into, "-xpf", "-"), user="root", cwd="/")
        async with contextlib.aclosing(pack(origin, found)) as chunks:
            await self._inside.check(taking, f"unpacking {path} with tar", stdin=chunks)
        if not is_directory and real != name:
            await self._shell('mv "$1" "$2"', f"{into}/{real}", place, what="mv", inside=self._inside)

    async def _put(self) -> None:
        target = self._expand(self._form.target)
        if not target:
            raise self._instruction.flaw("the target is empty")
        is_directory = target.endswith(("/", "/.")) or target in (".", "..")
        if len(self._form.sources) + len(self._form.documents) > 1 and not is_directory:
            raise self._instruction.flaw(
                f"{target[:200]} has to be a directory, and end with /, for more than one source"
            )
        target = "/" + posixpath.normpath(posixpath.join(self._state.workdir, target)).lstrip("/")
        owner, mode = self._expand(self._form.chown or ""), self._expand(self._form.chmod or "")
        if mode and not re.fullmatch(r"[0-7]{1,4}|[ugoa]*([-+=][rwxXst]*)+(,[ugoa]*([-+=][rwxXst]*)+)*", mode):
            raise self._instruction.flaw(f"--chmod={mode[:80]}: use octal digits, such as 755, or u+x")
        if owner.startswith("-"):
            raise self._instruction.flaw(f"--chown={owner[:80]}: use USER or USER:GROUP")
        for it in self._arrived:
            if owner or mode:
                own = (_OWN, owner, mode, it.path)
                await self._shell(*own, what=f"--chown={owner} --chmod={mode}", inside=self._inside)
            words = (it.path, it.name, target, "yes" if is_directory else "")
            await self._shell(_PUT, *words, what=f"writing {target}", inside=self._inside)

    async def _shell(self, script: str, *given: str, what: str, inside: Inside) -> bytes:
        env = {name: value for name, value in self._state.variables.items() if name.lower().endswith("_proxy")}
        argv = ("sh", "-c", script, "sh", *given)
        return await inside.check(Command(argv=argv, env=env, user="root", cwd="/", timeout=_LIMIT), what)


def _glob(part: str) -> str:
    """One part of a Go pattern (path.Match) as a shell has it: there are no escapes, and ! negates."""
    out, at = "", 0
    while at < len(part):
        char = part[at]
        if char == "\\" and at + 1 < len(part):
            at += 1
            out += f"[{part[at]}]"
        elif char == "[" and part[at + 1 : at + 2] == "^":
            at += 1
            out += "[!"
        else:
            out += char
        at += 1
    return out
