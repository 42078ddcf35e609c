"""What RUN, COPY and ADD say: flags, forms, heredocs, as they are written, not yet expanded. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from hutch.control.dockerfile.reading import Heredoc, Instruction

URL = re.compile(r"https?://", re.IGNORECASE)
_GIT = re.compile(r"(git@|git://|ssh://)|https?://[^?#]*\.git(#|$)", re.IGNORECASE)
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)")
_MOUNT_OPTIONS = frozenset({"type", "target", "id", "sharing", "mode", "uid", "gid", "size"})
_ALIASES = {"dst": "target", "destination": "target", "ro": "readonly", "src": "source"}


class Scratch(StrEnum):
    """What a RUN may have mounted."""

    CACHE = "cache"
    TMPFS = "tmpfs"


@dataclass(frozen=True, slots=True)
class Mount:
    """An empty directory for the time of one RUN."""

    kind: Scratch
    target: str  # to be expanded; below the working directory unless absolute
    mode: str | None = None
    uid: str | None = None
    gid: str | None = None
    size: str | None = None  # bytes, of a tmpfs


@dataclass(frozen=True, slots=True)
class Run:
    """A command: `argv`, or `line` for the shell, or `script`, which is a program itself."""

    argv: tuple[str, ...] = ()
    line: str = ""
    script: str = ""
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A file whose text stands in the Dockerfile."""

    name: str
    content: str
    is_expanded: bool  # variables in it are to be replaced


@dataclass(frozen=True, slots=True)
class Copy:
    """What goes where. `sources` are paths of what `origin` names, or URLs."""

    sources: tuple[str, ...]
    target: str
    documents: tuple[Document, ...] = ()
    origin: str | None = None  # a stage or an image
    chown: str | None = None
    chmod: str | None = None
    checksum: str | None = None  # sha256:… of what a URL gives


def run(instruction: Instruction) -> Run:
    """A RUN. `Flawed`."""
    mounts = []
    for name, value in _flags(instruction, {"mount", "network", "security"}):
        if name == "mount":
            mounts.append(_mount(instruction, value))
        elif value != ("default" if name == "network" else "sandbox"):
            raise instruction.flaw(f"--{name}={value} is not supported: the build machine's own is all there is")
    if not instruction.words or not any(instruction.words):
        raise instruction.flaw("a command is missing")
    if instruction.is_json:
        if instruction.heredocs:
            raise instruction.flaw("a heredoc cannot be given to a list of arguments")
        return Run(argv=instruction.words, mounts=tuple(mounts))
    line, heredocs = instruction.words[0], instruction.heredocs
    if not heredocs:
        return Run(line=line, mounts=tuple(mounts))
    if (only := _HEREDOC.fullmatch(line.strip())) and _is_word(only[2]):
        text = _chomped(heredocs[0].content) if only[1] else heredocs[0].content
        if text.startswith("#!"):
            return Run(script=text, mounts=tuple(mounts))
        return Run(line=text, mounts=tuple(mounts))
    return Run(line=line + "".join(f"\n{it.content}{it.name}" for it in heredocs), mounts=tuple(mounts))


def copy(instruction: Instruction) -> Copy:
    """A COPY or an ADD. `Flawed`, also for files that would have to come with the Dockerfile."""
    allowed = (
        {"chown", "chmod", "link", "from"} if instruction.name == "COPY" else {"chown", "chmod", "link", "checksum"}
    )
    flags = dict(_flags(instruction, allowed, unvalued={"link"}))
    if len(instruction.words) < 2:
        raise instruction.flaw("what to copy, and where to, are missing")
    *sources, target = instruction.words
    documents, paths = [], []
    texts = {it.name: it for it in instruction.heredocs}
    for source in sources:
        found = None if instruction.is_json else _HEREDOC.fullmatch(source)
        if found and (name := found[2].strip("'\"")) in texts:
            documents.append(_document(texts[name], found))
        else:
            paths.append(source)
    if documents and flags.get("from"):
        raise instruction.flaw("heredocs are not copied --from anywhere")
    copied = Copy(
        tuple(paths),
        target,
        tuple(documents),
        flags.get("from"),
        flags.get("chown"),
        flags.get("chmod"),
        flags.get("checksum"),
    )
    if copied.origin is None:
        for path in paths:
            if "$" not in path:
                check_source(instruction, path)
    return copied


def check_source(instruction: Instruction, path: str) -> None:
    """Whether a source without `--from` can be had: `Flawed` unless ADD fetches it."""
    if _GIT.match(path):
        raise instruction.flaw(f"{redacted(path)}: git repositories are not added: clone it with RUN")
    if instruction.name == "COPY" or not URL.match(path):
        raise instruction.flaw(
            f"{redacted(path)[:200]}: there is no build context here. Copy --from a stage or an image, "
            "write the file as a heredoc, or fetch it with RUN or ADD of a URL"
        )


def redacted(text: str) -> str:
    """The same without user and password in URLs."""
    return re.sub(r"(://)[^/\s]*@", r"\1***@", text)


def _document(text: Heredoc, found: re.Match[str]) -> Document:
    content = _chomped(text.content) if found[1] else text.content
    return Document(text.name, content, is_expanded=found[2] == text.name)


def _chomped(text: str) -> str:
    """Without the tabs that lines begin with: what `<<-` means."""
    return re.sub(r"(?m)^\t+", "", text)


def _is_word(text: str) -> bool:
    return re.fullmatch(r"'[^']+'|\"[^\"]+\"|[^\s'\"]+", text) is not None


def _flags(instruction: Instruction, allowed: Collection[str], unvalued: Collection[str] = ()) -> list[tuple[str, str]]:
    """Names and values. Only `mount` may be given more than once."""
    found: list[tuple[str, str]] = []
    for flag in instruction.flags:
        name, equals, value = flag.removeprefix("--").partition("=")
        if name not in allowed:
            raise instruction.flaw(f"--{name} is not supported here")
        if not equals and name not in unvalued:
            raise instruction.flaw(f"--{name} has no value: write --{name}=…")
        if name != "mount" and name in dict(found):
            raise instruction.flaw(f"--{name} is given twice")
        found.append((name, value))
    return found


def _mount(instruction: Instruction, text: str) -> Mount:
    given: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        given[_ALIASES.get(name.lower(), name.lower())] = value.strip("\"'")
    kind = given.get("type", "bind")
    if kind not in list(Scratch):
        raise instruction.flaw(f"--mount=type={kind} is not supported: cache and tmpfs are, as empty directories")
    for name in given:
        if name not in _MOUNT_OPTIONS:
            raise instruction.flaw(f"--mount: {name} is not supported")
    if not given.get("target"):
        raise instruction.flaw("--mount: a target is missing")
    for name, form in (("mode", r"[0-7]{1,4}"), ("uid", r"\d{1,9}"), ("gid", r"\d{1,9}"), ("size", r"\d{1,15}[bkmg]?")):
        if name in given and not re.fullmatch(form, given[name].lower()):
            raise instruction.flaw(f"--mount: {name} cannot be {given[name][:40]}")
    return Mount(Scratch(kind), given["target"], *(_optional(given, name) for name in ("mode", "uid", "gid", "size")))


def _optional(given: Mapping[str, str], name: str) -> str | None:
    return given.get(name)
