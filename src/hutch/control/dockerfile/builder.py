"""The way through a Dockerfile's steps, in build machines.

A stage begins at the last of its steps that is known, and goes on in one machine, of which a snapshot is kept after
each step. What ENV, WORKDIR, USER, CMD and ENTRYPOINT say is laid over the last snapshot at the end: no step's snapshot
has anything of it, so that another Dockerfile can go on from there.
"""

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hutch.control.building.workbench import Workbench
from hutch.control.commands import Command
from hutch.control.dockerfile import forms, reading, running, stages
from hutch.control.dockerfile import plan as planning
from hutch.control.dockerfile.copying import Copying
from hutch.control.dockerfile.plan import Origin, Plan, PlannedStage, Resolve, Step
from hutch.control.dockerfile.reading import Instruction
from hutch.control.dockerfile.state import State
from hutch.control.inside import CommandFailed, Inside
from hutch.host import interface
from hutch.model import errors
from hutch.model.machine import ImageRef, Snapshot

_MAKE = """
set -eu
new=$1
while [ ! -e "$(dirname "$new")" ]; do new=$(dirname "$new"); done
mkdir -p "$1"
[ "$2" = root ] || chown -R "$2" "$new"
"""


class Dockerfiles:
    """Dockerfiles, read and built. `images` are those of the host the build machines run on."""

    def __init__(self, images: interface.Images) -> None:
        self._images = images

    async def plan(self, text: str, resolve: Resolve) -> Plan:
        """What is to be done; `resolve` tells what an image's name means now, once for each. Nothing is built yet.

        `Flawed` with the line of what is wrong; what `resolve` raises.
        """
        return await planning.make(await reading.read(text), resolve)

    async def run(self, plan: Plan, workbench: Workbench) -> Snapshot:
        """Do it; what is known already is used. The snapshot is kept under `plan.hash`.

        Each of `plan.steps` that is not known is begun as a phase by its title. No machine is left open when it returns
        or raises: `BuildFailed` with the line, and the end of what the command wrote; `Flawed` for what could only be
        found out with the image at hand; `ImageUnavailable`, `NoCapacity`.
        """
        whole = await workbench.known(plan.hash)
        if whole is not None:
            await workbench.phase(plan.steps[-1].title, whole)
            return whole
        return await _Run(plan, workbench, self._images).run()


@dataclass(frozen=True, slots=True)
class _Made:
    """What a stage has come to. `directories` are its WORKDIRs that are not there yet, and whose they are."""

    source: ImageRef | Snapshot
    state: State
    directories: tuple[tuple[str, str], ...] = ()


