"""The stages of a Dockerfile, checked; those that the last one does not need are left out, as BuildKit does. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hutch.control.dockerfile import forms, words
from hutch.control.dockerfile.reading import Instruction, Script, flaw

PLATFORM = "linux/amd64"

PLATFORM_ARGS: Mapping[str, str] = {
    f"{side}{name}": value
    for side in ("TARGET", "BUILD")
    for name, value in (("PLATFORM", PLATFORM), ("OS", "linux"), ("ARCH", "amd64"), ("VARIANT", ""))
}
"""What BuildKit sets by itself."""

FILES = frozenset({"RUN", "COPY", "ADD"})
"""Instructions that change files."""

BEARING = frozenset({"ARG", "ENV", "USER", "WORKDIR", "SHELL"})
"""Those that change how the ones after them act."""

KEPT = frozenset({"CMD", "ENTRYPOINT"})
"""Those that tell of what comes out."""

IDLE = frozenset({"EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "STOPSIGNAL", "VOLUME"})
"""Those that change nothing here, which is said when they are met."""

MOST_VARIABLES = 1000
"""What ARG and ENV may have set at any place."""

_NAME = re.compile(r"[a-z][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows."""

    index: int
    name: str  # in lower case; "" if it has none
    base: str | int  # an image, or an earlier stage
    line: int
    instructions: tuple[Instruction, ...]
    origins: Mapping[int, str | int]  # of each COPY --from, by its line: an image, or an earlier stage

    @property
    def needs(self) -> set[int]:
        """The stages it is made of."""
        return {it for it in (self.base, *self.origins.values()) if isinstance(it, int)}


@dataclass(frozen=True, slots=True)
class Staged:
    """What is to be built, in order; the last stage is what comes out."""

    stages: tuple[Stage, ...]
    globals: Mapping[str, str]  # of the ARGs before the first FROM
    escape: str


def arrange(script: Script) -> Staged:
    """The stages that the last one needs. `Flawed`."""
    first = next((at for at, it in enumerate(script.instructions) if it.name == "FROM"), None)
    if first is None:
        raise flaw(script.instructions[0].line, "there is no FROM")
    known = _globals(script.instructions[:first], script.escape)
    parts: list[list[Instruction]] = []
    for instruction in script.instructions[first:]:
        if instruction.name == "FROM":
            parts.append([])
        parts[-1].append(instruction)
    names = [_name(part[0]) for part in parts]
    stages: list[Stage] = []
    for part in parts:
        stages.append(_stage(part, names, len(stages), known, script.escape))
    needed = {len(stages) - 1}
    for stage in reversed(stages):
        if stage.index in needed:
            needed |= stage.needs
    return Staged(tuple(it for it in stages if it.index in needed), known, script.escape)


def _globals(instructions: tuple[Instruction, ...], escape: str) -> dict[str, str]:
    known = dict(PLATFORM_ARGS)
    for instruction in instructions:
        if instruction.name != "ARG":
            raise instruction.flaw("only ARG may stand before the first FROM")
        known |= {name: value for name, value in arguments(instruction, known, escape) if value is not None}
        if len(known) > MOST_VARIABLES or sum(map(len, known.values())) > words.LARGEST:
            raise instruction.flaw(f"more than {MOST_VARIABLES} arguments, or {words.LARGEST} characters of them")
    return known


def arguments(instruction: Instruction, env: Mapping[str, str], escape: str) -> list[tuple[str, str | None]]:
    """The names of an ARG, and their defaults."""
    if not instruction.words:
        raise instruction.flaw("a name is missing")
    names, given = [], [word.partition("=") for word in instruction.words]
    for name in all_expanded(instruction, [name for name, _, _ in given], env, escape):
        if not name:
            raise instruction.flaw("a name is missing")
        names.append(name)
    values = all_expanded(instruction, [value for _, _, value in given], env, escape)
    return [(name, value if its[1] else None) for name, value, its in zip(names, values, given, strict=True)]


