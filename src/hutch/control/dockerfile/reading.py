"""From a Dockerfile's text to its instructions, by BuildKit's own parser.

It is run in a process of its own (`parser.py`), with limits of time and memory: the text comes from a stranger.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hutch import commands
from hutch.model import errors

LARGEST = 1024 * 1024
"""Bytes of a Dockerfile."""

MOST = 1000
"""Instructions of a Dockerfile."""

LINES = 20_000
"""Lines of a Dockerfile: the time the parser takes for a heredoc grows with their square."""

LIMIT = 10.0
"""Seconds that reading one may take; it takes 50 ms."""

_MEMORY = 4 << 30  # bytes of address space, most of which Go only reserves
_PARSER = Path(__file__).with_name("parser.py")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+)")
_FRONTEND = re.compile(r"(docker\.io/)?docker/dockerfile(-upstream)?([:@].*)?")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A text within an instruction. `name` is without quotes."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, as it was written: its words are not expanded."""

    line: int
    name: str  # in capitals
    words: tuple[str, ...]
    flags: tuple[str, ...] = ()
    is_json: bool = False  # its words were a list in JSON
    heredocs: tuple[Heredoc, ...] = ()
    original: str = ""

    def flaw(self, why: str) -> errors.Flawed:
        """What is wrong with it."""
        return flaw(self.line, f"{self.name}: {why}")


@dataclass(frozen=True, slots=True)
class Script:
    """A whole Dockerfile."""

    instructions: tuple[Instruction, ...]
    escape: str = "\\"


def flaw(line: int, why: str) -> errors.Flawed:
    """Something is wrong in this line."""
    return errors.Flawed(f"Dockerfile, line {line}: {why}", "dockerfile_invalid")


async def read(text: str) -> Script:
    """Its instructions. `Flawed`, with the line."""
    raw = _encoded(text)
    escape = _directives(text)
    limits = commands.Limits(output=16 << 20, memory=_MEMORY, cpu_seconds=int(LIMIT))
    argv = [sys.executable, "-I", str(_PARSER)]
    try:
        done = await commands.run(argv, timeout=LIMIT, stdin=raw, limits=limits, env={"GOMAXPROCS": "1"})
    except commands.CommandFailed as error:
        raise errors.Flawed("The Dockerfile cannot be read: the parser gave up", "dockerfile_invalid") from error
    told = json.loads(done.stdout)
    if "error" in told:
        raise flaw(told["line"], told["error"])
    if len(told["commands"]) > MOST:
        raise flaw(told["commands"][MOST]["start_line"], f"more than {MOST} instructions")
    return Script(tuple(_instruction(command) for command in told["commands"]), escape)


def _encoded(text: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise flaw(text.count("\n", 0, error.start) + 1, "this is not valid Unicode") from None
    if len(raw) > LARGEST:
        raise errors.Flawed(f"The Dockerfile has {len(raw)} bytes: at most {LARGEST}", "dockerfile_invalid")
    if text.count("\n") > LINES:
        raise flaw(LINES + 1, f"more than {LINES} lines")
    if "\0" in text:
        raise flaw(text.count("\n", 0, text.index("\0")) + 1, "it holds a NUL")
    return raw


def _directives(text: str) -> str:
    """The escape character. Directives stand before all else, each once; the first other line ends them."""
    escape, seen = "\\", set[str]()
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if number == 1 and line.startswith("#!"):
            continue
        found = _DIRECTIVE.fullmatch(line.rstrip())
        if found is None or (name := found[1].lower()) in seen or name not in ("syntax", "escape", "check"):
            break
        seen.add(name)
        if name == "escape":
            escape = found[2]
        elif name == "syntax" and not _FRONTEND.fullmatch(found[2]):
            raise flaw(number, f"syntax {found[2][:80]}: only docker/dockerfile is understood")
    return escape


def _instruction(told: dict[str, Any]) -> Instruction:
    sub = [told["sub_cmd"]] if told["sub_cmd"] else []
    heredocs = tuple(Heredoc(it["name"], it["content"]) for it in told["heredocs"])
    return Instruction(
        told["start_line"],
        told["cmd"].upper(),
        (*sub, *told["value"]),
        tuple(told["flags"]),
        told["json"],
        heredocs,
        told["original"],
    )
