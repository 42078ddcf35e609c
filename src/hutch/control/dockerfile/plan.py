"""A Dockerfile with what its images mean now: stages and steps, each with a hash of all that makes it what it is.

A step's hash covers its parent's, its own words, and those instructions before it that bear on it (ENV, USER, …), as
they are written: all they can refer to is in the image, whose digest the first hash covers.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from hutch.control.dockerfile import stages
from hutch.control.dockerfile.forms import redacted
from hutch.control.dockerfile.reading import Instruction, Script, flaw
from hutch.control.dockerfile.stages import Stage
from hutch.control.dockerfile.state import State
from hutch.host.interface import ImageConfig
from hutch.model import errors
from hutch.model.machine import ImageRef

VERSION = 2
"""Raised when the same words are carried out in another way: what was kept before is then not used."""

TITLE = 100
"""Characters of a step's title."""

IMAGES = 32
"""Images of one Dockerfile."""

AT_ONCE = 4
"""Images that registries are asked about at the same time."""

_PLAIN = re.compile(r"\w+(=|\Z)")

Resolve = Callable[[str], Awaitable[ImageRef]]

Origin = ImageRef | int
"""An image, or the index of an earlier stage."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that changes files, kept as a snapshot under its hash; or the end of it all (`instruction` None)."""

    hash: str
    title: str
    instruction: Instruction | None = None


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """What one stage does: steps, and between them instructions that only bear on what follows."""

    index: int
    base: Origin
    doings: tuple[Step | Instruction, ...]
    origins: Mapping[int, Origin]  # of each COPY --from, by its line

    @property
    def settings(self) -> list[Instruction]:
        """What it does besides steps."""
        return [it for it in self.doings if isinstance(it, Instruction)]

    def needs_after(self, known: Step | None) -> set[int]:
        """The stages it is made of from this step of its own on; None: all of it."""
        steps = [it for it in self.doings if isinstance(it, Step)]
        ahead = steps if known is None else steps[steps.index(known) + 1 :]
        lines = {it.instruction.line for it in ahead if it.instruction is not None}
        wanted = [origin for line, origin in self.origins.items() if line in lines]
        return {it for it in (*wanted, *([self.base] if known is None else [])) if isinstance(it, int)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. `steps` are in the order they are done in; the last one's hash is that of the whole."""

    stages: tuple[PlannedStage, ...]
    end: Step
    is_plain: bool  # the last stage's last snapshot is what comes out: nothing is to be laid over it
    globals: Mapping[str, str]
    escape: str

    @property
    def hash(self) -> str:
        """Of what comes out."""
        return self.end.hash

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them."""
        steps = [it for stage in self.stages for it in stage.doings if isinstance(it, Step)]
        return tuple(steps if self.is_plain else [*steps, self.end])


@dataclass(frozen=True, slots=True)
class _Hashes:
    """Of files; of what bears on what follows; of what is told of the result. None: nothing was said."""

    files: str
    bearing: str | None = None
    kept: str | None = None

    def next_stage(self) -> "_Hashes":
        """As a stage begins that stands on this one: what was said before bears otherwise on what follows."""
        bearing = None if self.bearing is None else _hash("stage", self.bearing)
        return _Hashes(self.files, bearing, None if self.kept is None else _hash("stage", self.kept))


async def make(script: Script, resolve: Resolve) -> Plan:
    """`Flawed` with the line; what `resolve` raises."""
    staged = stages.arrange(script)
    for stage in staged.stages:
        _try(stage, staged)
    images = await _resolve_all(staged, resolve)

    def meant(name: str | int) -> Origin:
        return images[name] if isinstance(name, str) else name

    hashes: dict[int, _Hashes] = {}
    planned = []
    for stage in staged.stages:
        origins = {line: meant(name) for line, name in stage.origins.items()}
        base = meant(stage.base)
        if isinstance(base, int):
            begun = hashes[base].next_stage()
        else:
            begun = _Hashes(_hash("image", VERSION, base.digest, staged.escape))
        doings, hashes[stage.index] = _steps(stage, begun, origins, hashes, staged.globals)
        planned.append(PlannedStage(stage.index, base, doings, origins))
    last = hashes[staged.stages[-1].index]
    is_plain = last.bearing is None and last.kept is None and any(isinstance(it, Step) for it in planned[-1].doings)
    whole = last.files if is_plain else _hash("whole", last.files, last.bearing, last.kept)
    end = Step(whole, "set what its machines begin with")
    return Plan(tuple(planned), end, is_plain, staged.globals, staged.escape)


async def _resolve_all(staged: stages.Staged, resolve: Resolve) -> dict[str, ImageRef]:
    wanted: dict[str, int] = {}
    for stage in staged.stages:
        for line, name in [(stage.line, stage.base), *stage.origins.items()]:
            if isinstance(name, str):
                wanted.setdefault(name, line)
    if len(wanted) > IMAGES:
        raise flaw(list(wanted.values())[IMAGES], f"more than {IMAGES} images")
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> ImageRef:
        async with turn:
            return await resolve(name)

    asking = [asyncio.create_task(one(name)) for name in wanted]
    try:
        return dict(zip(wanted, await asyncio.gather(*asking), strict=True))
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


def _steps(
    stage: Stage,
    its: _Hashes,
    origins: Mapping[int, Origin],
    others: Mapping[int, _Hashes],
    known: Mapping[str, str],
) -> tuple[tuple[Step | Instruction, ...], _Hashes]:
    doings: list[Step | Instruction] = []
    for it in stage.instructions:
        words = [it.name, it.words, it.flags, it.is_json, [(text.name, text.content) for text in it.heredocs]]
        if it.name in stages.FILES:
            origin = origins.get(it.line)
            source = others[origin].files if isinstance(origin, int) else origin.digest if origin else None
            its = _Hashes(_hash(its.files, its.bearing, words, source), its.bearing, its.kept)
            doings.append(Step(its.files, title(it), it))
            continue
        if it.name in stages.BEARING:
            inherited = _inherited(it, known) if it.name == "ARG" else None
            its = _Hashes(its.files, _hash(its.bearing, words, inherited), its.kept)
        elif it.name in stages.KEPT:
            its = _Hashes(its.files, its.bearing, _hash(its.kept, words))
        doings.append(it)
    return tuple(doings), its


def _inherited(it: Instruction, known: Mapping[str, str]) -> dict[str, str]:
    """What an ARG may take from before the first FROM: of a name that is not plainly one, any."""
    named = set(it.words)
    return {name: value for name, value in known.items() if name in named or not all(map(_PLAIN.match, named))}


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(["dockerfile", *parts]).encode()).hexdigest()


def title(it: Instruction) -> str:
    """An instruction in one line, without user and password in URLs."""
    text = redacted(" ".join(it.original.split()))
    return f"line {it.line}: {text if len(text) <= TITLE else text[: TITLE - 1] + '…'}"


def _try(stage: Stage, staged: stages.Staged) -> None:
    """What is wrong with an instruction whatever the image says is told before anything is built."""
    state = State.of(ImageConfig())
    for it in stage.instructions:
        if it.name not in stages.FILES:
            try:
                state = state.after(it, staged.escape, staged.globals)
            except errors.Flawed:
                if "$" not in it.original:
                    raise