def all_expanded(instruction: Instruction, given: Sequence[str], env: Mapping[str, str], escape: str) -> list[str]:
    """Words with their variables' values, which bounded each would not be bounded in all. `Flawed`."""
    if len(given) > 2 * MOST_VARIABLES:
        raise instruction.flaw(f"more than {MOST_VARIABLES} variables")
    found, size = list[str](), 0
    for word in given:
        found.append(expanded(instruction, word, env, escape))
        size += len(found[-1])
        if size > words.LARGEST:
            raise instruction.flaw(f"it grows to more than {words.LARGEST} characters")
    return found


def expanded(instruction: Instruction, word: str, env: Mapping[str, str], escape: str) -> str:
    """A word with its variables' values. `Flawed`."""
    try:
        return words.expand(word, env, escape)
    except words.BadWord as error:
        raise instruction.flaw(f"{word[:80]}: {error}") from None


def _name(instruction: Instruction) -> str:
    given = instruction.words
    if len(given) == 3 and given[1].upper() == "AS":
        name = given[2].lower()
        if not _NAME.fullmatch(name):
            raise instruction.flaw(f"{given[2][:80]} cannot be a stage's name: letters, digits, '.', '_' and '-'")
        return name
    if len(given) != 1:
        raise instruction.flaw("it takes an image, or an image AS a name")
    return ""


def _stage(part: list[Instruction], names: list[str], index: int, known: Mapping[str, str], escape: str) -> Stage:
    head, *rest = part
    if names[index] and names[index] in names[:index]:
        raise head.flaw(f"there are two stages of the name {names[index]}")
    for flag in head.flags:
        option, _, value = flag.partition("=")
        if option != "--platform":
            raise head.flaw(f"{option} is not supported here")
        if expanded(head, value, known, escape) not in (PLATFORM, f"{PLATFORM}/v1", "linux/x86_64", "linux"):
            raise head.flaw(f"platform {value[:80]}: machines here are {PLATFORM}")
    image = expanded(head, head.words[0], known, escape)
    if not image:
        raise head.flaw(f"{head.words[0]} is empty: give the ARG a default")
    origins: dict[int, str | int] = {}
    for instruction in rest:
        _check(instruction)
        if instruction.name in ("COPY", "ADD") and (origin := forms.copy(instruction).origin) is not None:
            origins[instruction.line] = _origin(instruction, origin, names, index)
    return Stage(index, names[index], _base(head, image, names, index), head.line, tuple(rest), origins)


def _base(head: Instruction, image: str, names: list[str], index: int) -> str | int:
    if image.lower() == "scratch":
        raise head.flaw("scratch is empty, and a machine needs a system to run: begin with an image, such as debian")
    return _meant(head, image, names, index)


def _origin(instruction: Instruction, origin: str, names: list[str], index: int) -> str | int:
    if "$" in origin:
        raise instruction.flaw(f"--from={origin[:80]}: variables do not work here: give the image a stage of its own")
    if origin.isdecimal():
        if int(origin) >= index:
            raise instruction.flaw(f"--from={origin[:20]}: there is no such stage before this one")
        return int(origin)
    if not origin or origin.lower() == "scratch":
        raise instruction.flaw("--from names nothing: name a stage or an image")
    return _meant(instruction, origin, names, index)


def _meant(instruction: Instruction, name: str, names: list[str], index: int) -> str | int:
    """An earlier stage, else an image. A later stage of this name is a mistake, not an image."""
    if name.lower() in names[:index]:
        return names.index(name.lower())
    if instruction.name != "FROM" and name.lower() in names[index:]:
        raise instruction.flaw(f"stage {name[:80]} is not finished here: copy from stages before this one")
    return name


def _check(instruction: Instruction) -> None:
    """What can be said of it without knowing the image."""
    match instruction.name:
        case "RUN":
            forms.run(instruction)
        case "COPY" | "ADD":
            pass
        case name if name not in BEARING | KEPT | IDLE:
            raise flaw(instruction.line, f"unknown instruction {name[:40]}")
        case "HEALTHCHECK":
            pass
        case _ if instruction.flags:
            raise instruction.flaw(f"{instruction.flags[0][:40]}: it has no flags")