class _Run:
    """One Dockerfile's."""

    def __init__(self, plan: Plan, bench: Workbench, images: interface.Images) -> None:
        self._plan = plan
        self._bench = bench
        self._images = images
        self._made: dict[int, _Made] = {}
        self._held = contextlib.ExitStack()  # what later stages are made of

    async def run(self) -> Snapshot:
        with contextlib.ExitStack() as self._held:
            return await self._run()

    async def _run(self) -> Snapshot:
        beginnings = await self._beginnings()
        for stage in self._plan.stages:
            made = await self._begin(stage.base)
            if stage.index in beginnings:
                made = await self._stage(stage, made, beginnings[stage.index])
            else:
                made = functools.reduce(self._heard, stage.settings, made)
            self._made[stage.index] = made
            self._held.enter_context(self._bench.holding(made.source))
        last = self._made[self._plan.stages[-1].index]
        if self._plan.is_plain:
            assert isinstance(last.source, Snapshot), "its last step was kept"
            return last.source
        return await self._finish(last)

    async def _beginnings(self) -> dict[int, tuple[Step, Snapshot] | None]:
        """Of each stage that is still needed, the last of its steps that is there: what made it need not be there."""
        needed, found = {self._plan.stages[-1].index}, dict[int, tuple[Step, Snapshot] | None]()
        for stage in reversed(self._plan.stages):
            if stage.index in needed:
                known = found[stage.index] = await self._known(stage)
                self._held.enter_context(self._bench.holding(known and known[1]))
                needed |= stage.needs_after(None if known is None else known[0])
        return found

    async def _begin(self, base: Origin) -> _Made:
        if isinstance(base, int):
            return dataclasses.replace(self._made[base], state=self._made[base].state.next_stage())
        image = await self._image(base)
        if image.config.triggers:
            trigger = image.config.triggers[0][:100]
            raise self._failure(f"{base.reference}: it has ONBUILD instructions, which are not run here: {trigger}")
        return _Made(base, State.of(image.config))

    async def _image(self, ref: ImageRef) -> interface.Image:
        """It is on the host when this returns."""
        said: list[str] = []

        def tell(progress: interface.Progress) -> None:
            if progress.phase not in said:
                said.append(progress.phase)
                self._bench.tell(f"image {ref.reference}: {progress.phase}\n".encode())

        return await self._images.ensure(ref, tell, credentials=self._bench.credentials)

    async def _stage(self, stage: PlannedStage, made: _Made, known: tuple[Step, Snapshot] | None) -> _Made:
        is_behind = known is None
        async with contextlib.AsyncExitStack() as stack:
            inside: Inside | None = None
            for doing in stage.doings:
                if isinstance(doing, Instruction):
                    made = self._heard(made, doing)
                elif known is not None and doing is known[0]:
                    await self._bench.phase(f"{doing.title}: cached", known[1])
                    made, is_behind = _Made(known[1], made.state), True
                elif is_behind:
                    await self._bench.phase(doing.title)
                    with self._named(doing.title):
                        if inside is None:
                            inside = await stack.enter_async_context(_opened(self._bench, made.source))
                        made = await self._do(doing, stage, made, inside)
        return made

    async def _known(self, stage: PlannedStage) -> tuple[Step, Snapshot] | None:
        """The last of its steps that is there."""
        for doing in reversed(stage.doings):
            if isinstance(doing, Step):
                found = await self._bench.known(doing.hash)
                if found is not None:
                    return doing, found
        return None

    def _heard(self, made: _Made, instruction: Instruction) -> _Made:
        if instruction.name in stages.IDLE:
            self._bench.tell(f"{planning.title(instruction)}: this changes nothing here\n".encode())
        state, directories = made.state.after(instruction, self._plan.escape, self._plan.globals), made.directories
        if instruction.name == "WORKDIR":
            directories = (*directories, (state.workdir, state.user or "root"))
        return _Made(made.source, state, directories)

    async def _do(self, step: Step, stage: PlannedStage, made: _Made, inside: Inside) -> _Made:
        it = step.instruction
        assert it is not None, "the end is not among them"
        await _make_directories(inside, (*made.directories, (made.state.workdir, "root")))
        self._bench.tell(f"{step.title}\n".encode())
        if it.name == "RUN":
            expand = functools.partial(self._expanded, it, made.state)
            await running.run(inside, forms.run(it), made.state, expand, self._bench.tell)
        else:
            async with self._origin(stage.origins.get(it.line)) as origin:
                await Copying(inside, it, made.state, self._plan.escape).run(origin)
        return _Made(await self._bench.keep(inside, step.hash, step.title), made.state)

    def _expanded(self, instruction: Instruction, state: State, word: str) -> str:
        return stages.expanded(instruction, word, state.variables, self._plan.escape)

    @contextlib.asynccontextmanager
    async def _origin(self, origin: Origin | None) -> AsyncIterator[Inside | None]:
        """A machine of what is copied from."""
        if origin is None:
            yield None
            return
        if isinstance(origin, ImageRef):
            await self._image(origin)
        async with _opened(self._bench, self._made[origin].source if isinstance(origin, int) else origin) as inside:
            yield inside

    async def _finish(self, last: _Made) -> Snapshot:
        """A machine that begins as the Dockerfile wants it, and its snapshot."""
        state, end, source = last.state, self._plan.end, last.source
        await self._bench.phase(end.title)
        with self._named(end.title):
            if last.directories:
                async with _opened(self._bench, source) as inside:
                    await _make_directories(inside, last.directories)
                    source = await self._bench.keep(inside, f"{end.hash} directories", end.title)
            workdir = state.workdir if state.has_workdir else None
            user = state.user if state.has_user else None
            async with _opened(self._bench, source, state.set_env, workdir, state.command, user) as inside:
                return await self._bench.keep(inside, end.hash, end.title)

    @contextlib.contextmanager
    def _named(self, where: str) -> Iterator[None]:
        """What goes wrong within is told with where it did."""
        try:
            yield
        except (errors.BuildFailed, errors.Flawed, errors.NoCapacity, errors.ImageUnavailable, errors.Forbidden):
            raise
        except CommandFailed as error:
            raise self._failure(f"{where}: {forms.redacted(error.message)}", error.ran.exit.shell_code) from error
        except errors.HutchError as error:
            raise self._failure(f"{where}: {error.message}") from error

    def _failure(self, message: str, code: int | None = None) -> errors.BuildFailed:
        return errors.BuildFailed(message, self._bench.build.id, code)


@contextlib.asynccontextmanager
async def _opened(
    bench: Workbench,
    source: ImageRef | Snapshot,
    env: Mapping[str, str] | None = None,
    workdir: str | None = None,
    command: tuple[str, ...] | None = None,
    user: str | None = None,
) -> AsyncIterator[Inside]:
    inside = await bench.open(source, env, workdir, command, user)
    try:
        yield inside
    finally:
        await bench.close(inside)


async def _make_directories(inside: Inside, wanted: Sequence[tuple[str, str]]) -> None:
    """Those that are missing; a new one belongs to the user, with what is made above it."""
    for path, user in wanted:
        if not await inside.has(path):
            argv = ("sh", "-c", _MAKE, "sh", path, user)
            await inside.check(Command(argv=argv, user="root", cwd="/", timeout=60.0), f"making {path}")
